//// How fast a model is: tokens a second, and what share of the machine's
//// memory speed that is. Reading the weights once a token is the floor of
//// decoding, so the share says how much is left.

import viva_tensor.{
  type Error, type LoadOpts, type LoadProgress, type Model, type ModelInfo,
} as t
import viva_tensor/cli/ticker.{type Lateness}
import viva_tensor/otp

/// Rates are a second's.
pub type Speed {
  Speed(
    prefill: Float,
    decode: Float,
    bytes_per_token: Int,
    /// Bytes that the same threads read in a plain stream.
    read_bandwidth: Float,
  )
}

/// How often a benchmark runs; the median counts.
pub const runs = 5

/// How fast a model is, and how late a process wakes beside an idle VM and
/// beside the model at work.
pub type Bench {
  Bench(speed: Speed, idle: Lateness, busy: Lateness)
}

/// How long the idle VM is watched.
const idle_milliseconds = 2000

/// The median of several runs, each in a session of its own, after one that
/// does not count. The read bandwidth is measured between the runs, the
/// lateness of ticks during them.
pub fn bench(
  model: Model,
  info: ModelInfo,
  prompt_tokens: Int,
  tokens: Int,
  options: LoadOpts,
) -> Result(Bench, Error) {
  use Nil <- otp.try(check(prompt_tokens, tokens, info.context))
  use prompt <- otp.try(prompt(model, prompt_tokens))
  let request =
    t.request(
      t.GenerateOpts(
        ..t.default_generate_opts(),
        max_new_tokens: tokens,
        stop_on_eos: False,
      ),
    )
  let work = fn() { t.generate_tokens(model, prompt, request) }
  use _warm_up <- otp.try(work())
  let #(Nil, idle) = ticker.beside(fn() { ticker.sleep(idle_milliseconds) })
  use results <- otp.map_ok(
    otp.try_map(otp.repeat(Nil, times: runs), fn(_) {
      let #(generation, delays) = ticker.beside(work)
      use generation <- otp.try(generation)
      use speed <- otp.map_ok(of(generation.timings, info, options))
      #(speed, delays)
    }),
  )
  let speeds = otp.map(results, fn(result) { result.0 })
  let delays = otp.flatten(otp.map(results, fn(result) { result.1 }))
  let middle = fn(field) { otp.median(otp.map(speeds, field), or: 0.0) }
  Bench(
    speed: Speed(
      prefill: middle(fn(speed) { speed.prefill }),
      decode: middle(fn(speed) { speed.decode }),
      bytes_per_token: info.bytes_per_token,
      read_bandwidth: middle(fn(speed) { speed.read_bandwidth }),
    ),
    idle: ticker.lateness(idle),
    busy: ticker.lateness(delays),
  )
}

/// Generating would stop where the context ends, and count as fast.
fn check(prompt: Int, tokens: Int, context: Int) -> Result(Nil, Error) {
  let wrong = fn(flag, found) {
    Error(t.InvalidOption(flag, "at least 1", otp.int_to_string(found)))
  }
  case prompt + tokens > context {
    _ if prompt < 1 -> wrong("--prompt", prompt)
    _ if tokens < 1 -> wrong("--tokens", tokens)
    True -> Error(t.ContextOverflow(prompt + tokens, context))
    False -> Ok(Nil)
  }
}

const sentence =
  "The quick brown fox jumps over the lazy dog, while the sea goes on and on. "

/// Exactly so many tokens of plain English.
fn prompt(model: Model, tokens: Int) -> Result(List(Int), Error) {
  use start <- otp.try(t.tokenize(model, sentence, t.WithSpecialTokens))
  use more <- otp.map_ok(t.tokenize(model, sentence, t.WithoutSpecialTokens))
  let copies = tokens / int_max(otp.length(more), 1) + 1
  let copies =
    otp.flatten([start, ..otp.repeat(more, times: int_max(copies, 0))])
  otp.take(copies, int_max(tokens, 0))
}

fn int_max(a: Int, b: Int) -> Int {
  case a > b {
    True -> a
    False -> b
  }
}

/// The speed of one answer, beside the read bandwidth of this moment.
pub fn of(
  timings: t.Timings,
  info: ModelInfo,
  options: LoadOpts,
) -> Result(Speed, Error) {
  use read_bandwidth <- otp.map_ok(t.read_bandwidth(options))
  Speed(
    prefill: t.prefill_tokens_per_second(timings),
    decode: t.decode_tokens_per_second(timings),
    bytes_per_token: info.bytes_per_token,
    read_bandwidth:,
  )
}

/// GB of weights a second that decoding reads.
pub fn gb_per_second(speed: Speed) -> Float {
  speed.decode *. otp.int_to_float(speed.bytes_per_token) /. 1.0e9
}

// In words.

pub fn describe(speed: Speed) -> String {
  let read_bandwidth = speed.read_bandwidth /. 1.0e9
  let share = 100.0 *. gb_per_second(speed) /. read_bandwidth
  otp.concat([
    "prompt  " <> fixed(speed.prefill) <> " tok/s\n",
    "answer  " <> fixed(speed.decode) <> " tok/s, ",
    fixed(gb_per_second(speed)) <> " GB/s of weights, ",
    fixed(share) <> " % of the " <> fixed(read_bandwidth),
    " GB/s that this machine reads\n",
  ])
}

pub fn describe_lateness(idle: Lateness, busy: Lateness) -> String {
  let words = fn(lateness: Lateness) {
    fixed(lateness.p99_ms) <> " ms (p99), " <> fixed(lateness.max_ms) <> " ms"
  }
  otp.concat([
    "a 10 ms tick is late by " <> words(busy) <> " at most; ",
    "beside an idle VM by " <> words(idle) <> "\n",
  ])
}

pub fn describe_model(info: ModelInfo, load_seconds: Float) -> String {
  otp.concat([
    info.architecture <> " from " <> info.source <> ", ",
    fixed(otp.int_to_float(info.parameters) /. 1.0e6) <> " M parameters in ",
    fixed(otp.int_to_float(info.weight_bytes) /. 1.0e6) <> " MB (",
    info.weights <> "), " <> info.device <> " (" <> info.device_note,
    "), loaded in " <> otp.float_to_fixed(load_seconds, decimals: 2) <> " s",
  ])
}

const bar_width = 30

/// A progress bar of one line.
pub fn bar(progress: LoadProgress, seconds: Float) -> String {
  let t.LoadProgress(done_bytes:, total_bytes:) = progress
  let filled = bar_width * done_bytes / int_max(total_bytes, 1)
  otp.concat([
    "loading [",
    otp.concat(otp.repeat("#", times: filled)),
    otp.concat(otp.repeat("-", times: bar_width - filled)),
    "] " <> otp.int_to_string(done_bytes / 1_000_000) <> " of ",
    otp.int_to_string(total_bytes / 1_000_000) <> " MB, ",
    otp.float_to_fixed(seconds, decimals: 1) <> " s",
  ])
}

fn fixed(float: Float) -> String {
  otp.float_to_fixed(float, decimals: 1)
}
