//! LLM inference on its own feet: checkpoints in, text out. Nothing here knows the BEAM.
pub mod error;
