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
//// 20 ms: a process that is killed stops its work, and other processes go on.
//// A model can be used by any number of processes at once.

import viva_tensor/error
import viva_tensor/generation
import viva_tensor/native
import viva_tensor/otp

// Models.

/// A loaded model. Its memory is freed when nothing refers to it any more.
pub opaque type Model {
  Model(native: native.Model)
}

/// Where a model computes.
pub type Device {
  /// The fastest there is on this machine.
  Auto
  /// The CPU, through the native library.
  Cpu
  /// The BEAM itself, without the native library.
  Beam
}

/// How weights are held in memory.
pub type Weights {
  /// In the format of the checkpoint.
  Keep
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
/// that the native library has to be built.
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
/// and `LoadCancelled` when the progress function returned `Stop`.
///
/// ```gleam
/// let options = t.load_opts() |> t.device(t.Cpu) |> t.context(4096)
/// let assert Ok(model) = t.load_model_with("path/to/model", options)
/// ```
pub fn load_model_with(
  path: String,
  options: LoadOpts,
) -> Result(Model, Error) {
  use device <- otp.try(native_device(options.device))
  // The one format so far, and what the library does by itself.
  let Keep = options.weights
  let on_progress = fn(done_bytes, total_bytes) {
    native_next(options.on_progress(LoadProgress(done_bytes:, total_bytes:)))
  }
  native.LoadOptions(
    device:,
    context: options.context,
    threads: options.threads,
  )
  |> generation.load(path, _, on_progress)
  |> otp.map_ok(Model)
  |> otp.map_error(public_error)
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
/// t.load_opts() |> t.weights(t.Keep)
/// ```
pub fn weights(options: LoadOpts, weights: Weights) -> LoadOpts {
  LoadOpts(..options, weights:)
}

/// Calls a function as the load goes on, some fifty times a second at most;
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
    /// "cpu"
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
  use info <- otp.map_ok(native.model_info(model.native) |> public_result)
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
    /// Draw from the k most probable tokens.
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
/// text itself is left out.
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
/// Errors: `EmptyPrompt`, `InvalidOption` for a value out of range,
/// `ContextOverflow` and `OutOfMemory`.
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
/// Errors: those of `generate`, `NotFound` when the checkpoint has no chat
/// template, and `Template` when its template refuses these messages.
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
  native.render(model.native, native_messages(messages), prompt)
  |> public_result
}

// Sessions.

/// A conversation, and a model's memory of it. It is a value: asking returns a
/// new one, and the old one can still be asked something else. They share the
/// memory, so one process at a time can use it.
pub opaque type Session {
  Session(native: native.Session, messages: List(Message))
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
  use session <- otp.map_ok(native.open(model.native) |> public_result)
  Session(native: session, messages:)
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
  native.close(session.native) |> public_result
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
  native.tokenize(model.native, text, special == WithSpecialTokens)
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
  native.detokenize(model.native, ids, special == WithoutSpecialTokens)
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
  /// Prompt and answer do not fit into the context.
  ContextOverflow(wanted_tokens: Int, limit_tokens: Int)
  /// Memory is short.
  OutOfMemory(wanted_bytes: Int, free_bytes: Int)
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
    Template(reason:) -> "chat template: " <> reason
    Busy -> "the session is in use by another process"
    LoadCancelled -> "loading was cancelled"
    Internal(reason:) -> "internal error: " <> reason
    NifNotLoaded(reason:) ->
      "the native library is not loaded; run `make build` in the viva_tensor"
      <> " folder (reason: "
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
  generation.run_once(model.native, prompt, request.native, on_piece)
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
  generation.run(session.native, prompt, request.native, on_piece)
  |> otp.map_ok(public_generation)
  |> public_result
}

fn native_device(device: Device) -> Result(native.Device, Error) {
  case device {
    Auto -> Ok(native.Auto)
    Cpu -> Ok(native.Cpu)
    Beam ->
      Error(Unsupported(
        at: "device",
        expected: "auto or cpu",
        found: "beam (inference in pure Gleam, which this version does not have)",
      ))
  }
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
    error.Template(reason:) -> Template(reason:)
    error.Busy -> Busy
    error.Cancelled -> LoadCancelled
    error.Internal(reason:) -> Internal(reason:)
    error.NifNotLoaded(reason:) -> NifNotLoaded(reason:)
  }
}
