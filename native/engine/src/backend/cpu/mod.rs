//! The CPU backend.

pub mod attention;
pub mod forward;
pub mod gang;
pub mod kv_cache;
pub mod matrix;
pub mod pointwise;
pub mod simd;
pub mod tile;
mod tile_k;
pub mod weights;
