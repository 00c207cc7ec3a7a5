//// The command line's words.

import support
import viva_tensor as t
import viva_tensor/cli/argument.{Help, Run, Wrong}
import viva_tensor/otp

pub fn defaults_test() {
  let assert Run(argument.Generate, ["model", "prompt"], flags) =
    argument.parse(["generate", "model", "prompt"])
  assert flags.generate == t.default_generate_opts()
  assert flags.format == argument.Plain
  assert flags.device == t.Auto
}

pub fn every_flag_test() {
  let assert Run(_, ["model", "prompt"], flags) =
    argument.parse([
      "generate", "--max-new-tokens", "7", "model", "--temperature", "1e-1",
      "--top-k", "none", "--top-p=.5", "--min-p", "0.25", "prompt",
      "--repetition-penalty", "2", "--seed", "3", "--stop", "a", "--stop=b=c",
      "--ignore-eos", "--logprobs", "4", "--device", "cpu", "--threads", "2",
      "--context", "64", "--weights", "fp8", "--json",
    ])
  assert flags.generate
    == t.GenerateOpts(
      max_new_tokens: 7,
      temperature: 0.1,
      top_k: t.TopKInfinity,
      top_p: 0.5,
      seed: 3,
      stop_on_eos: False,
    )
  assert flags.min_p == 0.25
  assert flags.repetition_penalty == 2.0
  assert flags.stop == ["a", "b=c"]
  assert flags.logprobs == Ok(4)
  assert flags.device == t.Cpu
  assert flags.threads == Ok(2)
  assert flags.context == Ok(64)
  assert flags.weights == t.Fp8
  assert flags.format == argument.Json
}

pub fn words_that_look_like_flags_test() {
  let assert Run(_, ["model", "-5 is"], _) =
    argument.parse(["generate", "model", "-5 is"])
  let assert Run(_, ["model", "--json"], _) =
    argument.parse(["generate", "model", "--", "--json"])
  let assert Run(_, _, flags) =
    argument.parse(["generate", "model", "x", "--temperature", "-1"])
  assert flags.generate.temperature == -1.0
}

pub fn help_test() {
  use words <- support.each([
    ["--help"],
    ["-h"],
    ["help"],
    ["help", "generate"],
    ["generate", "--help"],
    ["chat", "model", "-h"],
  ])
  let assert Help(_) = argument.parse(words)
}

pub fn wrong_usage_test() {
  use #(words, reason) <- support.each([
    #([], "a command is missing"),
    #(["generat"], "did you mean generate?"),
    #(["generate"], "an argument is missing"),
    #(["generate", "model"], "an argument is missing"),
    #(["info", "model", "more"], "too many arguments"),
    #(["generate", "m", "p", "--temprature", "1"], "mean --temperature?"),
    #(["info", "model", "--seed", "1"], "unknown flag --seed"),
    #(["generate", "m", "p", "--seed"], "--seed needs a value"),
    #(["generate", "m", "p", "--seed", "x"], "expected a whole number"),
    #(["generate", "m", "p", "--top-p", "x"], "expected a number, found x"),
    #(["generate", "m", "p", "--top-k", "x"], "a whole number or none"),
    #(["generate", "m", "p", "--device", "gpu"], "cuda:N or beam, found gpu"),
    #(["generate", "m", "p", "--weights", "int4:7"], "or int4:128, found"),
    #(["generate", "m", "p", "--weights", "int4:x"], "or int4:128, found"),
    #(["generate", "m", "p", "--json=1"], "--json takes no value"),
  ])
  let assert #(_, Wrong(text)) = #(words, argument.parse(words))
  let assert #(_, Ok(_)) = #(text, otp.split_once(text, at: reason))
}

/// Wrong usage ends with status 2, on standard error.
pub fn status_test() {
  use words <- support.each([[], ["generate", "model"], ["info", "m", "--x"]])
  let output = support.command_line(words)
  assert #(words, output.status, output.output) == #(words, 2, "")
  let assert "error: " <> _ = output.errors
}

pub fn not_utf8_test() {
  use locale <- support.each(["C", "C.UTF-8"])
  let words = ["tokenize", "model", support.not_utf8()]
  let output = support.command_line_with(words, input: "", locale:)
  assert #(locale, output)
    == #(locale, support.Output(2, "", "error: argument 3 is not UTF-8 text\n"))
}
