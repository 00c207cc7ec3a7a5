//! Models as data.

pub mod spec;
