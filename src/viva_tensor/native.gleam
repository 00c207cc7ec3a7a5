//// The native library as Gleam sees it: viva_tensor_nif.erl with types.
////
//// One call is one bounded slice of work. The records are the terms that
//// native/nif/src/terms.rs reads and writes, field by field. The surprise:
//// without the library each call returns `NifNotLoaded`.

import viva_tensor/error.{type Error}

/// A load in progress.
pub type Loader

/// A loaded model; the VM frees it with the last reference.
pub type Model

/// A KV cache, a sampler and a detokenizer; the VM frees it with the last
/// reference.
pub type Session

pub type Maybe(a) {
  Some(a)
  None
}

pub type Device {
  Auto
  Cpu
  Cuda(Int)
}

pub type LoadOptions {
  LoadOptions(
    device: Device,
    context: Maybe(Int),
    threads: Maybe(Int),
    weights: Weights,
  )
}

pub type Weights {
  Keep
  Fp8
  Int8
  Int4(group: Int)
  Int8Sparse24
  Int4Sparse24
}

pub type LoadStep {
  Loading(done_bytes: Int, total_bytes: Int)
  Ready(model: Model)
}

pub type ModelInfo {
  ModelInfo(
    architecture: String,
    source: String,
    weights: String,
    parameters: Int,
    weight_bytes: Int,
    bytes_per_token: Int,
    vocabulary: Int,
    layers: Int,
    width: Int,
    heads: Int,
    kv_heads: Int,
    head_width: Int,
    context: Int,
    max_context: Int,
    device: String,
    device_note: String,
    threads: Int,
    eos_ids: List(Int),
    has_chat_template: Bool,
  )
}

pub type Message {
  Message(role: String, content: String)
}

pub type Prompt {
  Text(String)
  Chat(List(Message))
  Tokens(List(Int))
}

pub type TopK {
  TopK(Int)
  TopKInfinity
}

pub type Request {
  Request(
    max_new_tokens: Int,
    temperature: Float,
    top_k: TopK,
    top_p: Float,
    min_p: Float,
    repetition_penalty: Float,
    seed: Int,
    stop: List(String),
    stop_on_eos: Bool,
    logprobs: Maybe(Int),
  )
}

pub type Submitted {
  Submitted(prompt_ids: List(Int), cached: Int)
}

pub type Progress {
  Progress(
    text: String,
    ids: List(Int),
    logprobs: List(TokenLogprobs),
    status: Status,
  )
}

pub type TokenLogprobs {
  TokenLogprobs(id: Int, logprob: Float, top: List(#(Int, Float)))
}

pub type Status {
  Prefilling(done: Int, total: Int)
  Generating
  Finished(reason: FinishReason, timings: Timings)
}

pub type FinishReason {
  Eos
  StopText(String)
  Length
  /// Never from the library: the loop's own.
  Cancelled
}

pub type Timings {
  Timings(
    prefill_tokens: Int,
    prefill_seconds: Float,
    decode_tokens: Int,
    decode_seconds: Float,
  )
}

@external(erlang, "viva_tensor_nif", "loaded")
pub fn loaded() -> Bool

@external(erlang, "viva_tensor_nif", "load_open")
pub fn load_open(path: String, options: LoadOptions) -> Result(Loader, Error)

@external(erlang, "viva_tensor_nif", "load_step")
pub fn load_step(loader: Loader) -> Result(LoadStep, Error)

@external(erlang, "viva_tensor_nif", "model_info")
pub fn model_info(model: Model) -> Result(ModelInfo, Error)

@external(erlang, "viva_tensor_nif", "tokenize")
pub fn tokenize(
  model: Model,
  text: String,
  add_special: Bool,
) -> Result(List(Int), Error)

@external(erlang, "viva_tensor_nif", "detokenize")
pub fn detokenize(
  model: Model,
  ids: List(Int),
  skip_special: Bool,
) -> Result(String, Error)

@external(erlang, "viva_tensor_nif", "render")
pub fn render(
  model: Model,
  messages: List(Message),
  add_generation_prompt: Bool,
) -> Result(String, Error)

@external(erlang, "viva_tensor_nif", "open")
pub fn open(model: Model) -> Result(Session, Error)

@external(erlang, "viva_tensor_nif", "submit")
pub fn submit(
  session: Session,
  prompt: Prompt,
  request: Request,
) -> Result(Submitted, Error)

@external(erlang, "viva_tensor_nif", "step")
pub fn step(
  sessions: List(Session),
) -> Result(List(Result(Progress, Error)), Error)

@external(erlang, "viva_tensor_nif", "cancel")
pub fn cancel(session: Session) -> Result(Timings, Error)

@external(erlang, "viva_tensor_nif", "close")
pub fn close(session: Session) -> Result(Nil, Error)

/// Bytes a second.
@external(erlang, "viva_tensor_nif", "read_bandwidth")
pub fn read_bandwidth(threads: Maybe(Int)) -> Result(Float, Error)
