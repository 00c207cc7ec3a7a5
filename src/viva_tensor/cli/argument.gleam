//// The command line's words, checked: a command, its arguments, its flags.
////
//// One table says what flags there are, what they do and how the help
//// describes them; a command names those that it takes. The surprise: only
//// what starts with `--` is a flag, so a prompt may begin with a dash.

import viva_tensor.{type Device, type GenerateOpts, type Weights}
import viva_tensor/otp

pub type Command {
  Generate
  Chat
  Info
  Tokenize
  Render
  Bench
  Demo
}

pub type Format {
  Plain
  Json
}

/// What the flags say, and the defaults of those that were not given.
pub type Flags {
  Flags(
    generate: GenerateOpts,
    stop: List(String),
    min_p: Float,
    repetition_penalty: Float,
    logprobs: Result(Int, Nil),
    device: Device,
    threads: Result(Int, Nil),
    context: Result(Int, Nil),
    weights: Weights,
    system: Result(String, Nil),
    generation_prompt: viva_tensor.GenerationPrompt,
    /// Of `bench`: tokens to read and to generate.
    bench_prompt: Int,
    bench_tokens: Int,
    format: Format,
  )
}

pub type Parsed {
  Run(command: Command, arguments: List(String), flags: Flags)
  Help(text: String)
  Wrong(reason: String)
}

/// How a command is called: its name, its arguments, what it does, its flags.
type Usage {
  Usage(
    command: Command,
    name: String,
    arguments: List(String),
    /// How many of the arguments must be given.
    needed: Int,
    summary: String,
    flags: List(String),
  )
}

type Flag {
  Flag(name: String, value: Value, summary: String)
}

type Value {
  Switch(fn(Flags) -> Flags)
  Takes(placeholder: String, set: fn(Flags, String) -> Result(Flags, String))
}

const loading = ["--device", "--threads", "--context", "--weights"]

const sampling = [
  "--max-new-tokens", "--temperature", "--top-k", "--top-p", "--min-p",
  "--repetition-penalty", "--seed", "--stop", "--ignore-eos", "--logprobs",
]

fn usages() -> List(Usage) {
  let both = otp.append(sampling, loading)
  let model = ["MODEL"]
  [
    Usage(Generate, "generate", ["MODEL", "PROMPT"], 2, "continue a text", both),
    Usage(Chat, "chat", model, 1, "a conversation, until /bye", [
      "--system",
      ..both
    ]),
    Usage(Info, "info", model, 1, "what a checkpoint is", loading),
    Usage(
      Tokenize,
      "tokenize",
      ["MODEL", "TEXT"],
      2,
      "the token ids of a text, special tokens included",
      loading,
    ),
    Usage(
      Render,
      "render",
      ["MODEL", "MESSAGES_JSON"],
      2,
      "the text that the chat template makes of messages: JSON, or @FILE",
      ["--no-generation-prompt", ..loading],
    ),
    Usage(Bench, "bench", model, 1, "how fast a checkpoint is", [
      "--prompt",
      "--tokens",
      ..loading
    ]),
    Usage(
      Demo,
      "demo",
      ["MODEL", "QUESTION"],
      1,
      "one question, its answer, and how fast it came",
      both,
    ),
  ]
}

fn table() -> List(Flag) {
  [
    Flag("--max-new-tokens", count(set_max_new_tokens), "the longest answer"),
    Flag(
      "--temperature",
      number(fn(flags, x) { generate(flags, with_temperature(_, x)) }),
      "0 takes the most probable token each time",
    ),
    Flag(
      "--top-k",
      Takes("K", set_top_k),
      "draw from the K most probable tokens; none for no limit",
    ),
    Flag(
      "--top-p",
      number(fn(flags, x) { generate(flags, with_top_p(_, x)) }),
      "draw from those that together reach this probability",
    ),
    Flag(
      "--min-p",
      number(fn(flags, x) { Flags(..flags, min_p: x) }),
      "leave out those below this share of the most probable one",
    ),
    Flag(
      "--repetition-penalty",
      number(fn(flags, x) { Flags(..flags, repetition_penalty: x) }),
      "above 1 makes repetition less probable",
    ),
    Flag("--seed", count(set_seed), "the same seed gives the same tokens"),
    Flag(
      "--stop",
      Takes("TEXT", fn(flags, text) {
        Ok(Flags(..flags, stop: otp.append(flags.stop, [text])))
      }),
      "end the answer where this text appears; may be given again",
    ),
    Flag(
      "--ignore-eos",
      Switch(fn(flags) { generate(flags, without_eos) }),
      "go on after an end-of-sequence token",
    ),
    Flag(
      "--logprobs",
      count(fn(flags, n) { Flags(..flags, logprobs: Ok(n)) }),
      "with --json: log probabilities of the N most probable tokens",
    ),
    Flag(
      "--device",
      Takes("auto|cpu|cuda|beam", set_device),
      "where to compute",
    ),
    Flag(
      "--threads",
      count(fn(flags, n) { Flags(..flags, threads: Ok(n)) }),
      "threads that compute",
    ),
    Flag(
      "--context",
      count(fn(flags, n) { Flags(..flags, context: Ok(n)) }),
      "the longest prompt and answer together, in tokens",
    ),
    Flag(
      "--weights",
      Takes("FORMAT", set_weights),
      "keep, fp8, int8, int4[:GROUP], int8-sparse24 or int4-sparse24",
    ),
    Flag(
      "--system",
      Takes("TEXT", fn(flags, text) { Ok(Flags(..flags, system: Ok(text))) }),
      "what the model is to be",
    ),
    Flag(
      "--no-generation-prompt",
      Switch(fn(flags) {
        let generation_prompt = viva_tensor.WithoutGenerationPrompt
        Flags(..flags, generation_prompt:)
      }),
      "leave out the text that makes the assistant speak",
    ),
    Flag(
      "--prompt",
      count(fn(flags, n) { Flags(..flags, bench_prompt: n) }),
      "prompt tokens to read",
    ),
    Flag(
      "--tokens",
      count(fn(flags, n) { Flags(..flags, bench_tokens: n) }),
      "tokens to generate",
    ),
    Flag(
      "--json",
      Switch(fn(flags) { Flags(..flags, format: Json) }),
      "print one JSON object on one line",
    ),
  ]
}

fn defaults() -> Flags {
  Flags(
    generate: viva_tensor.default_generate_opts(),
    stop: [],
    min_p: 0.0,
    repetition_penalty: 1.0,
    logprobs: Error(Nil),
    device: viva_tensor.Auto,
    threads: Error(Nil),
    context: Error(Nil),
    weights: viva_tensor.Keep,
    system: Error(Nil),
    generation_prompt: viva_tensor.WithGenerationPrompt,
    bench_prompt: 128,
    bench_tokens: 128,
    format: Plain,
  )
}

// Reading.

/// Reads the words after the program's name.
pub fn parse(words: List(String)) -> Parsed {
  case words {
    [] -> Wrong("a command is missing\n\n" <> overview())
    ["--help"] | ["-h"] | ["help"] -> Help(overview())
    ["help", name, ..] -> parse([name, "--help"])
    [name, ..words] ->
      case find_usage(usages(), name) {
        Ok(usage) -> parse_words(words, usage, [], defaults())
        Error(Nil) -> Wrong(unknown("command", name, command_names()))
      }
  }
}

fn parse_words(
  words: List(String),
  usage: Usage,
  arguments: List(String),
  flags: Flags,
) -> Parsed {
  case words {
    ["--help", ..] | ["-h", ..] -> Help(describe(usage))
    ["--", ..rest] ->
      finish(otp.append(otp.reverse(arguments), rest), usage, flags)
    ["--" <> _ as word, ..rest] ->
      parse_flag(word, rest, usage, arguments, flags)
    [word, ..rest] -> parse_words(rest, usage, [word, ..arguments], flags)
    [] -> finish(otp.reverse(arguments), usage, flags)
  }
}

fn finish(arguments: List(String), usage: Usage, flags: Flags) -> Parsed {
  let given = otp.length(arguments)
  let synopsis = "; usage: " <> synopsis(usage)
  case given < usage.needed, given > otp.length(usage.arguments) {
    True, _ -> Wrong(usage.name <> ": an argument is missing" <> synopsis)
    _, True -> Wrong(usage.name <> ": too many arguments" <> synopsis)
    False, False -> Run(usage.command, arguments, flags)
  }
}

fn parse_flag(
  word: String,
  rest: List(String),
  usage: Usage,
  arguments: List(String),
  flags: Flags,
) -> Parsed {
  let #(name, inline) = case otp.split_once(word, at: "=") {
    Ok(#(name, value)) -> #(name, Ok(value))
    Error(Nil) -> #(word, Error(Nil))
  }
  let allowed = ["--json", ..usage.flags]
  case otp.contains(allowed, name), find_flag(table(), name) {
    True, Ok(Flag(value: Switch(set), ..)) ->
      case inline {
        Ok(_) -> Wrong(name <> " takes no value")
        Error(Nil) -> parse_words(rest, usage, arguments, set(flags))
      }
    True, Ok(Flag(value: Takes(placeholder:, set:), ..)) ->
      case inline, rest {
        Ok(value), rest | Error(Nil), [value, ..rest] ->
          case set(flags, value) {
            Ok(flags) -> parse_words(rest, usage, arguments, flags)
            Error(expected) ->
              Wrong(name <> ": expected " <> expected <> ", found " <> value)
          }
        Error(Nil), [] -> Wrong(name <> " needs a value: " <> placeholder)
      }
    _, _ -> Wrong(unknown("flag", name, allowed))
  }
}

fn unknown(kind: String, name: String, known: List(String)) -> String {
  let nearest = fn(best, candidate) {
    let similarity = otp.similarity(name, candidate)
    case best {
      #(_, highest) if highest >=. similarity -> best
      _ -> #(candidate, similarity)
    }
  }
  let hint = case otp.fold(known, from: #("", 0.0), with: nearest) {
    #(candidate, similarity) if similarity >. 0.75 ->
      "; did you mean " <> candidate <> "?"
    _ -> "; expected one of " <> otp.join(known, with: ", ")
  }
  "unknown " <> kind <> " " <> name <> hint
}

fn command_names() -> List(String) {
  otp.map(usages(), fn(usage) { usage.name })
}

fn find_usage(usages: List(Usage), name: String) -> Result(Usage, Nil) {
  otp.find(otp.map(usages, fn(usage) { #(usage.name, usage) }), name)
}

fn find_flag(flags: List(Flag), name: String) -> Result(Flag, Nil) {
  otp.find(otp.map(flags, fn(flag) { #(flag.name, flag) }), name)
}

// What flags do.

fn generate(flags: Flags, change: fn(GenerateOpts) -> GenerateOpts) -> Flags {
  Flags(..flags, generate: change(flags.generate))
}

fn with_temperature(options: GenerateOpts, temperature: Float) -> GenerateOpts {
  viva_tensor.GenerateOpts(..options, temperature:)
}

fn with_top_p(options: GenerateOpts, top_p: Float) -> GenerateOpts {
  viva_tensor.GenerateOpts(..options, top_p:)
}

fn without_eos(options: GenerateOpts) -> GenerateOpts {
  viva_tensor.GenerateOpts(..options, stop_on_eos: False)
}

fn set_max_new_tokens(flags: Flags, max_new_tokens: Int) -> Flags {
  use options <- generate(flags)
  viva_tensor.GenerateOpts(..options, max_new_tokens:)
}

fn set_seed(flags: Flags, seed: Int) -> Flags {
  use options <- generate(flags)
  viva_tensor.GenerateOpts(..options, seed:)
}

fn set_top_k(flags: Flags, text: String) -> Result(Flags, String) {
  use top_k <- otp.map_ok(case text, otp.parse_int(text) {
    "none", _ -> Ok(viva_tensor.TopKInfinity)
    _, Ok(k) -> Ok(viva_tensor.TopK(k))
    _, Error(Nil) -> Error("a whole number or none")
  })
  use options <- generate(flags)
  viva_tensor.GenerateOpts(..options, top_k:)
}

fn set_weights(flags: Flags, text: String) -> Result(Flags, String) {
  case text {
    "keep" -> Ok(Flags(..flags, weights: viva_tensor.Keep))
    "fp8" -> Ok(Flags(..flags, weights: viva_tensor.Fp8))
    "int8" -> Ok(Flags(..flags, weights: viva_tensor.Int8))
    "int4" -> Ok(Flags(..flags, weights: viva_tensor.Int4(64)))
    "int4:" <> group ->
      case otp.parse_int(group) {
        Ok(group) if group == 32 || group == 64 || group == 128 ->
          Ok(Flags(..flags, weights: viva_tensor.Int4(group)))
        _ -> Error("int4:32, int4:64 or int4:128")
      }
    "int8-sparse24" -> Ok(Flags(..flags, weights: viva_tensor.Int8Sparse24))
    "int4-sparse24" -> Ok(Flags(..flags, weights: viva_tensor.Int4Sparse24))
    _ -> Error("keep, fp8, int8, int4, int8-sparse24 or int4-sparse24")
  }
}

fn set_device(flags: Flags, text: String) -> Result(Flags, String) {
  case text {
    "auto" -> Ok(Flags(..flags, device: viva_tensor.Auto))
    "cpu" -> Ok(Flags(..flags, device: viva_tensor.Cpu))
    "cuda" -> Ok(Flags(..flags, device: viva_tensor.Cuda(0)))
    "cuda:" <> index ->
      case otp.parse_int(index) {
        Ok(index) -> Ok(Flags(..flags, device: viva_tensor.Cuda(index)))
        Error(Nil) -> Error("a GPU's number behind cuda:")
      }
    "beam" -> Ok(Flags(..flags, device: viva_tensor.Beam))
    _ -> Error("auto, cpu, cuda, cuda:N or beam")
  }
}

/// Ranges are the library's to check: here a value need only be a number.
fn number(set: fn(Flags, Float) -> Flags) -> Value {
  use flags, text <- Takes("X")
  case otp.parse_float(text) {
    Ok(value) -> Ok(set(flags, value))
    Error(Nil) -> Error("a number")
  }
}

fn count(set: fn(Flags, Int) -> Flags) -> Value {
  use flags, text <- Takes("N")
  case otp.parse_int(text) {
    Ok(value) -> Ok(set(flags, value))
    Error(Nil) -> Error("a whole number")
  }
}

// Help.

fn synopsis(usage: Usage) -> String {
  let needed = otp.take(usage.arguments, usage.needed)
  let rest = otp.drop(usage.arguments, usage.needed)
  let optional = otp.map(rest, fn(argument) { "[" <> argument <> "]" })
  [usage.name, ..otp.append(needed, otp.append(optional, ["[flags]"]))]
  |> otp.join(with: " ")
}

fn overview() -> String {
  let lines = {
    use usage <- otp.map(usages())
    "  " <> otp.pad(synopsis(usage), to: 38) <> usage.summary <> "\n"
  }
  "usage: gleam run -m viva_tensor/cli -- COMMAND\n\n"
  <> otp.concat(lines)
  <> "\nCOMMAND --help lists the flags of one.\n"
  <> "MODEL is a .safetensors or .gguf file, or a folder with a config.json.\n"
}

fn describe(usage: Usage) -> String {
  let lines = {
    use name <- otp.map(otp.append(usage.flags, ["--json"]))
    case find_flag(table(), name) {
      Ok(Flag(value: Takes(placeholder:, ..), summary:, ..)) ->
        "  " <> otp.pad(name <> " " <> placeholder, to: 26) <> summary <> "\n"
      Ok(Flag(value: Switch(_), summary:, ..)) ->
        "  " <> otp.pad(name, to: 26) <> summary <> "\n"
      Error(Nil) -> ""
    }
  }
  otp.concat([
    "usage: gleam run -m viva_tensor/cli -- ",
    synopsis(usage),
    "\n\n",
    usage.summary,
    "\n\n",
    ..lines
  ])
}
