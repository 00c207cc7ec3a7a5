//// What the facade says without a model.

import support
import viva_tensor as t
import viva_tensor/otp

pub fn options_as_written_test() {
  let options =
    t.GenerateOpts(
      max_new_tokens: 30,
      temperature: 0.8,
      top_k: t.TopK(40),
      top_p: 0.95,
      seed: 42,
      stop_on_eos: True,
    )
  let infinite = t.GenerateOpts(..options, top_k: t.TopKInfinity)
  assert options != infinite
  let request =
    t.request(options)
    |> t.stop_at(["\n"])
    |> t.min_p(0.05)
    |> t.repetition_penalty(1.1)
    |> t.logprobs(5)
  assert request != t.request(options)
}

pub fn default_options_are_reproducible_test() {
  assert t.default_generate_opts().temperature == 0.0
  assert t.default_generate_opts().stop_on_eos
}

/// Each says what was expected and what was found.
pub fn every_error_in_words_test() {
  use #(error, words) <- support.each([
    #(t.NotFound("a/path", "a folder"), ["a/path", "a folder"]),
    #(t.Unreadable("a/path", "no permission"), ["a/path", "no permission"]),
    #(t.Malformed("at", "this", "that"), ["at", "this", "that"]),
    #(t.Unsupported("at", "this", "that"), ["at", "this", "that"]),
    #(t.InvalidOption("name", "this", "that"), ["name", "this", "that"]),
    #(t.EmptyPrompt, ["no token"]),
    #(t.ContextOverflow(100, 32), ["100", "32"]),
    #(t.OutOfMemory(1000, 10), ["1000", "10"]),
    #(t.DeviceLost("the reason"), ["GPU is lost", "the reason"]),
    #(t.Template("the reason"), ["the reason"]),
    #(t.Busy, ["another process"]),
    #(t.LoadCancelled, ["cancelled"]),
    #(t.Internal("the reason"), ["the reason"]),
    #(t.NifNotLoaded("the reason"), ["the reason", "make build"]),
  ])
  let text = t.describe_error(error)
  use word <- support.each(words)
  let assert #(_, Ok(_)) = #(text, otp.split_once(text, at: word))
}

pub fn rates_without_time_test() {
  let timings = t.Timings(0, 0.0, 0, 0.0)
  assert t.prefill_tokens_per_second(timings) == 0.0
  assert t.decode_tokens_per_second(timings) == 0.0
}
