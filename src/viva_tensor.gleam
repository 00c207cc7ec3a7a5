//// Text from a language model's checkpoint, on the BEAM.
////
//// ```gleam
//// import viva_tensor as t
////
//// pub fn main() {
////   let assert Ok(model) = t.load_model("path/to/model.safetensors")
////   let assert Ok(result) =
////     t.generate(model, "Hello", t.default_generate_opts())
////   result.text
//// }
//// ```
////
//// A checkpoint is a safetensors file, a folder of them, or a GGUF file.
//// `generate` continues a text; `chat` answers messages through the
//// checkpoint's own chat template; `stream` and `chat_stream` hand out the
//// text as it comes; a `Session` keeps what it has read between turns.
////
//// What goes beyond the six fields of `GenerateOpts` is built up:
////
//// ```gleam
//// t.request(t.default_generate_opts())
//// |> t.stop_at(["\n"])
//// |> t.min_p(0.05)
//// |> t.repetition_penalty(1.1)
//// ```
////
//// Every function that can fail returns `Result(_, Error)`, and
//// `describe_error` puts an error into words. Work happens in slices of about
//// 50 ms: a process that is killed stops its work, and other processes go on.
//// A model can be used by any number of processes at once.

import viva_tensor/convolution
import viva_tensor/display
import viva_tensor/elementwise
import viva_tensor/engine
import viva_tensor/error
import viva_tensor/generation
import viva_tensor/kernel
import viva_tensor/linear_algebra
import viva_tensor/machine
import viva_tensor/native
import viva_tensor/network
import viva_tensor/otp
import viva_tensor/quant
import viva_tensor/random
import viva_tensor/reduction
import viva_tensor/safetensors
import viva_tensor/shape as shapes
import viva_tensor/storage
import viva_tensor/tensor
import viva_tensor/tensor_error

// Models.

/// A loaded model. Its memory is freed when nothing refers to it any more.
pub opaque type Model {
  Model(engine: engine.Model)
}

/// Where a model computes.
pub type Device {
  /// The fastest there is on this machine: without the native library, the
  /// BEAM.
  Auto
  /// The CPU, through the native library.
  Cpu
  /// An NVIDIA GPU, counted from 0.
  Cuda(index: Int)
  /// The BEAM itself, without the native library: llama, mistral, qwen2 and
  /// qwen3 with weights in F32, F16, BF16, Q8_0, Q4_0 or Q4_1.
  Beam
}

/// How weights are held in memory. All but `Keep` pack the matrices that are
/// stored in 16 or 32 bits while they are loaded; those that are stored in fewer
/// bits stay as they are. docs/which_format_when.md says what each costs.
pub type Weights {
  /// In the format of the checkpoint.
  Keep
  /// As 8-bit floats (E4M3) with a scale a row.
  Fp8
  /// As 8-bit integers with a scale a row. On the CPU only, as all below.
  Int8
  /// As 4-bit integers with a scale for each group of 32, 64 or 128 columns;
  /// embedding and head as `Int8`.
  Int4(group: Int)
  /// Two of four weights, those of largest magnitude, as 8-bit integers with a
  /// scale a row; embedding and head as `Int8`.
  Int8Sparse24
  /// The same with 4-bit integers.
  Int4Sparse24
}

/// What a function that is told of pieces or of progress wants next.
pub type Next {
  Continue
  Stop
}

/// How far a load is, in bytes of weights.
pub type LoadProgress {
  LoadProgress(done_bytes: Int, total_bytes: Int)
}

/// How to load a model: start from `load_opts()` and build it up.
pub opaque type LoadOpts {
  LoadOpts(
    device: Device,
    context: native.Maybe(Int),
    threads: native.Maybe(Int),
    weights: Weights,
    on_progress: fn(LoadProgress) -> Next,
  )
}

/// Loads a checkpoint: a `.safetensors` or `.gguf` file, a folder with
/// `config.json` and safetensors, or an index of shards.
///
/// Errors: `NotFound`, `Unreadable`, `Malformed` and `Unsupported` say what is
/// wrong with the files, `OutOfMemory` what is missing, and `NifNotLoaded`
/// that `Cpu` was asked for and the native library has to be built.
///
/// ```gleam
/// let assert Ok(model) = t.load_model("SmolLM2-135M-Instruct.Q4_1.gguf")
/// ```
pub fn load_model(path: String) -> Result(Model, Error) {
  load_model_with(path, load_opts())
}

/// Loads a checkpoint as the options say.
///
/// Errors: those of `load_model`, `InvalidOption` for a value out of range,
/// `Unsupported` for a format of weights that the device does not have, and
/// `LoadCancelled` when the progress function returned `Stop`.
///
/// ```gleam
/// let options = t.load_opts() |> t.device(t.Cpu) |> t.context(4096)
/// let assert Ok(model) = t.load_model_with("path/to/model", options)
/// ```
pub fn load_model_with(
  path: String,
  options: LoadOpts,
) -> Result(Model, Error) {
  use weights <- otp.try(native_weights(options.weights))
  let on_progress = fn(done_bytes, total_bytes) {
    native_next(options.on_progress(LoadProgress(done_bytes:, total_bytes:)))
  }
  let device = case options.device {
    Auto -> engine.Auto
    Cpu -> engine.Cpu
    Cuda(index) -> engine.Cuda(index)
    Beam -> engine.Beam
  }
  let LoadOpts(context:, threads:, ..) = options
  engine.load(path, device, context, threads, weights, on_progress)
  |> otp.map_ok(Model)
  |> otp.map_error(fn(error) {
    case options.device, public_error(error) {
      Cuda(_), NotFound(path: "libcuda.so.1" as path, expected: _) ->
        NotFound(path:, expected: driver_or_cpu)
      _, error -> error
    }
  })
}

// What to do where a GPU was asked for and there is no driver. The library's own
// words stand in `device_note`, too, where nobody asked.
const driver_or_cpu = "an NVIDIA driver for CUDA 12 or newer: install it, or take the CPU with the device Cpu or Auto"

fn native_weights(weights: Weights) -> Result(native.Weights, Error) {
  case weights {
    Keep -> Ok(native.Keep)
    Fp8 -> Ok(native.Fp8)
    Int8 -> Ok(native.Int8)
    Int4(group:) if group == 32 || group == 64 || group == 128 ->
      Ok(native.Int4(group:))
    Int4(group:) -> {
      let found = "Int4(" <> otp.int_to_string(group) <> ")"
      Error(InvalidOption("weights", "Int4(32), Int4(64) or Int4(128)", found))
    }
    Int8Sparse24 -> Ok(native.Int8Sparse24)
    Int4Sparse24 -> Ok(native.Int4Sparse24)
  }
}

/// Device `Auto`, the default context, all cores, weights as they are stored.
///
/// ```gleam
/// t.load_opts() |> t.threads(2)
/// ```
pub fn load_opts() -> LoadOpts {
  LoadOpts(
    device: Auto,
    context: native.None,
    threads: native.None,
    weights: Keep,
    on_progress: fn(_) { Continue },
  )
}

/// Chooses where to compute. Without it: `Auto`.
///
/// ```gleam
/// t.load_opts() |> t.device(t.Cpu)
/// ```
pub fn device(options: LoadOpts, device: Device) -> LoadOpts {
  LoadOpts(..options, device:)
}

/// Sets the longest prompt and answer together, in tokens. Without it: the
/// model's own, 8192 at most.
///
/// ```gleam
/// t.load_opts() |> t.context(2048)
/// ```
pub fn context(options: LoadOpts, tokens: Int) -> LoadOpts {
  LoadOpts(..options, context: native.Some(tokens))
}

/// Sets the number of threads that compute. Without it: one a core that this
/// process may use.
///
/// ```gleam
/// t.load_opts() |> t.threads(2)
/// ```
pub fn threads(options: LoadOpts, threads: Int) -> LoadOpts {
  LoadOpts(..options, threads: native.Some(threads))
}

/// Chooses the format of the weights in memory. Without it: `Keep`.
///
/// ```gleam
/// t.load_opts() |> t.weights(t.Fp8)
/// ```
pub fn weights(options: LoadOpts, weights: Weights) -> LoadOpts {
  LoadOpts(..options, weights:)
}

/// Calls a function as the load goes on, some twenty times a second at most;
/// when it returns `Stop`, loading ends with `LoadCancelled`.
///
/// ```gleam
/// t.load_opts()
/// |> t.on_progress(fn(progress) {
///   draw_bar(progress.done_bytes, progress.total_bytes)
///   t.Continue
/// })
/// ```
pub fn on_progress(
  options: LoadOpts,
  on_progress: fn(LoadProgress) -> Next,
) -> LoadOpts {
  LoadOpts(..options, on_progress:)
}

/// What a model is.
pub type ModelInfo {
  ModelInfo(
    /// Such as "llama".
    architecture: String,
    /// "gguf" or "safetensors".
    source: String,
    /// The formats of the weights and how many tensors have each.
    weights: String,
    parameters: Int,
    /// Bytes of the weights in memory.
    weight_bytes: Int,
    /// Bytes of weights that are read for each token.
    bytes_per_token: Int,
    /// V
    vocabulary: Int,
    /// L
    layers: Int,
    /// D
    width: Int,
    /// H
    heads: Int,
    /// KV
    kv_heads: Int,
    /// HD
    head_width: Int,
    /// Tokens that prompt and answer may have together.
    context: Int,
    /// The context that the model was made for.
    max_context: Int,
    /// "cpu", "cuda:0" for the first GPU, or "beam".
    device: String,
    /// What the device brings along, such as "avx512, 2 threads".
    device_note: String,
    /// Threads that compute.
    threads: Int,
    /// The tokens that end an answer.
    eos_ids: List(Int),
    has_chat_template: Bool,
  )
}

/// Describes a loaded model.
///
/// ```gleam
/// let assert Ok(info) = t.model_info(model)
/// info.architecture
/// // -> "llama"
/// ```
pub fn model_info(model: Model) -> Result(ModelInfo, Error) {
  use info <- otp.map_ok(engine.model_info(model.engine) |> public_result)
  ModelInfo(
    architecture: info.architecture,
    source: info.source,
    weights: info.weights,
    parameters: info.parameters,
    weight_bytes: info.weight_bytes,
    bytes_per_token: info.bytes_per_token,
    vocabulary: info.vocabulary,
    layers: info.layers,
    width: info.width,
    heads: info.heads,
    kv_heads: info.kv_heads,
    head_width: info.head_width,
    context: info.context,
    max_context: info.max_context,
    device: info.device,
    device_note: info.device_note,
    threads: info.threads,
    eos_ids: info.eos_ids,
    has_chat_template: info.has_chat_template,
  )
}

// What to generate.

/// How many of the most probable tokens the next one is drawn from.
pub type TopK {
  TopK(Int)
  /// No limit.
  TopKInfinity
}

/// How to generate. Exactly these six; what goes beyond is a `Request`.
///
/// ```gleam
/// t.GenerateOpts(
///   max_new_tokens: 30,
///   temperature: 0.8,
///   top_k: t.TopK(40),
///   top_p: 0.95,
///   seed: 42,
///   stop_on_eos: True,
/// )
/// ```
pub type GenerateOpts {
  GenerateOpts(
    /// The longest answer, in tokens; at least 0.
    max_new_tokens: Int,
    /// 0.0 takes the most probable token each time; the higher, the wilder, up
    /// to 100.0.
    temperature: Float,
    /// Draw from the k most probable tokens; k is at least 1.
    top_k: TopK,
    /// Draw from the most probable tokens that together reach this
    /// probability; above 0.0, and 1.0 is no limit.
    top_p: Float,
    /// The same seed gives the same tokens; from 0 to 2^64 - 1.
    seed: Int,
    /// Whether an end-of-sequence token ends the answer.
    stop_on_eos: Bool,
  )
}

/// Up to 128 tokens at temperature 0.0, so the same prompt gives the same
/// text. `top_k: TopK(40)`, `top_p: 0.95` and `seed: 42` come into play with a
/// higher temperature.
///
/// ```gleam
/// t.GenerateOpts(..t.default_generate_opts(), temperature: 0.8)
/// ```
pub fn default_generate_opts() -> GenerateOpts {
  GenerateOpts(
    max_new_tokens: 128,
    temperature: 0.0,
    top_k: TopK(40),
    top_p: 0.95,
    seed: 42,
    stop_on_eos: True,
  )
}

/// Generation options and more: start from `request` and build it up.
pub opaque type Request {
  Request(native: native.Request)
}

/// A request with these options.
///
/// ```gleam
/// t.request(t.default_generate_opts()) |> t.stop_at(["\n"])
/// ```
pub fn request(options: GenerateOpts) -> Request {
  Request(native.Request(
    max_new_tokens: options.max_new_tokens,
    temperature: options.temperature,
    top_k: case options.top_k {
      TopK(k) -> native.TopK(k)
      TopKInfinity -> native.TopKInfinity
    },
    top_p: options.top_p,
    min_p: 0.0,
    repetition_penalty: 1.0,
    seed: options.seed,
    stop: [],
    stop_on_eos: options.stop_on_eos,
    logprobs: native.None,
  ))
}

/// Ends the answer where one of these texts appears, also across tokens. The
/// text itself is left out. One that is spelled like a special token, such as
/// `<|im_end|>`, is that token.
///
/// ```gleam
/// t.request(options) |> t.stop_at(["\n", "User:"])
/// ```
pub fn stop_at(request: Request, texts: List(String)) -> Request {
  Request(native.Request(..request.native, stop: texts))
}

/// Leaves out tokens less probable than this share of the most probable one;
/// from 0.0, which leaves out none, to below 1.0.
///
/// ```gleam
/// t.request(options) |> t.min_p(0.05)
/// ```
pub fn min_p(request: Request, share: Float) -> Request {
  Request(native.Request(..request.native, min_p: share))
}

/// Makes tokens that were already there less probable; 1.0 is no change. Above
/// 0.0 and at most 100.0.
///
/// ```gleam
/// t.request(options) |> t.repetition_penalty(1.1)
/// ```
pub fn repetition_penalty(request: Request, penalty: Float) -> Request {
  Request(native.Request(..request.native, repetition_penalty: penalty))
}

/// Asks for the log probability of each token and of the `top` most probable
/// ones in its place, 100 at most.
///
/// ```gleam
/// t.request(options) |> t.logprobs(5)
/// ```
pub fn logprobs(request: Request, top: Int) -> Request {
  Request(native.Request(..request.native, logprobs: native.Some(top)))
}

// What comes back.

/// Why an answer ended.
pub type FinishReason {
  /// With an end-of-sequence token.
  Eos
  /// With this text of `stop_at`.
  StopText(text: String)
  /// With its last allowed token.
  Length
  /// Because the caller's function returned `Stop`.
  Cancelled
}

/// An answer.
pub type Generation {
  Generation(
    /// Without the stop text and without special tokens. Bytes that are no
    /// UTF-8 are U+FFFD.
    text: String,
    /// Every token that was generated.
    token_ids: List(Int),
    /// The prompt as the model saw it.
    prompt_token_ids: List(Int),
    /// The prompt's length in tokens.
    prompt_tokens: Int,
    /// How many of those a session already knew.
    cached_tokens: Int,
    finish_reason: FinishReason,
    timings: Timings,
    /// One a token when asked for with `logprobs`, otherwise empty.
    logprobs: List(TokenLogprobs),
  )
}

/// What an answer took, in seconds of work.
pub type Timings {
  Timings(
    /// Prompt tokens that were read, without those a session knew.
    prefill_tokens: Int,
    /// Until the first new token.
    prefill_seconds: Float,
    /// New tokens after the first.
    decode_tokens: Int,
    decode_seconds: Float,
  )
}

/// The log probability of a token, and the most probable ones in its place.
pub type TokenLogprobs {
  TokenLogprobs(token_id: Int, logprob: Float, top: List(#(Int, Float)))
}

/// Prompt tokens a second; 0.0 when there were none to read.
///
/// ```gleam
/// t.prefill_tokens_per_second(result.timings)
/// // -> 655.2
/// ```
pub fn prefill_tokens_per_second(timings: Timings) -> Float {
  otp.int_to_float(timings.prefill_tokens) /. timings.prefill_seconds
}

/// Generated tokens a second; 0.0 when there were none.
///
/// ```gleam
/// t.decode_tokens_per_second(result.timings)
/// // -> 251.7
/// ```
pub fn decode_tokens_per_second(timings: Timings) -> Float {
  otp.int_to_float(timings.decode_tokens) /. timings.decode_seconds
}

// Generating.

/// Continues a text.
///
/// In the prompt the text of a special token, such as `<|im_start|>`, is that
/// token. The tokenizer adds what the checkpoint says goes before a text.
///
/// Errors: `EmptyPrompt`, `InvalidOption` for a value out of range or a text
/// that is not UTF-8, `ContextOverflow`, `OutOfMemory`, `Malformed` where the
/// weights lead to numbers that are none, and `DeviceLost`.
///
/// ```gleam
/// let options = t.default_generate_opts()
/// let assert Ok(result) = t.generate(model, "The capital of France is", options)
/// result.text
/// // -> " Paris."
/// ```
pub fn generate(
  model: Model,
  prompt: String,
  options: GenerateOpts,
) -> Result(Generation, Error) {
  generate_with(model, prompt, request(options))
}

/// Continues a text as a request says. Errors: those of `generate`.
///
/// ```gleam
/// let request = t.request(t.default_generate_opts()) |> t.stop_at(["."])
/// let assert Ok(result) = t.generate_with(model, "One, two,", request)
/// result.finish_reason
/// // -> t.StopText(".")
/// ```
pub fn generate_with(
  model: Model,
  prompt: String,
  request: Request,
) -> Result(Generation, Error) {
  stream(model, prompt, request, fn(_) { Continue })
}

/// Continues a text and hands out its pieces as they come. The pieces together
/// are the result's text. When the function returns `Stop`, generating ends
/// with `Cancelled` and what there is so far. Errors: those of `generate`.
///
/// ```gleam
/// t.stream(model, "Once upon a time", request, fn(piece) {
///   io.print(piece)
///   t.Continue
/// })
/// ```
pub fn stream(
  model: Model,
  prompt: String,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  run_once(model, native.Text(prompt), request, on_piece)
}

/// Continues a text that is given as token ids, which are taken as they are.
///
/// Errors: those of `generate`, and `InvalidOption` for an id that the
/// vocabulary does not have.
///
/// ```gleam
/// let assert Ok(ids) = t.tokenize(model, "Hello", t.WithSpecialTokens)
/// let assert Ok(result) = t.generate_tokens(model, ids, request)
/// ```
pub fn generate_tokens(
  model: Model,
  prompt_token_ids: List(Int),
  request: Request,
) -> Result(Generation, Error) {
  let prompt = native.Tokens(prompt_token_ids)
  run_once(model, prompt, request, fn(_) { Continue })
}

// Chat.

/// Who says something.
pub type Role {
  System
  User
  Assistant
  Tool
  /// A role that only some chat templates know.
  OtherRole(String)
}

/// Something that was said.
pub type Message {
  Message(role: Role, content: String)
}

/// What the model is to be.
///
/// ```gleam
/// t.system("You answer in one sentence.")
/// ```
pub fn system(content: String) -> Message {
  Message(System, content)
}

/// What the user says.
///
/// ```gleam
/// t.user("Why is the sky blue?")
/// ```
pub fn user(content: String) -> Message {
  Message(User, content)
}

/// What the model said.
///
/// ```gleam
/// t.assistant("Because air scatters blue light.")
/// ```
pub fn assistant(content: String) -> Message {
  Message(Assistant, content)
}

/// Answers messages, through the checkpoint's own chat template. The content
/// of a message never is a special token, whatever its text.
///
/// Errors: those of `generate`, `InvalidOption` where there is no message,
/// `NotFound` when the checkpoint has no chat template, and `Template` when its
/// template refuses these messages.
///
/// ```gleam
/// let messages = [t.user("Why is the sky blue?")]
/// let assert Ok(answer) = t.chat(model, messages, request)
/// answer.text
/// ```
pub fn chat(
  model: Model,
  messages: List(Message),
  request: Request,
) -> Result(Generation, Error) {
  chat_stream(model, messages, request, fn(_) { Continue })
}

/// Answers messages and hands out the answer's pieces as they come, as `stream`
/// does. Errors: those of `chat`.
///
/// ```gleam
/// t.chat_stream(model, [t.user("Tell me a story.")], request, fn(piece) {
///   io.print(piece)
///   t.Continue
/// })
/// ```
pub fn chat_stream(
  model: Model,
  messages: List(Message),
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  run_once(model, native.Chat(native_messages(messages)), request, on_piece)
}

/// Whether a rendered chat ends where the assistant is to speak.
pub type GenerationPrompt {
  WithGenerationPrompt
  WithoutGenerationPrompt
}

/// The text that the chat template makes of messages.
///
/// Errors: `NotFound` when the checkpoint has no chat template, and `Template`
/// when its template refuses these messages.
///
/// ```gleam
/// t.render(model, [t.user("Hi")], t.WithGenerationPrompt)
/// // -> Ok("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
/// ```
pub fn render(
  model: Model,
  messages: List(Message),
  prompt: GenerationPrompt,
) -> Result(String, Error) {
  let prompt = prompt == WithGenerationPrompt
  engine.render(model.engine, native_messages(messages), prompt)
  |> public_result
}

// Sessions.

/// A conversation, and a model's memory of it. It is a value: asking returns a
/// new one, and the old one can still be asked something else. They share the
/// memory, so one process at a time can use it.
pub opaque type Session {
  Session(engine: engine.Session, messages: List(Message))
}

/// Begins a conversation with these messages, or none.
///
/// Errors: `OutOfMemory`.
///
/// ```gleam
/// let assert Ok(session) = t.open_session(model, [t.system("Be brief.")])
/// ```
pub fn open_session(
  model: Model,
  messages: List(Message),
) -> Result(Session, Error) {
  use session <- otp.map_ok(engine.open(model.engine) |> public_result)
  Session(engine: session, messages:)
}

/// Says something as the user and returns the answer, and the session that
/// knows both. Only what is new is read by the model.
///
/// Errors: those of `chat`, and `Busy` when another process uses the session.
///
/// ```gleam
/// let assert Ok(#(session, answer)) = t.ask(session, "Who are you?", request)
/// let assert Ok(#(session, answer)) = t.ask(session, "Since when?", request)
/// ```
pub fn ask(
  session: Session,
  content: String,
  request: Request,
) -> Result(#(Session, Generation), Error) {
  ask_stream(session, content, request, fn(_) { Continue })
}

/// As `ask`, and hands out the answer's pieces as they come. An answer that was
/// stopped by the function is part of the conversation as far as it came.
/// Errors: those of `ask`.
///
/// ```gleam
/// t.ask_stream(session, "Tell me a story.", request, fn(piece) {
///   io.print(piece)
///   t.Continue
/// })
/// ```
pub fn ask_stream(
  session: Session,
  content: String,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(#(Session, Generation), Error) {
  let messages = otp.append(session.messages, [user(content)])
  let prompt = native.Chat(native_messages(messages))
  use answer <- otp.map_ok(run(session, prompt, request, on_piece))
  let messages = otp.append(messages, [assistant(answer.text)])
  #(Session(..session, messages:), answer)
}

/// Continues a text with the session's memory: the part of the prompt that it
/// has already read is not read again. The messages stay as they are.
///
/// Errors: those of `generate`, and `Busy` when another process uses the
/// session.
///
/// ```gleam
/// let assert Ok(first) = t.complete(session, "Once", request)
/// let assert Ok(second) = t.complete(session, "Once" <> first.text, request)
/// ```
pub fn complete(
  session: Session,
  prompt: String,
  request: Request,
) -> Result(Generation, Error) {
  run(session, native.Text(prompt), request, fn(_) { Continue })
}

/// What was said so far.
///
/// ```gleam
/// t.messages(session)
/// // -> [t.user("Hi"), t.assistant("Hello!")]
/// ```
pub fn messages(session: Session) -> List(Message) {
  session.messages
}

/// Frees a session's memory now rather than with its last reference. Using it
/// afterwards is an `InvalidOption`; closing it again is nothing.
///
/// Errors: `Busy` when another process uses the session.
///
/// ```gleam
/// let assert Ok(Nil) = t.close_session(session)
/// ```
pub fn close_session(session: Session) -> Result(Nil, Error) {
  engine.close(session.engine) |> public_result
}

// Tokens.

/// Whether special tokens such as the one that begins a text take part.
pub type SpecialTokens {
  WithSpecialTokens
  WithoutSpecialTokens
}

/// The token ids of a text. `WithSpecialTokens` adds those that the tokenizer
/// puts around a text, as `generate` does with its prompt.
///
/// ```gleam
/// t.tokenize(model, "Hello", t.WithSpecialTokens)
/// // -> Ok([1, 15043])
/// ```
pub fn tokenize(
  model: Model,
  text: String,
  special: SpecialTokens,
) -> Result(List(Int), Error) {
  engine.tokenize(model.engine, text, special == WithSpecialTokens)
  |> public_result
}

/// The text of token ids. `WithoutSpecialTokens` leaves those out; an id that
/// the vocabulary does not have has no text.
///
/// Errors: `InvalidOption` for a negative id.
///
/// ```gleam
/// t.detokenize(model, [1, 15043], t.WithoutSpecialTokens)
/// // -> Ok("Hello")
/// ```
pub fn detokenize(
  model: Model,
  ids: List(Int),
  special: SpecialTokens,
) -> Result(String, Error) {
  engine.detokenize(model.engine, ids, special == WithoutSpecialTokens)
  |> public_result
}

// Measuring.

/// How fast this machine reads memory with the threads of these options, in
/// bytes a second: the ceiling of decoding, which reads the weights once a
/// token. Takes about half a second.
///
/// Errors: `InvalidOption` for a number of threads that cannot be.
///
/// ```gleam
/// let assert Ok(bytes_per_second) = t.read_bandwidth(t.load_opts())
/// ```
pub fn read_bandwidth(options: LoadOpts) -> Result(Float, Error) {
  native.read_bandwidth(options.threads) |> public_result
}

// Errors.

/// What can go wrong: what was expected, what was found, and where.
pub type Error {
  /// A file or folder that should be there is not.
  NotFound(path: String, expected: String)
  /// The operating system refused to read a file.
  Unreadable(path: String, reason: String)
  /// A file breaks its format's rules: truncated, damaged or lying.
  Malformed(at: String, expected: String, found: String)
  /// Valid, but not something that this library does.
  Unsupported(at: String, expected: String, found: String)
  /// An option or argument is out of its range.
  InvalidOption(option: String, expected: String, found: String)
  /// The prompt encodes to no token.
  EmptyPrompt
  /// The context has no room for the prompt and one token more.
  ContextOverflow(wanted_tokens: Int, limit_tokens: Int)
  /// Memory is short.
  OutOfMemory(wanted_bytes: Int, free_bytes: Int)
  /// The GPU does not work for this VM any more, after a fault. What was loaded
  /// to it is lost; a new VM may use it again.
  DeviceLost(reason: String)
  /// The chat template failed on these messages.
  Template(reason: String)
  /// Another process is using this session.
  Busy
  /// The progress function returned `Stop`.
  LoadCancelled
  /// A defect of this library.
  Internal(reason: String)
  /// The native library is not there; the reason is the operating system's.
  NifNotLoaded(reason: String)
}

/// An error in words: what was expected, what was found, what to do.
///
/// ```gleam
/// t.describe_error(t.EmptyPrompt)
/// // -> "the prompt is empty: it encodes to no token"
/// ```
pub fn describe_error(error: Error) -> String {
  case error {
    NotFound(path:, expected:) -> path <> ": not found; expected " <> expected
    Unreadable(path:, reason:) -> path <> ": cannot be read: " <> reason
    Malformed(at:, expected:, found:) ->
      at <> ": expected " <> expected <> ", found " <> found
    Unsupported(at:, expected:, found:) ->
      at <> ": " <> found <> " is not supported; expected " <> expected
    InvalidOption(option:, expected:, found:) ->
      option <> ": expected " <> expected <> ", found " <> found
    EmptyPrompt -> "the prompt is empty: it encodes to no token"
    ContextOverflow(wanted_tokens:, limit_tokens:) ->
      otp.int_to_string(wanted_tokens)
      <> " tokens do not fit into a context of "
      <> otp.int_to_string(limit_tokens)
      <> "; shorten the prompt or load the model with a longer context"
    OutOfMemory(wanted_bytes:, free_bytes:) ->
      "out of memory: "
      <> otp.int_to_string(wanted_bytes)
      <> " bytes wanted, "
      <> otp.int_to_string(free_bytes)
      <> " free"
    DeviceLost(reason:) -> "the GPU is lost to this VM: " <> reason
    Template(reason:) -> "chat template: " <> reason
    Busy -> "the session is in use by another process"
    LoadCancelled -> "loading was cancelled"
    Internal(reason:) -> "internal error: " <> reason
    NifNotLoaded(reason:) ->
      "the native library is not loaded; `gleam run -m viva_tensor/install`"
      <> " fetches or builds it, as `make build` does in the viva_tensor folder"
      <> " (reason: "
      <> reason
      <> ")"
  }
}

// The border: every public variant is translated here, once.

fn run_once(
  model: Model,
  prompt: native.Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  let on_piece = fn(piece) { native_next(on_piece(piece)) }
  engine.run_once(model.engine, prompt, request.native, on_piece)
  |> otp.map_ok(public_generation)
  |> public_result
}

fn run(
  session: Session,
  prompt: native.Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  let on_piece = fn(piece) { native_next(on_piece(piece)) }
  engine.run(session.engine, prompt, request.native, on_piece)
  |> otp.map_ok(public_generation)
  |> public_result
}

fn native_next(next: Next) -> generation.Next {
  case next {
    Continue -> generation.Continue
    Stop -> generation.Stop
  }
}

fn native_messages(messages: List(Message)) -> List(native.Message) {
  use message <- otp.map(messages)
  let role = case message.role {
    System -> "system"
    User -> "user"
    Assistant -> "assistant"
    Tool -> "tool"
    OtherRole(name) -> name
  }
  native.Message(role:, content: message.content)
}

fn public_generation(generation: generation.Generation) -> Generation {
  Generation(
    text: generation.text,
    token_ids: generation.token_ids,
    prompt_token_ids: generation.prompt_token_ids,
    prompt_tokens: otp.length(generation.prompt_token_ids),
    cached_tokens: generation.cached_tokens,
    finish_reason: case generation.finish_reason {
      native.Eos -> Eos
      native.StopText(text) -> StopText(text)
      native.Length -> Length
      native.Cancelled -> Cancelled
    },
    timings: Timings(
      prefill_tokens: generation.timings.prefill_tokens,
      prefill_seconds: generation.timings.prefill_seconds,
      decode_tokens: generation.timings.decode_tokens,
      decode_seconds: generation.timings.decode_seconds,
    ),
    logprobs: {
      use token <- otp.map(generation.logprobs)
      TokenLogprobs(token.id, token.logprob, token.top)
    },
  )
}

fn public_result(result: Result(a, error.Error)) -> Result(a, Error) {
  otp.map_error(result, public_error)
}

fn public_error(error: error.Error) -> Error {
  case error {
    error.NotFound(path:, expected:) -> NotFound(path:, expected:)
    error.Unreadable(path:, reason:) -> Unreadable(path:, reason:)
    error.Malformed(at:, expected:, found:) -> Malformed(at:, expected:, found:)
    error.Unsupported(at:, expected:, found:) ->
      Unsupported(at:, expected:, found:)
    error.InvalidOption(option:, expected:, found:) ->
      InvalidOption(option:, expected:, found:)
    error.EmptyPrompt -> EmptyPrompt
    error.ContextOverflow(wanted_tokens:, limit_tokens:) ->
      ContextOverflow(wanted_tokens:, limit_tokens:)
    error.OutOfMemory(wanted_bytes:, free_bytes:) ->
      OutOfMemory(wanted_bytes:, free_bytes:)
    error.DeviceLost(reason:) -> DeviceLost(reason:)
    error.Template(reason:) -> Template(reason:)
    error.Busy -> Busy
    error.Cancelled -> LoadCancelled
    error.Internal(reason:) -> Internal(reason:)
    error.NifNotLoaded(reason:) -> NifNotLoaded(reason:)
  }
}

// Tensors.
//
// What all operations share. Elements are float64 unless made otherwise; of two
// types the result has the one that holds both. Each operation computes in
// float64 and rounds once to the element type, to nearest even; large matrices
// of other types than float64 are multiplied in float32.
//
// IEEE 754 holds inside tensors: what leaves the range is an infinity, and so
// are exp(1000) and 1 / 0; 0 / 0, ∞ - ∞, 0 · ∞, log(-1) and sqrt(-1) are NaN;
// log(0) is -∞; a NaN that goes in comes out with its bits. Floats outside
// tensors are finite. So a function that returns one, or a list of them, gives
// 0.0 for a NaN and ±1.7976931348623157e308 for an infinity; its twin `try_…`
// says `NonFinite` with the operation and the index.

/// Numbers in a grid of any number of axes. It lives in the VM's memory, or,
/// once `to_device` has brought it there, in a GPU's; views of it, such as
/// slices, share that. Either is freed with the last reference.
pub type Tensor =
  tensor.Tensor

/// How an element is stored.
pub type Dtype {
  Float64
  Float32
  Float16
  /// The upper half of a float32.
  BFloat16
}

/// What can go wrong with tensors.
pub type TensorError {
  ShapeMismatch(expected: List(Int), got: List(Int))
  /// A negative length, or more elements than any memory holds.
  InvalidShape(reason: String)
  /// Another number of axes, or an axis that is not there.
  DimensionError(reason: String)
  /// Shapes that do not stretch to a common one.
  BroadcastError(a: List(Int), b: List(Int))
  IndexOutOfBounds(index: Int, size: Int)
  /// What has no answer for no elements.
  EmptyTensor(op: String)
  /// A NaN or an infinity, where a float of the BEAM was wanted; the first one's
  /// index in row-major order.
  NonFinite(op: String, index: Int)
  /// Finite elements whose result is not.
  Overflow(op: String)
  InvalidArgument(argument: String, expected: String, found: String)
  /// The operating system refused to read or write a file.
  TensorFile(path: String, reason: String)
  /// Tensors cannot be there, or what was there is lost.
  DeviceUnavailable(device: String, reason: String)
  /// A GPU's memory is short.
  DeviceOutOfMemory(device: String, wanted_bytes: Int, free_bytes: Int)
  /// Operands in two places, or one on a GPU for what only the host does: "host"
  /// and "cuda:0", say. `to_device` and `to_host` bring them together.
  DeviceMismatch(a: String, b: String)
  /// A file that breaks its format's rules.
  MalformedTensorFile(path: String, expected: String, found: String)
}

/// How a convolution's kernel moves: its size, its steps, and the zeros around
/// the input.
pub type Conv2dConfig {
  Conv2dConfig(
    kernel_h: Int,
    kernel_w: Int,
    stride_h: Int,
    stride_w: Int,
    padding_h: Int,
    padding_w: Int,
  )
}

/// Whether attention sees everything, or what a mask leaves: it is added to the
/// scores, so -1.0e9 hides.
pub type AttentionMask {
  NoMask
  AddMask(Tensor)
}

/// A weight in few bits, packed once for many products, where it was packed: in
/// the host's memory, or on the GPU that the weight was on. Its memory, which is
/// the native library's where that is loaded, is freed with the last reference.
pub type PackedWeight =
  quant.PackedWeight

/// What happens to a weight that has more than two numbers other than 0 in four.
pub type Pruning {
  /// The two of largest magnitude are kept; `packed_info` tells how many went.
  Magnitude
  /// It is an error.
  Exact
}

/// What is added to each row of a product.
pub type Bias {
  NoBias
  /// [out_features]
  Bias(Tensor)
}

/// What a packed weight is.
pub type PackedInfo {
  PackedInfo(
    /// Such as "fp8" or "int8, two of four".
    format: String,
    /// What shares a scale, such as "a scale for each 16 inputs of an output".
    scales: String,
    in_features: Int,
    out_features: Int,
    /// Where it is, as `device_of` says it of tensors: inputs and bias have to be
    /// there, too.
    device: Device,
    /// Who multiplies: "Erlang", "own kernels", or which library besides those,
    /// and when: "cuBLASLt 13.0.2 for … , own kernels otherwise".
    products: String,
    /// In memory; on the BEAM float32 takes the place of the few bits.
    bytes: Int,
    /// The norm of what packing changed, over the norm of the weight.
    relative_error: Float,
    /// The largest change of a weight.
    largest_error: Float,
    /// Weights other than 0 that two of four had no room for.
    pruned: Int,
  )
}

// Making tensors.

/// A tensor of zeros. Negative lengths count as 0, and a shape that no
/// memory holds gives the shape [0].
///
/// ```gleam
/// t.to_list(t.zeros([2, 2]))
/// // -> [0.0, 0.0, 0.0, 0.0]
/// ```
pub fn zeros(shape: List(Int)) -> Tensor {
  tensor.fill(shape, 0.0)
}

/// As `zeros`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_zeros([-1])
/// // -> Error(t.InvalidShape("[-1] has a negative length"))
/// ```
pub fn try_zeros(shape: List(Int)) -> Result(Tensor, TensorError) {
  tensor.try_fill(shape, 0.0)
  |> tensor_result
}

/// A tensor of ones. Shapes as `zeros`.
///
/// ```gleam
/// t.to_list(t.ones([2]))
/// // -> [1.0, 1.0]
/// ```
pub fn ones(shape: List(Int)) -> Tensor {
  tensor.fill(shape, 1.0)
}

/// As `ones`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_ones([2])
/// // -> Ok(t.vector([1.0, 1.0]))
/// ```
pub fn try_ones(shape: List(Int)) -> Result(Tensor, TensorError) {
  tensor.try_fill(shape, 1.0)
  |> tensor_result
}

/// A tensor of one value. Shapes as `zeros`.
///
/// ```gleam
/// t.to_list(t.fill([3], 0.5))
/// // -> [0.5, 0.5, 0.5]
/// ```
pub fn fill(shape: List(Int), value: Float) -> Tensor {
  tensor.fill(shape, value)
}

/// As `fill`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_fill([1], 0.5)
/// // -> Ok(t.vector([0.5]))
/// ```
pub fn try_fill(shape: List(Int), value: Float) -> Result(Tensor, TensorError) {
  tensor.try_fill(shape, value)
  |> tensor_result
}

/// A tensor of one axis.
///
/// ```gleam
/// t.shape(t.from_list([1.0, 2.0]))
/// // -> [2]
/// ```
pub fn from_list(data: List(Float)) -> Tensor {
  tensor.vector(data)
}

/// A tensor of two axes, row by row. Without rows its shape is [0, 0].
///
/// Errors: `InvalidShape` when a row is longer or shorter than the first.
///
/// ```gleam
/// let assert Ok(m) = t.from_list2d([[1.0, 2.0], [3.0, 4.0]])
/// t.shape(m)
/// // -> [2, 2]
/// ```
pub fn from_list2d(rows: List(List(Float))) -> Result(Tensor, TensorError) {
  tensor.from_rows(rows)
  |> tensor_result
}

/// A tensor of one axis: another name of `from_list`.
///
/// ```gleam
/// t.to_list(t.vector([1.0, 2.0]))
/// // -> [1.0, 2.0]
/// ```
pub fn vector(data: List(Float)) -> Tensor {
  tensor.vector(data)
}

/// A tensor of two axes from its elements row by row.
///
/// Errors: `InvalidShape` when there are not `rows * cols` of them.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(1, 2, [1.0, 2.0])
/// t.to_list(m)
/// // -> [1.0, 2.0]
/// ```
pub fn matrix(
  rows: Int,
  cols: Int,
  data: List(Float),
) -> Result(Tensor, TensorError) {
  tensor.matrix(rows, cols, data)
  |> tensor_result
}

// Random numbers.

/// Random numbers from 0.0 up to, not including, 1.0. Shapes as `zeros`.
///
/// ```gleam
/// t.shape(t.random_uniform([2, 3]))
/// // -> [2, 3]
/// ```
pub fn random_uniform(shape: List(Int)) -> Tensor {
  random.uniform(shape, random.fresh_seed())
}

/// As `random_uniform`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_random_uniform([-1])
/// // -> Error(t.InvalidShape("[-1] has a negative length"))
/// ```
pub fn try_random_uniform(shape: List(Int)) -> Result(Tensor, TensorError) {
  use shape <- otp.map_ok(shapes.check(shape) |> tensor_result)
  random.uniform(shape, random.fresh_seed())
}

/// As `random_uniform`; the same seed, from 0 to 2^64 - 1, gives the same
/// numbers on every machine. Of other seeds the lowest 64 bits count.
///
/// ```gleam
/// t.random_uniform_seeded([2], 42) == t.random_uniform_seeded([2], 42)
/// // -> True
/// ```
pub fn random_uniform_seeded(shape: List(Int), seed: Int) -> Tensor {
  random.uniform(shape, seed)
}

/// Random numbers of a normal distribution. Shapes as `zeros`.
///
/// ```gleam
/// t.shape(t.random_normal([4], 0.0, 1.0))
/// // -> [4]
/// ```
pub fn random_normal(shape: List(Int), mean: Float, std: Float) -> Tensor {
  random.normal(shape, mean, std, random.fresh_seed())
}

/// As `random_normal`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_random_normal([-1], 0.0, 1.0)
/// // -> Error(t.InvalidShape("[-1] has a negative length"))
/// ```
pub fn try_random_normal(
  shape: List(Int),
  mean: Float,
  std: Float,
) -> Result(Tensor, TensorError) {
  use shape <- otp.map_ok(shapes.check(shape) |> tensor_result)
  random.normal(shape, mean, std, random.fresh_seed())
}

/// As `random_normal`, of a seed as in `random_uniform_seeded`.
///
/// ```gleam
/// let a = t.random_normal_seeded([2], 0.0, 1.0, 7)
/// a == t.random_normal_seeded([2], 0.0, 1.0, 7)
/// // -> True
/// ```
pub fn random_normal_seeded(
  shape: List(Int),
  mean: Float,
  std: Float,
  seed: Int,
) -> Tensor {
  random.normal(shape, mean, std, seed)
}

/// First weights of shape [fan_out, fan_in], as `linear` takes them, uniform in
/// ±√(6 / (fan_in + fan_out)) (Glorot, Bengio 2010). Shapes as `zeros`.
///
/// ```gleam
/// t.shape(t.xavier_init(3, 2))
/// // -> [2, 3]
/// ```
pub fn xavier_init(fan_in: Int, fan_out: Int) -> Tensor {
  random.xavier(fan_in, fan_out, random.fresh_seed())
}

/// As `xavier_init`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_xavier_init(-3, 2)
/// // -> Error(t.InvalidShape("[2, -3] has a negative length"))
/// ```
pub fn try_xavier_init(
  fan_in: Int,
  fan_out: Int,
) -> Result(Tensor, TensorError) {
  use _ <- otp.map_ok(shapes.check([fan_out, fan_in]) |> tensor_result)
  xavier_init(fan_in, fan_out)
}

/// As `xavier_init`, of a seed as in `random_uniform_seeded`.
///
/// ```gleam
/// t.shape(t.xavier_init_seeded(3, 2, 1))
/// // -> [2, 3]
/// ```
pub fn xavier_init_seeded(fan_in: Int, fan_out: Int, seed: Int) -> Tensor {
  random.xavier(fan_in, fan_out, seed)
}

/// First weights of shape [fan_out, fan_in], as `linear` takes them, normal with
/// the standard deviation √(2 / fan_in) (He et al. 2015). Shapes as `zeros`.
///
/// ```gleam
/// t.shape(t.he_init(3, 2))
/// // -> [2, 3]
/// ```
pub fn he_init(fan_in: Int, fan_out: Int) -> Tensor {
  random.he(fan_in, fan_out, random.fresh_seed())
}

/// As `he_init`. Errors: `InvalidShape`.
///
/// ```gleam
/// t.try_he_init(-3, 2)
/// // -> Error(t.InvalidShape("[2, -3] has a negative length"))
/// ```
pub fn try_he_init(fan_in: Int, fan_out: Int) -> Result(Tensor, TensorError) {
  use _ <- otp.map_ok(shapes.check([fan_out, fan_in]) |> tensor_result)
  he_init(fan_in, fan_out)
}

/// As `he_init`, of a seed as in `random_uniform_seeded`.
///
/// ```gleam
/// t.shape(t.he_init_seeded(3, 2, 1))
/// // -> [2, 3]
/// ```
pub fn he_init_seeded(fan_in: Int, fan_out: Int, seed: Int) -> Tensor {
  random.he(fan_in, fan_out, seed)
}

// Element by element.

/// The sum, of tensors of one shape. Errors: `ShapeMismatch`.
///
/// ```gleam
/// let assert Ok(c) = t.add(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// t.to_list(c)
/// // -> [4.0, 6.0]
/// ```
pub fn add(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary(kernel.Add, a, b)
  |> tensor_result
}

/// The difference, of tensors of one shape. Errors: `ShapeMismatch`.
///
/// ```gleam
/// let assert Ok(c) = t.sub(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// t.to_list(c)
/// // -> [-2.0, -2.0]
/// ```
pub fn sub(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary(kernel.Subtract, a, b)
  |> tensor_result
}

/// The product of elements, of tensors of one shape. Errors: `ShapeMismatch`.
///
/// ```gleam
/// let assert Ok(c) = t.mul(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// t.to_list(c)
/// // -> [3.0, 8.0]
/// ```
pub fn mul(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary(kernel.Multiply, a, b)
  |> tensor_result
}

/// The quotient of elements; by zero as IEEE 754 says, of tensors of one shape. Errors: `ShapeMismatch`.
///
/// ```gleam
/// let assert Ok(c) = t.div(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// t.to_list(c)
/// // -> [0.3333333333333333, 0.5]
/// ```
pub fn div(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary(kernel.Divide, a, b)
  |> tensor_result
}

/// Every element times a number.
///
/// ```gleam
/// t.to_list(t.scale(t.vector([1.0, 2.0]), 3.0))
/// // -> [3.0, 6.0]
/// ```
pub fn scale(t: Tensor, s: Float) -> Tensor {
  elementwise.unary(kernel.Scale(s), of: t)
}

/// As `scale`. Errors: `NonFinite` with the index of the first element that is
/// none, or `Overflow` of a product.
///
/// ```gleam
/// t.try_scale(t.vector([1.0e300]), 1.0e300)
/// // -> Error(t.Overflow("scale"))
/// ```
pub fn try_scale(t: Tensor, s: Float) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_finite(t, "scale") |> tensor_result)
  let scaled = scale(t, s)
  case tensor.check_finite(scaled, "scale") {
    Ok(Nil) -> Ok(scaled)
    Error(tensor_error.NonFinite(..)) -> Error(Overflow("scale"))
    Error(error) -> Error(public_tensor_error(error))
  }
}

/// The tensor itself, when it holds no NaN and no infinity: the check that goes
/// behind any operation. Errors: `NonFinite` with the index of the first one.
///
/// ```gleam
/// t.try_finite(t.exp(t.vector([0.0, 1000.0])))
/// // -> Error(t.NonFinite("try_finite", 1))
/// ```
pub fn try_finite(t: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.map_ok(tensor.check_finite(t, "try_finite") |> tensor_result)
  t
}

/// Every element through a function of yours. A NaN and an infinity stay what
/// they are: your function never sees one.
///
/// ```gleam
/// t.to_list(t.map(t.vector([1.0, 2.0]), fn(x) { x +. 1.0 }))
/// // -> [2.0, 3.0]
/// ```
pub fn map(t: Tensor, f: fn(Float) -> Float) -> Tensor {
  elementwise.map(t, f)
}

/// As `map`. Errors: `NonFinite`.
///
/// ```gleam
/// t.try_map(t.vector([1.0]), fn(x) { x +. 1.0 })
/// // -> Ok(t.vector([2.0]))
/// ```
pub fn try_map(
  t: Tensor,
  f: fn(Float) -> Float,
) -> Result(Tensor, TensorError) {
  elementwise.try_map(t, f)
  |> tensor_result
}

/// Divided by its norm, which is then 1.0. A tensor of zeros, and an empty one,
/// stay as they are.
///
/// ```gleam
/// t.to_list(t.normalize(t.vector([3.0, 4.0])))
/// // -> [0.6, 0.8]
/// ```
pub fn normalize(t: Tensor) -> Tensor {
  linear_algebra.normalize(t)
}

/// As `normalize`. Errors: `NonFinite`, and `Overflow` of the norm.
///
/// ```gleam
/// t.try_normalize(t.vector([3.0, 4.0]))
/// // -> Ok(t.vector([0.6, 0.8]))
/// ```
pub fn try_normalize(t: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.map_ok(reduction.try_norm(t) |> tensor_result)
  normalize(t)
}

/// Every element at least `min_val` and at most `max_val`; a NaN stays one. With
/// `min_val` above `max_val` every element is `max_val`.
///
/// ```gleam
/// t.to_list(t.clamp(t.vector([-2.0, 0.5, 2.0]), 0.0, 1.0))
/// // -> [0.0, 0.5, 1.0]
/// ```
pub fn clamp(t: Tensor, min_val: Float, max_val: Float) -> Tensor {
  elementwise.clamp(t, min_val, max_val)
}

/// As `clamp`. Errors: `InvalidArgument` with `min_val` above `max_val`.
///
/// ```gleam
/// t.try_clamp(t.vector([2.0]), 0.0, 1.0)
/// // -> Ok(t.vector([1.0]))
/// ```
pub fn try_clamp(
  t: Tensor,
  min_val: Float,
  max_val: Float,
) -> Result(Tensor, TensorError) {
  elementwise.try_clamp(t, min_val, max_val)
  |> tensor_result
}

/// Every element with the other sign.
///
/// ```gleam
/// t.to_list(t.negate(t.vector([1.0, -2.0])))
/// // -> [-1.0, 2.0]
/// ```
pub fn negate(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Negate, of: t)
}

/// Every element without its sign.
///
/// ```gleam
/// t.to_list(t.absolute(t.vector([1.0, -2.0])))
/// // -> [1.0, 2.0]
/// ```
pub fn absolute(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Absolute, of: t)
}

/// e to the power of every element.
///
/// ```gleam
/// t.to_list(t.exp(t.vector([0.0])))
/// // -> [1.0]
/// ```
pub fn exp(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Exp, of: t)
}

/// The natural logarithm.
///
/// ```gleam
/// t.to_list(t.log(t.vector([1.0])))
/// // -> [0.0]
/// ```
pub fn log(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Log, of: t)
}

/// The square root.
///
/// ```gleam
/// t.to_list(t.sqrt(t.vector([4.0, 9.0])))
/// // -> [2.0, 3.0]
/// ```
pub fn sqrt(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Sqrt, of: t)
}

/// The hyperbolic tangent.
///
/// ```gleam
/// t.to_list(t.tanh(t.vector([0.0])))
/// // -> [0.0]
/// ```
pub fn tanh(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Tanh, of: t)
}

/// 1 / (1 + exp(-x))
///
/// ```gleam
/// t.to_list(t.sigmoid(t.vector([0.0])))
/// // -> [0.5]
/// ```
pub fn sigmoid(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Sigmoid, of: t)
}

/// The larger of x and 0.
///
/// ```gleam
/// t.to_list(t.relu(t.vector([-1.0, 2.0])))
/// // -> [0.0, 2.0]
/// ```
pub fn relu(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Relu, of: t)
}

/// x / (1 + exp(-x)), also known as swish (Elfwing et al. 2017).
///
/// ```gleam
/// t.to_list(t.silu(t.vector([0.0])))
/// // -> [0.0]
/// ```
pub fn silu(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Silu, of: t)
}

/// x Φ(x), exact, through the error function (Hendrycks, Gimpel 2016).
///
/// ```gleam
/// t.to_list(t.gelu(t.vector([0.0])))
/// // -> [0.0]
/// ```
pub fn gelu(t: Tensor) -> Tensor {
  elementwise.unary(kernel.Gelu, of: t)
}

/// x Φ(x), approximated by 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).
///
/// ```gleam
/// t.to_list(t.gelu_tanh(t.vector([0.0])))
/// // -> [0.0]
/// ```
pub fn gelu_tanh(t: Tensor) -> Tensor {
  elementwise.unary(kernel.GeluTanh, of: t)
}

// Broadcasting.

/// Whether two shapes stretch to a common one: aligned at the last axis, lengths
/// are alike or one of them is 1.
///
/// ```gleam
/// t.can_broadcast([2, 3], [3])
/// // -> True
/// ```
pub fn can_broadcast(a: List(Int), b: List(Int)) -> Bool {
  case shapes.broadcast(a, b) {
    Ok(_) -> True
    Error(_) -> False
  }
}

/// As `add`, of shapes that stretch to a common one.
///
/// Errors: `BroadcastError`, and `InvalidShape` when that is too large.
///
/// ```gleam
/// let assert Ok(c) = t.add_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
/// t.to_list(c)
/// // -> [11.0, 12.0]
/// ```
pub fn add_broadcast(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary_broadcast(kernel.Add, a, b)
  |> tensor_result
}

/// As `sub`, of shapes that stretch to a common one.
///
/// Errors: `BroadcastError`, and `InvalidShape` when that is too large.
///
/// ```gleam
/// let assert Ok(c) = t.sub_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
/// t.to_list(c)
/// // -> [-9.0, -8.0]
/// ```
pub fn sub_broadcast(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary_broadcast(kernel.Subtract, a, b)
  |> tensor_result
}

/// As `mul`, of shapes that stretch to a common one.
///
/// Errors: `BroadcastError`, and `InvalidShape` when that is too large.
///
/// ```gleam
/// let assert Ok(c) = t.mul_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
/// t.to_list(c)
/// // -> [10.0, 20.0]
/// ```
pub fn mul_broadcast(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary_broadcast(kernel.Multiply, a, b)
  |> tensor_result
}

/// As `div`, of shapes that stretch to a common one.
///
/// Errors: `BroadcastError`, and `InvalidShape` when that is too large.
///
/// ```gleam
/// let assert Ok(c) = t.div_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
/// t.to_list(c)
/// // -> [0.1, 0.2]
/// ```
pub fn div_broadcast(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  elementwise.binary_broadcast(kernel.Divide, a, b)
  |> tensor_result
}

// Reductions.

/// The sum of all elements; 0.0 of an empty tensor.
///
/// ```gleam
/// t.sum(t.vector([1.0, 2.0, 3.0]))
/// // -> 6.0
/// ```
pub fn sum(t: Tensor) -> Float {
  reduction.whole(kernel.Sum, t)
}

/// As `sum`. Errors: `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.try_sum(t.vector([1.0, 2.0, 3.0]))
/// // -> Ok(6.0)
/// ```
pub fn try_sum(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_whole(kernel.Sum, t, "sum") |> tensor_result
}

/// The mean of all elements; 0.0 of an empty tensor.
///
/// ```gleam
/// t.mean(t.vector([1.0, 2.0, 3.0]))
/// // -> 2.0
/// ```
pub fn mean(t: Tensor) -> Float {
  reduction.whole(kernel.Mean, t)
}

/// As `mean`. Errors: `EmptyTensor`, `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.try_mean(t.vector([1.0, 2.0, 3.0]))
/// // -> Ok(2.0)
/// ```
pub fn try_mean(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_whole(kernel.Mean, t, "mean") |> tensor_result
}

/// The largest element; 0.0 of an empty tensor.
///
/// ```gleam
/// t.max(t.vector([1.0, 2.0, 3.0]))
/// // -> 3.0
/// ```
pub fn max(t: Tensor) -> Float {
  reduction.whole(kernel.Max, t)
}

/// As `max`. Errors: `EmptyTensor` and `NonFinite`.
///
/// ```gleam
/// t.try_max(t.vector([1.0, 2.0, 3.0]))
/// // -> Ok(3.0)
/// ```
pub fn try_max(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_whole(kernel.Max, t, "max") |> tensor_result
}

/// The smallest element; 0.0 of an empty tensor.
///
/// ```gleam
/// t.min(t.vector([1.0, 2.0, 3.0]))
/// // -> 1.0
/// ```
pub fn min(t: Tensor) -> Float {
  reduction.whole(kernel.Min, t)
}

/// As `min`. Errors: `EmptyTensor` and `NonFinite`.
///
/// ```gleam
/// t.try_min(t.vector([1.0, 2.0, 3.0]))
/// // -> Ok(1.0)
/// ```
pub fn try_min(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_whole(kernel.Min, t, "min") |> tensor_result
}

/// The mean of the squared deviations from the mean; 0.0 of an empty tensor.
///
/// ```gleam
/// t.variance(t.vector([1.0, 3.0]))
/// // -> 1.0
/// ```
pub fn variance(t: Tensor) -> Float {
  reduction.whole(kernel.Variance, t)
}

/// As `variance`. Errors: `EmptyTensor`, `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.try_variance(t.vector([]))
/// // -> Error(t.EmptyTensor("variance"))
/// ```
pub fn try_variance(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_whole(kernel.Variance, t, "variance") |> tensor_result
}

/// The standard deviation, the root of the variance; 0.0 of an empty tensor.
///
/// ```gleam
/// t.std(t.vector([1.0, 3.0]))
/// // -> 1.0
/// ```
pub fn std(t: Tensor) -> Float {
  reduction.standard_deviation(t)
}

/// As `std`. Errors: `EmptyTensor`, `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.try_std(t.vector([1.0, 3.0]))
/// // -> Ok(1.0)
/// ```
pub fn try_std(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_standard_deviation(t) |> tensor_result
}

/// The root of the sum of squares; 0.0 of an empty tensor.
///
/// ```gleam
/// t.norm(t.vector([3.0, 4.0]))
/// // -> 5.0
/// ```
pub fn norm(t: Tensor) -> Float {
  reduction.norm(t)
}

/// As `norm`. Errors: `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.try_norm(t.vector([1.0e200]))
/// // -> Error(t.Overflow("norm"))
/// ```
pub fn try_norm(t: Tensor) -> Result(Float, TensorError) {
  reduction.try_norm(t) |> tensor_result
}

/// The index of the largest element in row-major order, of equals the first; the
/// first NaN's where there is one, and 0 of an empty tensor.
///
/// ```gleam
/// t.argmax(t.vector([1.0, 3.0, 2.0]))
/// // -> 1
/// ```
pub fn argmax(t: Tensor) -> Int {
  reduction.argument(kernel.Argmax, t)
}

/// As `argmax`. Errors: `EmptyTensor` and `NonFinite`.
///
/// ```gleam
/// t.try_argmax(t.vector([]))
/// // -> Error(t.EmptyTensor("argmax"))
/// ```
pub fn try_argmax(t: Tensor) -> Result(Int, TensorError) {
  reduction.try_argument(kernel.Argmax, t, "argmax") |> tensor_result
}

/// The index of the smallest element in row-major order, of equals the first; the
/// first NaN's where there is one, and 0 of an empty tensor.
///
/// ```gleam
/// t.argmin(t.vector([1.0, 3.0, 2.0]))
/// // -> 0
/// ```
pub fn argmin(t: Tensor) -> Int {
  reduction.argument(kernel.Argmin, t)
}

/// As `argmin`. Errors: `EmptyTensor` and `NonFinite`.
///
/// ```gleam
/// t.try_argmin(t.vector([]))
/// // -> Error(t.EmptyTensor("argmin"))
/// ```
pub fn try_argmin(t: Tensor) -> Result(Int, TensorError) {
  reduction.try_argument(kernel.Argmin, t, "argmin") |> tensor_result
}

/// The sums along an axis, which goes. A negative axis counts from the end.
/// Errors: `DimensionError`.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.sum_axis(m, 1)
/// t.to_list(row)
/// // -> [3.0, 7.0]
/// ```
pub fn sum_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Sum, t, axis, "sum_axis")
  |> tensor_result
}

/// The means along an axis, which goes. A negative axis counts from the end.
/// Errors: `DimensionError`, and `EmptyTensor` for an axis of length 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.mean_axis(m, 1)
/// t.to_list(row)
/// // -> [1.5, 3.5]
/// ```
pub fn mean_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Mean, t, axis, "mean_axis")
  |> tensor_result
}

/// The variances along an axis, which goes. A negative axis counts from the
/// end. Errors: `DimensionError`, and `EmptyTensor` for an axis of length 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.variance_axis(m, 1)
/// t.to_list(row)
/// // -> [0.25, 0.25]
/// ```
pub fn variance_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Variance, t, axis, "variance_axis")
  |> tensor_result
}

/// The largest elements along an axis, which goes. A negative axis counts from
/// the end. Errors: `DimensionError`, and `EmptyTensor` for an axis of length
/// 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.max_axis(m, 1)
/// t.to_list(row)
/// // -> [2.0, 4.0]
/// ```
pub fn max_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Max, t, axis, "max_axis")
  |> tensor_result
}

/// The smallest elements along an axis, which goes. A negative axis counts from
/// the end. Errors: `DimensionError`, and `EmptyTensor` for an axis of length
/// 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.min_axis(m, 1)
/// t.to_list(row)
/// // -> [1.0, 3.0]
/// ```
pub fn min_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Min, t, axis, "min_axis")
  |> tensor_result
}

/// Where along an axis, which goes, the largest elements are: indices as
/// float64. A negative axis counts from the end. Errors: `DimensionError`, and
/// `EmptyTensor` for an axis of length 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.argmax_axis(m, 1)
/// t.to_list(row)
/// // -> [1.0, 1.0]
/// ```
pub fn argmax_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Argmax, t, axis, "argmax_axis")
  |> tensor_result
}

/// Where along an axis, which goes, the smallest elements are: indices as
/// float64. A negative axis counts from the end. Errors: `DimensionError`, and
/// `EmptyTensor` for an axis of length 0.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(row) = t.argmin_axis(m, 1)
/// t.to_list(row)
/// // -> [0.0, 0.0]
/// ```
pub fn argmin_axis(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.along(kernel.Argmin, t, axis, "argmin_axis")
  |> tensor_result
}

// Products.

/// The sum of the products of elements, in float64: [K] · [K].
///
/// Errors: `DimensionError`, `ShapeMismatch`, `NonFinite` and `Overflow`.
///
/// ```gleam
/// t.dot(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// // -> Ok(11.0)
/// ```
pub fn dot(a: Tensor, b: Tensor) -> Result(Float, TensorError) {
  linear_algebra.dot(a, b) |> tensor_result
}

/// The matrix product: [M, K] × [K, N] → [M, N].
///
/// Errors: `DimensionError` for other than two axes, `ShapeMismatch` when the
/// inner lengths differ, and `InvalidShape` when the result is too large.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(p) = t.matmul(m, m)
/// t.to_list(p)
/// // -> [7.0, 10.0, 15.0, 22.0]
/// ```
pub fn matmul(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  linear_algebra.matmul(a, b)
  |> tensor_result
}

/// Matrix times vector: [M, K] × [K] → [M]. Errors: those of `matmul`.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(v) = t.matmul_vec(m, t.vector([1.0, 1.0]))
/// t.to_list(v)
/// // -> [3.0, 7.0]
/// ```
pub fn matmul_vec(mat: Tensor, vec: Tensor) -> Result(Tensor, TensorError) {
  linear_algebra.matmul_vec(mat, vec)
  |> tensor_result
}

/// Matrix products: [.., M, K] × [.., K, N] → [.., M, N]; the leading axes
/// broadcast. Errors: those of `matmul`, and `BroadcastError`.
///
/// ```gleam
/// let assert Ok(p) = t.batch_matmul(t.ones([5, 2, 3]), t.ones([3, 4]))
/// t.shape(p)
/// // -> [5, 2, 4]
/// ```
pub fn batch_matmul(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  linear_algebra.batch_matmul(a, b)
  |> tensor_result
}

/// All products of two elements: [M], [N] → [M, N].
///
/// Errors: `DimensionError` and `InvalidShape`.
///
/// ```gleam
/// let assert Ok(p) = t.outer(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
/// t.to_list(p)
/// // -> [3.0, 4.0, 6.0, 8.0]
/// ```
pub fn outer(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  linear_algebra.outer(a, b)
  |> tensor_result
}

/// Rows become columns: [M, N] → [N, M], laid out anew in row-major order. A
/// view is `transpose_strided`. Errors: `DimensionError` for other than two axes.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(turned) = t.transpose(m)
/// t.to_list(turned)
/// // -> [1.0, 3.0, 2.0, 4.0]
/// ```
pub fn transpose(t: Tensor) -> Result(Tensor, TensorError) {
  tensor.transpose(t)
  |> otp.map_ok(tensor.contiguous)
  |> tensor_result
}

// Shapes.

/// The same elements in row-major order in another shape.
///
/// Errors: `InvalidShape` for another number of elements.
///
/// ```gleam
/// let assert Ok(m) = t.reshape(t.vector([1.0, 2.0]), [2, 1])
/// t.shape(m)
/// // -> [2, 1]
/// ```
pub fn reshape(t: Tensor, new_shape: List(Int)) -> Result(Tensor, TensorError) {
  tensor.reshape(t, to: new_shape)
  |> tensor_result
}

/// All elements along one axis.
///
/// ```gleam
/// t.shape(t.flatten(t.zeros([2, 3])))
/// // -> [6]
/// ```
pub fn flatten(t: Tensor) -> Tensor {
  tensor.flatten(t)
}

/// Without the axes of length 1, but for one of them when there are no others. A
/// view.
///
/// ```gleam
/// t.shape(t.squeeze(t.zeros([1, 3, 1])))
/// // -> [3]
/// ```
pub fn squeeze(t: Tensor) -> Tensor {
  tensor.squeeze(t)
}

/// With a new axis of length 1 in place `axis`; a negative one counts from the
/// end of the new shape. A view; the tensor itself for an axis that cannot be.
///
/// ```gleam
/// t.shape(t.unsqueeze(t.zeros([3]), 0))
/// // -> [1, 3]
/// ```
pub fn unsqueeze(t: Tensor, axis: Int) -> Tensor {
  case tensor.unsqueeze(t, axis) {
    Ok(view) -> view
    Error(_) -> t
  }
}

/// As `unsqueeze`. Errors: `DimensionError`.
///
/// ```gleam
/// let assert Ok(view) = t.try_unsqueeze(t.zeros([3]), -1)
/// t.shape(view)
/// // -> [3, 1]
/// ```
pub fn try_unsqueeze(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  tensor.unsqueeze(t, axis)
  |> tensor_result
}

/// The axes in another order. A view.
///
/// Errors: `DimensionError` unless each axis is there once.
///
/// ```gleam
/// let assert Ok(view) = t.permute(t.zeros([2, 3, 4]), [2, 0, 1])
/// t.shape(view)
/// // -> [4, 2, 3]
/// ```
pub fn permute(t: Tensor, axes: List(Int)) -> Result(Tensor, TensorError) {
  tensor.permute(t, axes)
  |> tensor_result
}

/// Stretched to a shape that it broadcasts to. A view.
///
/// Errors: `BroadcastError` and `InvalidShape`.
///
/// ```gleam
/// let assert Ok(view) = t.broadcast_to(t.vector([1.0]), [3])
/// t.to_list(view)
/// // -> [1.0, 1.0, 1.0]
/// ```
pub fn broadcast_to(
  t: Tensor,
  shape: List(Int),
) -> Result(Tensor, TensorError) {
  tensor.broadcast(t, to: shape)
  |> tensor_result
}

/// The length of each axis.
///
/// ```gleam
/// t.shape(t.zeros([2, 3]))
/// // -> [2, 3]
/// ```
pub fn shape(t: Tensor) -> List(Int) {
  tensor.shape(t)
}

/// The number of elements.
///
/// ```gleam
/// t.size(t.zeros([2, 3]))
/// // -> 6
/// ```
pub fn size(t: Tensor) -> Int {
  tensor.size(t)
}

/// The number of axes.
///
/// ```gleam
/// t.rank(t.zeros([2, 3]))
/// // -> 2
/// ```
pub fn rank(t: Tensor) -> Int {
  tensor.rank(t)
}

/// For code that told strided tensors from others: here every tensor has
/// strides, so this is the tensor itself.
///
/// ```gleam
/// t.to_list(t.to_strided(t.vector([1.0])))
/// // -> [1.0]
/// ```
pub fn to_strided(t: Tensor) -> Tensor {
  t
}

/// With its elements in row-major order without gaps: a copy of a view that has
/// them otherwise, the tensor itself if not.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(view) = t.transpose_strided(m)
/// t.is_contiguous(t.to_contiguous(view))
/// // -> True
/// ```
pub fn to_contiguous(t: Tensor) -> Tensor {
  tensor.contiguous(t)
}

/// Rows become columns: [M, N] → [N, M]. A view.
///
/// Errors: `DimensionError` for other than two axes.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(view) = t.transpose_strided(m)
/// t.to_list(view)
/// // -> [1.0, 3.0, 2.0, 4.0]
/// ```
pub fn transpose_strided(t: Tensor) -> Result(Tensor, TensorError) {
  tensor.transpose(t)
  |> tensor_result
}

/// Whether the elements lie in row-major order without gaps.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(view) = t.transpose_strided(m)
/// t.is_contiguous(view)
/// // -> False
/// ```
pub fn is_contiguous(t: Tensor) -> Bool {
  tensor.is_contiguous(t)
}

// Parts.

/// The element at one index an axis; a negative index counts from the end.
///
/// Errors: `DimensionError`, `IndexOutOfBounds` and `NonFinite`.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// t.get(m, [1, 0])
/// // -> Ok(3.0)
/// ```
pub fn get(t: Tensor, index: List(Int)) -> Result(Float, TensorError) {
  tensor.get(t, index) |> tensor_result
}

/// From `start`, `length` elements along each axis. A view.
///
/// Errors: `DimensionError` and `IndexOutOfBounds`.
///
/// ```gleam
/// let v = t.vector([1.0, 2.0, 3.0, 4.0])
/// let assert Ok(view) = t.slice(v, start: [1], length: [2])
/// t.to_list(view)
/// // -> [2.0, 3.0]
/// ```
pub fn slice(
  t: Tensor,
  start start: List(Int),
  length length: List(Int),
) -> Result(Tensor, TensorError) {
  tensor.slice(t, from: start, length:)
  |> tensor_result
}

/// The slices at these indices of an axis, in this order; a negative index
/// counts from the end. Errors: `DimensionError` and `IndexOutOfBounds`.
///
/// ```gleam
/// let v = t.vector([1.0, 2.0, 3.0])
/// let assert Ok(picked) = t.gather(v, 0, [2, 0, 2])
/// t.to_list(picked)
/// // -> [3.0, 1.0, 3.0]
/// ```
pub fn gather(
  t: Tensor,
  axis: Int,
  indices: List(Int),
) -> Result(Tensor, TensorError) {
  tensor.gather(t, axis, indices)
  |> tensor_result
}

/// One after the other along an axis.
///
/// Errors: `ShapeMismatch` when other axes differ, `DimensionError`, and
/// `EmptyTensor` for no tensors.
///
/// ```gleam
/// let assert Ok(joined) = t.concat([t.vector([1.0]), t.vector([2.0])], 0)
/// t.to_list(joined)
/// // -> [1.0, 2.0]
/// ```
pub fn concat(tensors: List(Tensor), axis: Int) -> Result(Tensor, TensorError) {
  tensor.concat(tensors, axis)
  |> tensor_result
}

/// Side by side along a new axis. Errors: those of `concat`.
///
/// ```gleam
/// let assert Ok(rows) = t.stack([t.vector([1.0]), t.vector([2.0])], 0)
/// t.shape(rows)
/// // -> [2, 1]
/// ```
pub fn stack(tensors: List(Tensor), axis: Int) -> Result(Tensor, TensorError) {
  tensor.stack(tensors, axis)
  |> tensor_result
}

// Convolutions.

/// A kernel of 3 × 3, one step at a time, no padding.
///
/// ```gleam
/// t.conv2d_config().kernel_h
/// // -> 3
/// ```
pub fn conv2d_config() -> Conv2dConfig {
  Conv2dConfig(
    kernel_h: 3,
    kernel_w: 3,
    stride_h: 1,
    stride_w: 1,
    padding_h: 0,
    padding_w: 0,
  )
}

/// One step at a time, with half a kernel of padding: for a kernel of odd size
/// the output is as large as the input.
///
/// ```gleam
/// t.conv2d_same(5, 3).padding_h
/// // -> 2
/// ```
pub fn conv2d_same(kernel_h: Int, kernel_w: Int) -> Conv2dConfig {
  Conv2dConfig(
    kernel_h:,
    kernel_w:,
    stride_h: 1,
    stride_w: 1,
    padding_h: kernel_h / 2,
    padding_w: kernel_w / 2,
  )
}

/// Slides a kernel, which is not turned around, over planes:
/// [H, W] * [KH, KW] → [OH, OW], [C, H, W] * [C, KH, KW] → [OH, OW],
/// [C, H, W] * [O, C, KH, KW] → [O, OH, OW] and
/// [N, C, H, W] * [O, C, KH, KW] → [N, O, OH, OW], with
/// OH = (H + 2 padding_h - KH) / stride_h + 1.
///
/// Errors: `DimensionError`, `ShapeMismatch` when the kernel is not of the
/// configuration's size, has other channels or is larger than the input,
/// `InvalidArgument` for a stride below 1 or a padding below 0.
///
/// ```gleam
/// let image = t.ones([4, 4])
/// let assert Ok(sums) = t.conv2d(image, t.ones([3, 3]), t.conv2d_config())
/// t.to_list(sums)
/// // -> [9.0, 9.0, 9.0, 9.0]
/// ```
pub fn conv2d(
  input: Tensor,
  kernel: Tensor,
  config: Conv2dConfig,
) -> Result(Tensor, TensorError) {
  convolution.Window(
    height: config.kernel_h,
    width: config.kernel_w,
    stride_height: config.stride_h,
    stride_width: config.stride_w,
    pad_height: config.padding_h,
    pad_width: config.padding_w,
  )
  |> convolution.conv2d(input, kernel, _)
  |> tensor_result
}

/// Zeros around a plane: [H, W] → [H + 2 pad_h, W + 2 pad_w].
///
/// Errors: `DimensionError` and `InvalidArgument`.
///
/// ```gleam
/// let assert Ok(padded) = t.pad2d(t.ones([1, 1]), 0, 1)
/// t.to_list(padded)
/// // -> [0.0, 1.0, 0.0]
/// ```
pub fn pad2d(t: Tensor, pad_h: Int, pad_w: Int) -> Result(Tensor, TensorError) {
  convolution.pad(t, 2, pad_h, pad_w)
  |> tensor_result
}

/// Zeros around each plane of [N, C, H, W]. Errors: those of `pad2d`.
///
/// ```gleam
/// let assert Ok(padded) = t.pad4d(t.ones([2, 3, 4, 4]), 1, 1)
/// t.shape(padded)
/// // -> [2, 3, 6, 6]
/// ```
pub fn pad4d(t: Tensor, pad_h: Int, pad_w: Int) -> Result(Tensor, TensorError) {
  convolution.pad(t, 4, pad_h, pad_w)
  |> tensor_result
}

/// The largest element of each window, of [H, W], [C, H, W] or [N, C, H, W].
///
/// Errors: `DimensionError`, `ShapeMismatch` when the window is larger than a
/// plane, and `InvalidArgument` for a size or stride below 1.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(pooled) = t.max_pool2d(m, 2, 2, 1, 1)
/// t.to_list(pooled)
/// // -> [4.0]
/// ```
pub fn max_pool2d(
  input: Tensor,
  pool_h: Int,
  pool_w: Int,
  stride_h: Int,
  stride_w: Int,
) -> Result(Tensor, TensorError) {
  convolution.Window(pool_h, pool_w, stride_h, stride_w, 0, 0)
  |> convolution.pool2d(kernel.Max, input, _)
  |> tensor_result
}

/// The mean of each window, of [H, W], [C, H, W] or [N, C, H, W].
///
/// Errors: `DimensionError`, `ShapeMismatch` when the window is larger than a
/// plane, and `InvalidArgument` for a size or stride below 1.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(pooled) = t.avg_pool2d(m, 2, 2, 1, 1)
/// t.to_list(pooled)
/// // -> [2.5]
/// ```
pub fn avg_pool2d(
  input: Tensor,
  pool_h: Int,
  pool_w: Int,
  stride_h: Int,
  stride_w: Int,
) -> Result(Tensor, TensorError) {
  convolution.Window(pool_h, pool_w, stride_h, stride_w, 0, 0)
  |> convolution.pool2d(kernel.Mean, input, _)
  |> tensor_result
}

/// The mean of each plane: [N, C, H, W] → [N, C, 1, 1], also without N and C.
///
/// Errors: `DimensionError`, and `InvalidArgument` for planes without elements.
///
/// ```gleam
/// let assert Ok(means) = t.global_avg_pool2d(t.ones([2, 3, 4, 4]))
/// t.shape(means)
/// // -> [2, 3, 1, 1]
/// ```
pub fn global_avg_pool2d(input: Tensor) -> Result(Tensor, TensorError) {
  convolution.global_average(input)
  |> tensor_result
}

// Networks.

/// exp(x) over its sum along an axis, for scores of any size. Errors:
/// `DimensionError`.
///
/// ```gleam
/// let assert Ok(weights) = t.softmax(t.vector([1.0, 1.0]), 0)
/// t.to_list(weights)
/// // -> [0.5, 0.5]
/// ```
pub fn softmax(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.within(kernel.Softmax, t, axis)
  |> tensor_result
}

/// The logarithm of `softmax`. Errors: `DimensionError`.
///
/// ```gleam
/// let assert Ok(logs) = t.log_softmax(t.vector([0.0]), 0)
/// t.to_list(logs)
/// // -> [0.0]
/// ```
pub fn log_softmax(t: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  reduction.within(kernel.LogSoftmax, t, axis)
  |> tensor_result
}

/// Along the last axis: mean 0 and variance 1, then times `weight`, plus `bias`,
/// both [D] (Ba, Kiros, Hinton 2016).
///
/// Errors: `ShapeMismatch`, `DimensionError`, and `InvalidArgument` for a
/// negative epsilon.
///
/// ```gleam
/// let v = t.vector([1.0, 3.0])
/// let assert Ok(normal) = t.layer_norm(v, t.ones([2]), t.zeros([2]), 0.0)
/// t.to_list(normal)
/// // -> [-1.0, 1.0]
/// ```
pub fn layer_norm(
  t: Tensor,
  weight: Tensor,
  bias: Tensor,
  epsilon: Float,
) -> Result(Tensor, TensorError) {
  network.layer_norm(t, weight, bias, epsilon)
  |> tensor_result
}

/// Along the last axis: over the root of the mean square, then times `weight`,
/// [D] (Zhang, Sennrich 2019). Errors: those of `layer_norm`.
///
/// ```gleam
/// let v = t.vector([2.0, -2.0])
/// let assert Ok(normal) = t.rms_norm(v, t.ones([2]), 0.0)
/// t.to_list(normal)
/// // -> [1.0, -1.0]
/// ```
pub fn rms_norm(
  t: Tensor,
  weight: Tensor,
  epsilon: Float,
) -> Result(Tensor, TensorError) {
  network.rms_norm(t, weight, epsilon)
  |> tensor_result
}

/// softmax(q kᵀ / √HD + mask) v (Vaswani et al. 2017):
/// [.., T, HD], [.., S, HD], [.., S, HV] → [.., T, HV]. The mask broadcasts to
/// [.., T, S].
///
/// Errors: those of `batch_matmul`, and `BroadcastError` of the mask.
///
/// ```gleam
/// let x = t.ones([2, 4])
/// let assert Ok(y) = t.scaled_dot_product_attention(x, x, x, t.NoMask)
/// t.shape(y)
/// // -> [2, 4]
/// ```
pub fn scaled_dot_product_attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: AttentionMask,
) -> Result(Tensor, TensorError) {
  let mask = case mask {
    NoMask -> Error(Nil)
    AddMask(mask) -> Ok(mask)
  }
  network.attention(query, key, value, mask)
  |> tensor_result
}

/// The rows of a table with these ids: [V, D] → [ids, D].
///
/// Errors: `DimensionError`, and `IndexOutOfBounds` for an id that the table
/// does not have.
///
/// ```gleam
/// let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
/// let assert Ok(rows) = t.embedding(m, [1, 1])
/// t.to_list(rows)
/// // -> [3.0, 4.0, 3.0, 4.0]
/// ```
pub fn embedding(table: Tensor, ids: List(Int)) -> Result(Tensor, TensorError) {
  network.embedding(table, ids)
  |> tensor_result
}

/// x Wᵀ + b: [.., I], [O, I], [O] → [.., O].
///
/// Errors: `DimensionError` and `ShapeMismatch`.
///
/// ```gleam
/// let x = t.vector([1.0, 2.0])
/// let assert Ok(y) = t.linear(x, t.ones([1, 2]), t.vector([0.5]))
/// t.to_list(y)
/// // -> [3.5]
/// ```
pub fn linear(
  input: Tensor,
  weight: Tensor,
  bias: Tensor,
) -> Result(Tensor, TensorError) {
  network.linear(input, weight, bias)
  |> tensor_result
}

// Packed weights.

/// Packs [in_features, out_features] as 8-bit floats (E4M3) with a
/// scale for each output. A weight on a GPU is packed to the same bits and stays
/// there (`to_device`), for inputs that are there.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit; on a GPU `DeviceOutOfMemory`
/// and `DeviceUnavailable`.
///
/// ```gleam
/// let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_fp8_weight(weight)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_fp8_weight(
  weight: Tensor,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Fp8, quant.InOut, quant.Magnitude)
  |> tensor_result
}

/// `prepack_fp8_weight` of [out_features, in_features].
///
/// Errors: those of `prepack_fp8_weight`.
///
/// ```gleam
/// let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_fp8_weight_transposed(weight)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_fp8_weight_transposed(
  weight: Tensor,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Fp8, quant.OutIn, quant.Magnitude)
  |> tensor_result
}

/// Packs [in_features, out_features] as 8-bit floats (E4M3) with a
/// scale for each `block` inputs of an output; `block` divides in_features.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit.
///
/// ```gleam
/// let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_fp8_weight_blocked(weight, 16)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_fp8_weight_blocked(
  weight: Tensor,
  block: Int,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Fp8Blocks(block), quant.InOut, quant.Magnitude)
  |> tensor_result
}

/// `prepack_fp8_weight_blocked` of [out_features, in_features].
///
/// Errors: those of `prepack_fp8_weight_blocked`.
///
/// ```gleam
/// let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_fp8_weight_blocked_transposed(weight, 16)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_fp8_weight_blocked_transposed(
  weight: Tensor,
  block: Int,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Fp8Blocks(block), quant.OutIn, quant.Magnitude)
  |> tensor_result
}

/// Packs [in_features, out_features] as 8-bit integers with a
/// scale for each output.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit.
///
/// ```gleam
/// let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_int8_weight(weight)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_int8_weight(
  weight: Tensor,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int8, quant.InOut, quant.Magnitude)
  |> tensor_result
}

/// `prepack_int8_weight` of [out_features, in_features].
///
/// Errors: those of `prepack_int8_weight`.
///
/// ```gleam
/// let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_int8_weight_transposed(weight)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_int8_weight_transposed(
  weight: Tensor,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int8, quant.OutIn, quant.Magnitude)
  |> tensor_result
}

/// Packs [in_features, out_features] as 4-bit integers with a
/// scale for each `group` inputs of an output: 32, 64 or 128, and it divides
/// in_features.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit.
///
/// ```gleam
/// let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_int4_weight(weight, 32)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_int4_weight(
  weight: Tensor,
  group: Int,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int4(group), quant.InOut, quant.Magnitude)
  |> tensor_result
}

/// `prepack_int4_weight` of [out_features, in_features].
///
/// Errors: those of `prepack_int4_weight`.
///
/// ```gleam
/// let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
/// let assert Ok(packed) = t.prepack_int4_weight_transposed(weight, 32)
/// t.packed_info(packed).in_features
/// // -> 32
/// ```
pub fn prepack_int4_weight_transposed(
  weight: Tensor,
  group: Int,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int4(group), quant.OutIn, quant.Magnitude)
  |> tensor_result
}

/// Packs two of each four consecutive inputs as 8-bit integers, with a scale for
/// each output; in_features is a multiple of 8.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit, or
/// for what does not fit and is to be exact.
///
/// ```gleam
/// let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
/// let assert Ok(packed) = t.prepack_int8_sparse_24_weight(weight, t.Magnitude)
/// t.packed_info(packed).pruned
/// // -> 2
/// ```
pub fn prepack_int8_sparse_24_weight(
  weight: Tensor,
  pruning: Pruning,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int8Sparse24, quant.InOut, quant_pruning(pruning))
  |> tensor_result
}

/// `prepack_int8_sparse_24_weight` of [out_features, in_features].
///
/// Errors: those of `prepack_int8_sparse_24_weight`.
///
/// ```gleam
/// let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
/// let assert Ok(packed) = t.prepack_int8_sparse_24_weight_transposed(weight, t.Magnitude)
/// t.packed_info(packed).pruned
/// // -> 2
/// ```
pub fn prepack_int8_sparse_24_weight_transposed(
  weight: Tensor,
  pruning: Pruning,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int8Sparse24, quant.OutIn, quant_pruning(pruning))
  |> tensor_result
}

/// Packs two of each four consecutive inputs as 4-bit integers, with a scale for
/// each output; in_features is a multiple of 8.
///
/// Errors: `DimensionError` for other than two axes, `NonFinite`, and
/// `InvalidArgument` for a shape that does not fit, or
/// for what does not fit and is to be exact.
///
/// ```gleam
/// let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
/// let assert Ok(packed) = t.prepack_int4_sparse_24_weight(weight, t.Magnitude)
/// t.packed_info(packed).pruned
/// // -> 2
/// ```
pub fn prepack_int4_sparse_24_weight(
  weight: Tensor,
  pruning: Pruning,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int4Sparse24, quant.InOut, quant_pruning(pruning))
  |> tensor_result
}

/// `prepack_int4_sparse_24_weight` of [out_features, in_features].
///
/// Errors: those of `prepack_int4_sparse_24_weight`.
///
/// ```gleam
/// let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
/// let assert Ok(packed) = t.prepack_int4_sparse_24_weight_transposed(weight, t.Magnitude)
/// t.packed_info(packed).pruned
/// // -> 2
/// ```
pub fn prepack_int4_sparse_24_weight_transposed(
  weight: Tensor,
  pruning: Pruning,
) -> Result(PackedWeight, TensorError) {
  quant.pack(weight, quant.Int4Sparse24, quant.OutIn, quant_pruning(pruning))
  |> tensor_result
}

/// x W + b with a weight in FP8 and inputs as they are: [batch, in_features] to
/// [batch, out_features], in float32. On a GPU, where weight, input and bias are
/// together, the product is queued and stays there; of more than eight rows it
/// takes 11 bits of each input.
///
/// Errors: `ShapeMismatch`, `DimensionError`, `NonFinite`, and `InvalidArgument`
/// for a weight that was packed otherwise; `DeviceMismatch` for an input or a
/// bias that is not where the weight is, and what a GPU says.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_fp8_weight_blocked(t.ones([32, 2]), 16)
/// let assert Ok(product) = t.linear_fp8_w8a16(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [32.0, 32.0]
/// ```
pub fn linear_fp8_w8a16(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(
    input,
    packed,
    "fp8",
    quant.Float,
    bias,
    "linear_fp8_w8a16",
  )
}

/// x W + b with weight and inputs in FP8: each row of the input is rounded to E4M3
/// with a scale of its own.
///
/// Errors: those of `linear_fp8_w8a16`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
/// let assert Ok(product) = t.linear_fp8(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [32.0, 32.0]
/// ```
pub fn linear_fp8(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(input, packed, "fp8", quant.RoundedFp8, bias, "linear_fp8")
}

/// x W + b with weight and inputs in 8-bit integers: each row of the input is
/// rounded with a scale of its own.
///
/// Errors: those of `linear_fp8_w8a16`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_int8_weight(t.ones([32, 2]))
/// let assert Ok(product) = t.linear_int8(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [32.0, 32.0]
/// ```
pub fn linear_int8(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(
    input,
    packed,
    "int8",
    quant.RoundedInt8,
    bias,
    "linear_int8",
  )
}

/// x W + b with a weight in 4-bit integers and inputs as they are.
///
/// Errors: those of `linear_fp8_w8a16`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_int4_weight(t.ones([32, 2]), 32)
/// let assert Ok(product) = t.linear_int4(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [32.0, 32.0]
/// ```
pub fn linear_int4(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(input, packed, "int4", quant.Float, bias, "linear_int4")
}

/// x W + b with two of four weights in 8-bit integers and inputs in 8-bit ones:
/// each row of the input is rounded with a scale of its own.
///
/// Errors: those of `linear_int8`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_int8_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
/// let assert Ok(product) = t.linear_int8_sparse(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [16.0, 16.0]
/// ```
pub fn linear_int8_sparse(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(
    input,
    packed,
    "int8, two of four",
    quant.RoundedInt8,
    bias,
    "linear_int8_sparse",
  )
}

/// x W + b with two of four weights in 4-bit integers and inputs in 8-bit ones:
/// each row of the input is rounded with a scale of its own.
///
/// Errors: those of `linear_int8`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_int4_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
/// let assert Ok(product) = t.linear_int4_sparse(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(product)
/// // -> [16.0, 16.0]
/// ```
pub fn linear_int4_sparse(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  quant_linear(
    input,
    packed,
    "int4, two of four",
    quant.RoundedInt8,
    bias,
    "linear_int4_sparse",
  )
}

/// gelu(x W + b) with weight and inputs in FP8, gelu being the exact one.
///
/// Errors: those of `linear_fp8`.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
/// let assert Ok(y) = t.linear_gelu_fp8(t.ones([1, 32]), packed, t.NoBias)
/// t.to_list(y)
/// // -> [32.0, 32.0]
/// ```
pub fn linear_gelu_fp8(
  input: Tensor,
  packed: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  otp.map_ok(linear_fp8(input, packed, bias), gelu)
}

/// silu(x G) (x U) + b, the gated product of SwiGLU (Shazeer 2020), with weights
/// and inputs in FP8: two packed weights of one shape.
///
/// Errors: those of `linear_fp8`, and `ShapeMismatch` when the two differ.
///
/// ```gleam
/// let assert Ok(up) = t.prepack_fp8_weight(t.ones([32, 2]))
/// let assert Ok(gate) = t.prepack_fp8_weight(t.zeros([32, 2]))
/// let assert Ok(y) = t.linear_swiglu_fp8(t.ones([1, 32]), gate, up, t.NoBias)
/// t.to_list(y)
/// // -> [0.0, 0.0]
/// ```
pub fn linear_swiglu_fp8(
  input: Tensor,
  gate: PackedWeight,
  up: PackedWeight,
  bias: Bias,
) -> Result(Tensor, TensorError) {
  use gate <- otp.try(linear_fp8(input, gate, NoBias))
  use up <- otp.try(linear_fp8(input, up, NoBias))
  use product <- otp.try(mul(silu(gate), up))
  case bias {
    NoBias -> Ok(product)
    Bias(bias) ->
      case shape(product), shape(bias) {
        [_, outputs], [found] if outputs == found ->
          elementwise.binary_broadcast(kernel.Add, product, bias)
          |> tensor_result
        expected, got -> Error(ShapeMismatch(expected:, got:))
      }
  }
}

/// What a packed weight is, and what packing lost.
///
/// ```gleam
/// let assert Ok(packed) = t.prepack_int4_weight(t.ones([64, 2]), 32)
/// t.packed_info(packed).scales
/// // -> "a scale for each 32 inputs of an output"
/// ```
pub fn packed_info(packed: PackedWeight) -> PackedInfo {
  let of_inputs = fn(count) {
    "a scale for each " <> otp.int_to_string(count) <> " inputs of an output"
  }
  let scales = case quant.format(packed) {
    quant.Fp8Blocks(columns:) -> of_inputs(columns)
    quant.Int4(group:) -> of_inputs(group)
    _ -> "a scale for each output"
  }
  PackedInfo(
    format: quant_name(packed),
    scales:,
    in_features: quant.inputs(packed),
    out_features: quant.outputs(packed),
    device: case quant.device(packed) {
      Ok(index) -> Cuda(index)
      Error(Nil) -> Auto
    },
    products: quant.products(packed),
    bytes: quant.bytes(packed),
    relative_error: quant.relative_error(packed),
    largest_error: quant.largest_error(packed),
    pruned: quant.pruned(packed),
  )
}

/// What a packed weight means: float32, [in_features, out_features], where the
/// weight is.
///
/// Errors: `InvalidArgument` when memory is short, on a GPU `DeviceOutOfMemory`.
///
/// ```gleam
/// let assert Ok(weight) = t.matrix(2, 1, [127.0, 1.4])
/// let assert Ok(packed) = t.prepack_int8_weight(weight)
/// let assert Ok(unpacked) = t.unpack(packed)
/// t.to_list(unpacked)
/// // -> [127.0, 1.0]
/// ```
pub fn unpack(packed: PackedWeight) -> Result(Tensor, TensorError) {
  quant.unpack(packed) |> tensor_result
}

fn quant_pruning(pruning: Pruning) -> quant.Pruning {
  case pruning {
    Magnitude -> quant.Magnitude
    Exact -> quant.Exact
  }
}

fn quant_name(packed: PackedWeight) -> String {
  case quant.format(packed) {
    quant.Fp8 | quant.Fp8Blocks(_) -> "fp8"
    quant.Int8 -> "int8"
    quant.Int4(_) -> "int4"
    quant.Int8Sparse24 -> "int8, two of four"
    quant.Int4Sparse24 -> "int4, two of four"
  }
}

fn quant_linear(
  input: Tensor,
  packed: PackedWeight,
  format: String,
  activations: quant.Activations,
  bias: Bias,
  op: String,
) -> Result(Tensor, TensorError) {
  let bias = case bias {
    NoBias -> Error(Nil)
    Bias(bias) -> Ok(bias)
  }
  case quant_name(packed) {
    found if found == format ->
      quant.linear(input, packed, activations, bias) |> tensor_result
    found -> Error(InvalidArgument(op, "a weight packed as " <> format, found))
  }
}

// Into and out of tensors.

/// The elements in row-major order; 0.0 for a NaN, ±1.7976931348623157e308 for an
/// infinity.
///
/// ```gleam
/// t.to_list(t.ones([2, 1]))
/// // -> [1.0, 1.0]
/// ```
pub fn to_list(t: Tensor) -> List(Float) {
  tensor.to_floats(t)
}

/// As `to_list`. Errors: `NonFinite` with the index of the first.
///
/// ```gleam
/// t.try_to_list(t.log(t.vector([1.0, 0.0])))
/// // -> Error(t.NonFinite("to_list", 1))
/// ```
pub fn try_to_list(t: Tensor) -> Result(List(Float), TensorError) {
  tensor.try_to_floats(t, "to_list") |> tensor_result
}

/// How the elements are stored.
///
/// ```gleam
/// t.dtype(t.zeros([1]))
/// // -> t.Float64
/// ```
pub fn dtype(t: Tensor) -> Dtype {
  public_dtype(tensor.dtype(t))
}

/// Stored otherwise, rounded to nearest even; what a type cannot hold becomes an
/// infinity.
///
/// ```gleam
/// t.to_list(t.cast(t.vector([0.1]), t.Float16))
/// // -> [0.0999755859375]
/// ```
pub fn cast(t: Tensor, dtype: Dtype) -> Tensor {
  tensor.cast(t, to: kernel_dtype(dtype))
}

/// The elements in row-major order, little-endian, brought to the host where
/// they are on a GPU.
///
/// ```gleam
/// t.to_binary(t.cast(t.vector([1.0]), t.Float32))
/// // -> <<1.0:float-size(32)-little>>
/// ```
pub fn to_binary(t: Tensor) -> BitArray {
  tensor.bytes(t)
}

/// A tensor over little-endian elements in row-major order, which are not
/// copied. Errors: `InvalidArgument` for another number of bytes, `InvalidShape`.
///
/// ```gleam
/// let bytes = <<1.0:float-size(32)-little>>
/// let assert Ok(v) = t.from_binary(bytes, [1], t.Float32)
/// t.to_list(v)
/// // -> [1.0]
/// ```
pub fn from_binary(
  data: BitArray,
  shape: List(Int),
  dtype: Dtype,
) -> Result(Tensor, TensorError) {
  tensor.from_binary(data, shape, kernel_dtype(dtype))
  |> tensor_result
}

/// Writes a safetensors file: all of it, or nothing.
///
/// Errors: `TensorFile`, and `InvalidArgument` for a name that is there twice.
///
/// ```gleam
/// let assert Ok(Nil) = t.save_safetensors(path, [#("v", t.vector([1.0]))])
/// t.load_safetensors(path)
/// // -> Ok([#("v", t.vector([1.0]))])
/// ```
pub fn save_safetensors(
  path: String,
  tensors: List(#(String, Tensor)),
) -> Result(Nil, TensorError) {
  safetensors.save(path, tensors) |> tensor_result
}

/// Reads the tensors of a safetensors file, in its order, of the types F64, F32,
/// F16 and BF16. They are views of the file's bytes, which stay in memory as long
/// as one of them does.
///
/// Errors: `TensorFile` and `MalformedTensorFile`.
///
/// ```gleam
/// let assert Ok(Nil) = t.save_safetensors(path, [])
/// t.load_safetensors(path)
/// // -> Ok([])
/// ```
pub fn load_safetensors(
  path: String,
) -> Result(List(#(String, Tensor)), TensorError) {
  safetensors.load(path) |> tensor_result
}

/// As NumPy prints it, with shape and type below. Of more than 1000 elements the
/// middle is left out.
///
/// ```gleam
/// t.to_string(t.ones([2, 2]))
/// // -> "[[1. 1.]\n [1. 1.]]\nshape [2, 2], float64"
/// ```
pub fn to_string(t: Tensor) -> String {
  display.to_string(t)
}

// Where tensors are computed.

/// Whether this machine can compute with something.
pub type Availability {
  Available
  Missing
}

/// Something to compute with, and a note: what it is, or why it is missing.
pub type DeviceInfo {
  DeviceInfo(name: String, availability: Availability, note: String)
}

/// What this machine offers: "beam", which is always there, "cpu", the native
/// library, and "cuda". Tensors use the native library by themselves when they are
/// large; the environment variable VIVA_TENSOR_DEVICE=beam keeps them from it.
///
/// ```gleam
/// let assert [beam, ..] = t.devices()
/// beam.availability
/// // -> t.Available
/// ```
pub fn devices() -> List(DeviceInfo) {
  use found <- otp.map(machine.devices())
  DeviceInfo(
    name: found.name,
    availability: case found.available {
      True -> Available
      False -> Missing
    },
    note: found.note,
  )
}

/// The tensor where a device computes on it. `Auto`, `Cpu` and `Beam` compute in
/// the host's memory, `Cuda` in a GPU's own, to which the elements are copied.
///
/// What is computed of tensors on a GPU stays there: every function works on
/// them, and operands have to be in one place (`DeviceMismatch` says that they are
/// not). Functions that return floats, lists, text or bytes bring those to the
/// host; `map` brings the elements there and back; `prepack_…` packs on the
/// host and leaves the packed weight beside the weight. Results are those of the
/// host but for the order of sums and the last bits of exp, log, tanh and erf,
/// and what each `linear_…` says. Work is queued there: a process waits only
/// where it looks at numbers, as functions do that refuse what is not finite.
///
/// Errors: `DeviceUnavailable` with the reason why there is no such device, and
/// `DeviceOutOfMemory`. A function that returns no `Result` cannot say them: its
/// tensor counts as zeros, and the next function that returns one says it.
///
/// ```gleam
/// t.to_device(t.vector([1.0]), t.Cpu)
/// // -> Ok(t.vector([1.0]))
/// ```
pub fn to_device(t: Tensor, device: Device) -> Result(Tensor, TensorError) {
  case device {
    Auto | Cpu | Beam -> to_host(t)
    Cuda(index) ->
      case machine.no_gpu() {
        Ok(reason) ->
          Error(DeviceUnavailable(storage.device_name(index), reason))
        Error(Nil) -> tensor.to_device(t, index) |> tensor_result
      }
  }
}

/// The tensor in the host's memory: itself, where it is there.
///
/// Errors: `DeviceUnavailable` where a device failed before, `DeviceOutOfMemory`.
///
/// ```gleam
/// t.to_host(t.vector([1.0]))
/// // -> Ok(t.vector([1.0]))
/// ```
pub fn to_host(t: Tensor) -> Result(Tensor, TensorError) {
  tensor.to_host(t) |> tensor_result
}

/// Where the elements are: `Cuda`, or `Auto` for the host's memory, where the
/// fastest there is computes. So `to_device(a, device_of(b))` brings `a` to `b`.
///
/// ```gleam
/// t.device_of(t.vector([1.0]))
/// // -> t.Auto
/// ```
pub fn device_of(t: Tensor) -> Device {
  case tensor.data(t) {
    storage.Device(block) -> Cuda(block.device)
    _ -> Auto
  }
}

/// A tensor error in words: what was expected and what was found.
///
/// ```gleam
/// t.describe_tensor_error(t.EmptyTensor("mean"))
/// // -> "mean: the tensor is empty"
/// ```
pub fn describe_tensor_error(error: TensorError) -> String {
  case error {
    ShapeMismatch(expected:, got:) ->
      "expected the shape "
      <> shapes.to_string(expected)
      <> ", found "
      <> shapes.to_string(got)
    InvalidShape(reason:) -> reason
    DimensionError(reason:) -> reason
    BroadcastError(a:, b:) ->
      "the shapes "
      <> shapes.to_string(a)
      <> " and "
      <> shapes.to_string(b)
      <> " do not broadcast: expected lengths that are alike or 1"
    IndexOutOfBounds(index:, size:) ->
      "expected an index below "
      <> otp.int_to_string(size)
      <> ", found "
      <> otp.int_to_string(index)
    EmptyTensor(op:) -> op <> ": the tensor is empty"
    NonFinite(op:, index:) ->
      op
      <> ": expected finite elements, found a NaN or an infinity at index "
      <> otp.int_to_string(index)
    Overflow(op:) -> op <> ": the result is beyond the range of a float"
    InvalidArgument(argument:, expected:, found:) ->
      argument <> ": expected " <> expected <> ", found " <> found
    TensorFile(path:, reason:) -> path <> ": " <> reason
    DeviceUnavailable(device:, reason:) -> device <> ": " <> reason
    DeviceOutOfMemory(device:, wanted_bytes:, free_bytes:) ->
      device
      <> ": "
      <> otp.int_to_string(wanted_bytes)
      <> " bytes wanted, "
      <> otp.int_to_string(free_bytes)
      <> " free"
    DeviceMismatch(a:, b:) ->
      "expected tensors in one place, found "
      <> a
      <> " and "
      <> b
      <> ": to_device or to_host brings them together"
    MalformedTensorFile(path:, expected:, found:) ->
      path <> ": expected " <> expected <> ", found " <> found
  }
}

// The tensors' border.

fn tensor_result(
  result: Result(a, tensor_error.TensorError),
) -> Result(a, TensorError) {
  otp.map_error(result, public_tensor_error)
}

fn public_tensor_error(error: tensor_error.TensorError) -> TensorError {
  case error {
    tensor_error.ShapeMismatch(expected:, got:) ->
      ShapeMismatch(expected:, got:)
    tensor_error.InvalidShape(reason:) -> InvalidShape(reason:)
    tensor_error.DimensionError(reason:) -> DimensionError(reason:)
    tensor_error.BroadcastError(a:, b:) -> BroadcastError(a:, b:)
    tensor_error.IndexOutOfBounds(index:, size:) ->
      IndexOutOfBounds(index:, size:)
    tensor_error.EmptyTensor(op:) -> EmptyTensor(op:)
    tensor_error.NonFinite(op:, index:) -> NonFinite(op:, index:)
    tensor_error.Overflow(op:) -> Overflow(op:)
    tensor_error.InvalidArgument(argument:, expected:, found:) ->
      InvalidArgument(argument:, expected:, found:)
    tensor_error.TensorFile(path:, reason:) -> TensorFile(path:, reason:)
    tensor_error.DeviceUnavailable(device:, reason:) ->
      DeviceUnavailable(device:, reason:)
    tensor_error.DeviceOutOfMemory(device:, wanted_bytes:, free_bytes:) ->
      DeviceOutOfMemory(device:, wanted_bytes:, free_bytes:)
    tensor_error.DeviceMismatch(a:, b:) -> DeviceMismatch(a:, b:)
    tensor_error.MalformedTensorFile(path:, expected:, found:) ->
      MalformedTensorFile(path:, expected:, found:)
  }
}

fn kernel_dtype(dtype: Dtype) -> kernel.Dtype {
  case dtype {
    Float64 -> kernel.Float64
    Float32 -> kernel.Float32
    Float16 -> kernel.Float16
    BFloat16 -> kernel.BFloat16
  }
}

fn public_dtype(dtype: kernel.Dtype) -> Dtype {
  case dtype {
    kernel.Float64 -> Float64
    kernel.Float32 -> Float32
    kernel.Float16 -> Float16
    kernel.BFloat16 -> BFloat16
  }
}
