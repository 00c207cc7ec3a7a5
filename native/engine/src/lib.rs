//! LLM inference on its own feet: checkpoints in, text out. Nothing here knows the BEAM.
//!
//! `loader` opens a `checkpoint`, understands it as a `model` spec, and packs its weights for a `backend`; the result
//! is a `loaded::Model`. A `session` runs turns on it: `tokenizer` and `chat` in, `sampler` and text out.

pub mod backend;
pub mod bounded;
pub mod buffer;
pub mod chat;
pub mod checkpoint;
pub mod dtype;
pub mod error;
pub mod loaded;
pub mod loader;
pub mod model;
pub mod quant;
pub mod sampler;
pub mod session;
pub mod tensor;
pub mod tokenizer;
