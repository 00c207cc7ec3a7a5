//! LLM inference on its own feet: checkpoints in, text out. Nothing here knows the BEAM.

pub mod backend;
pub mod buffer;
pub mod bounded;
pub mod chat;
pub mod checkpoint;
pub mod error;
pub mod model;
pub mod quant;
pub mod tokenizer;
