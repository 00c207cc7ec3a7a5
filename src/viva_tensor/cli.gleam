//// The command line, for people who look before they write.
////
//// ```sh
//// gleam run -m viva_tensor/cli -- generate MODEL "Once upon a time"
//// ```
////
//// Results go to standard output, as text or with `--json` as one object on
//// one line; errors go to standard error. The exit status is 0, 1 for an
//// error, or 2 for wrong usage. The surprise: text is UTF-8 under any locale.

import viva_tensor.{type Error, type Generation, type Model, type Request} as t
import viva_tensor/cli/argument.{type Flags, Json, Plain}
import viva_tensor/cli/measure
import viva_tensor/cli/ticker.{type Lateness}
import viva_tensor/json
import viva_tensor/otp

/// Runs the command that the arguments say.
pub fn main() -> Nil {
  otp.set_up_terminal()
  // To return would be slower by a second: the VM would stop piece by piece.
  otp.halt(case otp.arguments() {
    Ok(words) -> run(words)
    Error(place) -> {
      let place = otp.int_to_string(place)
      otp.write_error("error: argument " <> place <> " is not UTF-8 text\n")
      2
    }
  })
}

/// Runs a command and returns the exit status.
pub fn run(words: List(String)) -> Int {
  case argument.parse(words) {
    argument.Help(text) -> {
      otp.write(text)
      0
    }
    argument.Wrong(reason) -> {
      otp.write_error("error: " <> reason <> "\n")
      2
    }
    argument.Run(command:, arguments:, flags:) ->
      case run_command(command, arguments, flags) {
        Ok(Nil) -> 0
        Error(error) -> {
          otp.write_error("error: " <> t.describe_error(error) <> "\n")
          1
        }
      }
  }
}

fn run_command(
  command: argument.Command,
  arguments: List(String),
  flags: Flags,
) -> Result(Nil, Error) {
  case command, arguments {
    argument.Generate, [path, prompt, ..] -> generate(path, prompt, flags)
    argument.Chat, [path, ..] -> chat(path, flags)
    argument.Info, [path, ..] -> info(path, flags)
    argument.Tokenize, [path, text, ..] -> tokenize(path, text, flags)
    argument.Render, [path, messages, ..] -> render(path, messages, flags)
    argument.Bench, [path, ..] -> bench(path, flags)
    argument.Demo, [path] -> demo(path, default_question, flags)
    argument.Demo, [path, question, ..] -> demo(path, question, flags)
    // The parser has counted the arguments.
    _, _ -> Error(t.Internal("a command without its arguments"))
  }
}

// The commands.

fn generate(path: String, prompt: String, flags: Flags) -> Result(Nil, Error) {
  use model <- otp.try(load(path, flags))
  use result <- otp.map_ok(t.stream(model, prompt, request(flags), piece(flags)))
  case flags.format {
    Plain -> print("\n")
    Json -> print_json(generation_fields(path, result))
  }
}

fn info(path: String, flags: Flags) -> Result(Nil, Error) {
  use model <- otp.try(load(path, flags))
  use info <- otp.map_ok(t.model_info(model))
  let fields = info_fields(path, info)
  case flags.format {
    Json -> print_json(fields)
    Plain -> {
      use #(name, value) <- each(fields)
      let value = case value {
        json.Text(text) -> text
        value -> json.encode(value)
      }
      print(otp.pad(name, to: 20) <> value <> "\n")
    }
  }
}

fn tokenize(path: String, text: String, flags: Flags) -> Result(Nil, Error) {
  use model <- otp.try(load(path, flags))
  use ids <- otp.map_ok(t.tokenize(model, text, t.WithSpecialTokens))
  case flags.format {
    Plain -> print(json.encode(integers(ids)) <> "\n")
    Json -> print_json([#("token_ids", integers(ids))])
  }
}

fn render(path: String, messages: String, flags: Flags) -> Result(Nil, Error) {
  use messages <- otp.try(read_messages(messages))
  use model <- otp.try(load(path, flags))
  use text <- otp.map_ok(t.render(model, messages, flags.generation_prompt))
  case flags.format {
    Plain -> print(text <> "\n")
    Json -> print_json([#("text", json.Text(text))])
  }
}

fn chat(path: String, flags: Flags) -> Result(Nil, Error) {
  use model <- otp.try(load(path, flags))
  let messages = case flags.system {
    Ok(content) -> [t.system(content)]
    Error(Nil) -> []
  }
  use session <- otp.try(t.open_session(model, messages))
  chat_loop(path, session, flags)
}

fn chat_loop(
  path: String,
  session: t.Session,
  flags: Flags,
) -> Result(Nil, Error) {
  // To standard error, so that standard output has the answers alone.
  case flags.format {
    Plain -> otp.write_error("> ")
    Json -> True
  }
  case otp.read_line("") {
    Error(Nil) | Ok("/bye") -> t.close_session(session)
    Ok("") -> chat_loop(path, session, flags)
    Ok(line) -> {
      use #(session, answer) <- otp.try(t.ask_stream(
        session,
        line,
        request(flags),
        piece(flags),
      ))
      case flags.format {
        Plain -> print("\n\n")
        Json -> print_json(generation_fields(path, answer))
      }
      chat_loop(path, session, flags)
    }
  }
}

fn bench(path: String, flags: Flags) -> Result(Nil, Error) {
  use model <- otp.try(load(path, flags))
  use info <- otp.try(t.model_info(model))
  use measure.Bench(speed:, idle:, busy:) <- otp.map_ok(measure.bench(
    model,
    info,
    flags.bench_prompt,
    flags.bench_tokens,
    load_opts(flags),
  ))
  case flags.format {
    Json ->
      speed_fields(path, info, flags, speed)
      |> otp.append(lateness_fields(idle, busy))
      |> print_json
    Plain -> {
      print(measure.describe(speed))
      print(measure.describe_lateness(idle, busy))
    }
  }
}

const default_question =
  "What is the capital of France, and what is it known for?"

fn demo(path: String, question: String, flags: Flags) -> Result(Nil, Error) {
  let start = otp.monotonic_seconds()
  // A file or a pipe cannot take back what is drawn.
  let #(draw, clear) = case otp.error_is_terminal() {
    True -> #(draw_bar(start, _), "\r\u{1b}[K")
    False -> #(fn(_) { t.Continue }, "")
  }
  let options = t.on_progress(load_opts(flags), draw)
  use model <- otp.try(t.load_model_with(path, options))
  use info <- otp.try(t.model_info(model))
  let seconds = otp.monotonic_seconds() -. start
  otp.write_error(clear <> measure.describe_model(info, seconds) <> "\n")
  print("\n> " <> question <> "\n\n")
  let messages = [t.user(question)]
  use answer <- otp.try(t.chat_stream(model, messages, request(flags), put))
  print("\n\n")
  use speed <- otp.map_ok(measure.of(answer.timings, info, options))
  print(measure.describe(speed))
}

// Loading.

fn load(path: String, flags: Flags) -> Result(Model, Error) {
  t.load_model_with(path, load_opts(flags))
}

fn load_opts(flags: Flags) -> t.LoadOpts {
  let options =
    t.load_opts() |> t.device(flags.device) |> t.weights(flags.weights)
  let options = case flags.threads {
    Ok(threads) -> t.threads(options, threads)
    Error(Nil) -> options
  }
  case flags.context {
    Ok(tokens) -> t.context(options, tokens)
    Error(Nil) -> options
  }
}

fn draw_bar(start: Float, progress: t.LoadProgress) -> t.Next {
  let seconds = otp.monotonic_seconds() -. start
  otp.write_error("\r\u{1b}[K" <> measure.bar(progress, seconds))
  t.Continue
}

// Generating.

fn request(flags: Flags) -> Request {
  let request =
    t.request(flags.generate)
    |> t.stop_at(flags.stop)
    |> t.min_p(flags.min_p)
    |> t.repetition_penalty(flags.repetition_penalty)
  case flags.logprobs {
    Ok(top) -> t.logprobs(request, top)
    Error(Nil) -> request
  }
}

/// What happens to a piece of text: it is shown as it comes, unless an object
/// is to be printed in the end.
fn piece(flags: Flags) -> fn(String) -> t.Next {
  case flags.format {
    Plain -> put
    Json -> fn(_) { t.Continue }
  }
}

/// Nobody reads any more: nothing more to do.
fn put(text: String) -> t.Next {
  case otp.write(text) {
    True -> t.Continue
    False -> t.Stop
  }
}

// Messages.

fn read_messages(text: String) -> Result(List(t.Message), Error) {
  use text <- otp.try(case text {
    "@" <> path -> otp.map_error(otp.read_file(path), t.Unreadable(path, _))
    _ -> Ok(text)
  })
  case json.decode(text) {
    Ok(json.Array(messages)) -> otp.try_map(messages, read_message)
    Ok(_) -> Error(no_messages("another JSON value"))
    Error(reason) -> Error(no_messages("no JSON: " <> reason))
  }
}

fn read_message(message: json.Json) -> Result(t.Message, Error) {
  case message {
    json.Object(fields) ->
      case otp.find(fields, "role"), otp.find(fields, "content") {
        Ok(json.Text(role)), Ok(json.Text(content)) ->
          Ok(t.Message(t.OtherRole(role), content))
        _, _ -> Error(no_messages(json.encode(message)))
      }
    _ -> Error(no_messages(json.encode(message)))
  }
}

fn no_messages(found: String) -> Error {
  t.InvalidOption(
    option: "MESSAGES_JSON",
    expected: "an array of objects with \"role\" and \"content\" strings",
    found:,
  )
}

// Printing.

fn print(text: String) -> Nil {
  otp.write(text)
  Nil
}

fn print_json(fields: List(#(String, json.Json))) -> Nil {
  print(json.encode(json.Object(fields)) <> "\n")
}

fn each(list: List(a), with function: fn(a) -> Nil) -> Nil {
  otp.fold(list, from: Nil, with: fn(_, value) { function(value) })
}

fn integers(list: List(Int)) -> json.Json {
  json.Array(otp.map(list, json.Integer))
}

fn generation_fields(
  path: String,
  result: Generation,
) -> List(#(String, json.Json)) {
  let #(reason, stop) = case result.finish_reason {
    t.Eos -> #("eos", json.Null)
    t.StopText(text) -> #("stop", json.Text(text))
    t.Length -> #("length", json.Null)
    t.Cancelled -> #("cancelled", json.Null)
  }
  let prefill = t.prefill_tokens_per_second(result.timings)
  let decode = t.decode_tokens_per_second(result.timings)
  let fields = [
    #("model", json.Text(path)),
    #("prompt_token_ids", integers(result.prompt_token_ids)),
    #("cached_tokens", json.Integer(result.cached_tokens)),
    #("token_ids", integers(result.token_ids)),
    #("text", json.Text(result.text)),
    #("finish_reason", json.Text(reason)),
    #("stop_text", stop),
    #("prefill_tokens_per_second", json.Number(prefill)),
    #("decode_tokens_per_second", json.Number(decode)),
  ]
  case result.logprobs {
    [] -> fields
    logprobs -> {
      let logprobs = json.Array(otp.map(logprobs, logprobs_json))
      otp.append(fields, [#("logprobs", logprobs)])
    }
  }
}

fn logprobs_json(token: t.TokenLogprobs) -> json.Json {
  let top = {
    use #(id, logprob) <- otp.map(token.top)
    logprob_json(id, logprob, [])
  }
  logprob_json(token.token_id, token.logprob, [#("top", json.Array(top))])
}

fn logprob_json(
  id: Int,
  logprob: Float,
  rest: List(#(String, json.Json)),
) -> json.Json {
  json.Object([
    #("token_id", json.Integer(id)),
    #("logprob", json.Number(logprob)),
    ..rest
  ])
}

fn info_fields(path: String, info: t.ModelInfo) -> List(#(String, json.Json)) {
  [
    #("model", json.Text(path)),
    #("architecture", json.Text(info.architecture)),
    #("source", json.Text(info.source)),
    #("weights", json.Text(info.weights)),
    #("parameters", json.Integer(info.parameters)),
    #("weight_bytes", json.Integer(info.weight_bytes)),
    #("bytes_per_token", json.Integer(info.bytes_per_token)),
    #("vocabulary", json.Integer(info.vocabulary)),
    #("layers", json.Integer(info.layers)),
    #("width", json.Integer(info.width)),
    #("heads", json.Integer(info.heads)),
    #("kv_heads", json.Integer(info.kv_heads)),
    #("head_width", json.Integer(info.head_width)),
    #("context", json.Integer(info.context)),
    #("max_context", json.Integer(info.max_context)),
    #("device", json.Text(info.device)),
    #("device_note", json.Text(info.device_note)),
    #("threads", json.Integer(info.threads)),
    #("eos_ids", integers(info.eos_ids)),
    #("has_chat_template", json.Boolean(info.has_chat_template)),
  ]
}

fn speed_fields(
  path: String,
  info: t.ModelInfo,
  flags: Flags,
  speed: measure.Speed,
) -> List(#(String, json.Json)) {
  [
    #("model", json.Text(path)),
    #("weights", json.Text(info.weights)),
    #("device", json.Text(info.device)),
    #("device_note", json.Text(info.device_note)),
    #("threads", json.Integer(info.threads)),
    #("prompt_tokens", json.Integer(flags.bench_prompt)),
    #("tokens", json.Integer(flags.bench_tokens)),
    #("runs", json.Integer(measure.runs)),
    #("prefill_tokens_per_second", json.Number(speed.prefill)),
    #("decode_tokens_per_second", json.Number(speed.decode)),
    #("bytes_per_token", json.Integer(speed.bytes_per_token)),
    #("gb_per_second", json.Number(measure.gb_per_second(speed))),
    #(
      "read_bandwidth_gb_per_second",
      json.Number(speed.read_bandwidth /. 1.0e9),
    ),
  ]
}

fn lateness_fields(
  idle: Lateness,
  busy: Lateness,
) -> List(#(String, json.Json)) {
  [
    #("ticker_idle_p99_ms", json.Number(idle.p99_ms)),
    #("ticker_idle_max_ms", json.Number(idle.max_ms)),
    #("ticker_busy_p99_ms", json.Number(busy.p99_ms)),
    #("ticker_busy_max_ms", json.Number(busy.max_ms)),
  ]
}
