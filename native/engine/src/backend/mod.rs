//! Where a `ModelSpec` is computed. A backend owns packed weights and caches; it knows no file and no text.

pub mod cpu;
pub mod cuda;
pub mod weights;
