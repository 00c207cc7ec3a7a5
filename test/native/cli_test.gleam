//// The command line as a user meets it: a program with two outputs and a
//// status.

import support
import viva_tensor as t
import viva_tensor/json
import viva_tensor/otp

const llama = "test/fixtures/tiny/llama"

fn json_of(arguments: List(String)) -> json.Json {
  let output = support.command_line(arguments)
  assert #(output.status, output.errors) == #(0, "")
  object(output)
}

/// One object on one line.
fn object(output: support.Output) -> json.Json {
  let assert Ok(#(line, "")) = otp.split_once(output.output, at: "\n")
  let assert Ok(object) = json.decode(line)
  object
}

fn greedy_json(name: String) -> Nil {
  let assert [golden, ..] = support.list(support.golden(name), "cases")
  let result =
    json_of([
      "generate",
      support.folder <> name,
      support.text(golden, "prompt"),
      "--max-new-tokens",
      "24",
      "--temperature",
      "0",
      "--ignore-eos",
      "--json",
    ])
  assert support.ids(result, "prompt_token_ids")
    == support.ids(golden, "prompt_ids")
  assert support.ids(result, "token_ids") == support.ids(golden, "greedy_ids")
  assert support.text(result, "text") == support.text(golden, "text")
  assert support.text(result, "finish_reason") == "length"
  let assert json.Number(_) = support.field(result, "prefill_tokens_per_second")
  let assert json.Number(_) = support.field(result, "decode_tokens_per_second")
  Nil
}

pub fn generate_json_test() {
  greedy_json("llama")
  greedy_json("mistral")
}

pub fn generate_prints_the_text_test() {
  let model = support.load("llama")
  let assert Ok(result) = t.generate(model, "Hello", support.greedy(9))
  let output =
    support.command_line([
      "generate", llama, "Hello", "--max-new-tokens=9", "--temperature=0.0",
      "--ignore-eos",
    ])
  assert output == support.Output(0, result.text <> "\n", "")
}

pub fn sampling_flags_test() {
  let model = support.load("llama")
  let options =
    t.GenerateOpts(
      max_new_tokens: 12,
      temperature: 0.9,
      top_k: t.TopK(20),
      top_p: 0.9,
      seed: 11,
      stop_on_eos: True,
    )
  let assert Ok(expected) = t.generate(model, "Hello", options)
  let result =
    json_of([
      "generate", llama, "Hello", "--max-new-tokens", "12", "--temperature",
      ".9", "--top-k", "20", "--top-p", "0.9", "--seed", "11", "--device", "cpu",
      "--threads", "1", "--json",
    ])
  assert support.ids(result, "token_ids") == expected.token_ids
}

pub fn stop_flag_test() {
  let model = support.load("qwen3")
  let assert Ok(whole) = t.generate(model, "Hello", support.greedy(24))
  let graphemes = otp.graphemes(whole.text)
  let stop = otp.concat(otp.take(otp.drop(graphemes, 6), 2))
  let result =
    json_of([
      "generate", "test/fixtures/tiny/qwen3", "Hello", "--stop", "\u{1}",
      "--stop", stop, "--ignore-eos", "--json",
    ])
  assert support.text(result, "finish_reason") == "stop"
  assert support.text(result, "stop_text") == stop
}

// UTF-8 under any locale.

pub fn utf8_under_any_locale_test() {
  let golden = support.golden("llama")
  use locale <- support.each(["C", "POSIX", "C.UTF-8"])
  use case_ <- support.each(support.list(golden, "tokenize"))
  let text = support.text(case_, "text")
  case text {
    "na" <> _ | "a\u{301}" <> _ -> {
      let words = ["tokenize", llama, text, "--json"]
      let output = support.command_line_with(words, input: "", locale:)
      assert #(locale, output.status) == #(locale, 0)
      assert #(locale, support.ids(object(output), "token_ids"))
        == #(locale, support.ids(case_, "ids"))
    }
    _ -> Nil
  }
}

pub fn utf8_output_under_c_test() {
  let messages = "[{\"role\":\"user\",\"content\":\"né – 日本 🙂\"}]"
  let words = ["render", llama, messages, "--no-generation-prompt"]
  let output = support.command_line_with(words, input: "", locale: "C")
  assert output
    == support.Output(
      0,
      "<|begin_of_text|><|user|>\nné – 日本 🙂<|eot_id|>\n\n",
      "",
    )
}

// The other commands.

pub fn tokenize_test() {
  let assert Ok(ids) =
    t.tokenize(support.load("llama"), "Hello", t.WithSpecialTokens)
  let result = json_of(["tokenize", llama, "Hello", "--json"])
  assert support.ids(result, "token_ids") == ids
}

pub fn render_test() {
  use case_ <- support.each(support.list(support.golden("llama"), "chat"))
  let messages = json.encode(support.field(case_, "messages"))
  let result = json_of(["render", llama, messages, "--json"])
  assert support.text(result, "text") == support.text(case_, "text")
  let path = support.make_folder() <> "/messages.json"
  support.write_file(path, messages)
  let result = json_of(["render", llama, "@" <> path, "--json"])
  assert support.text(result, "text") == support.text(case_, "text")
}

pub fn info_test() {
  let result = json_of(["info", llama, "--json"])
  assert support.text(result, "architecture") == "llama"
  let output = support.command_line(["info", llama])
  let assert Ok(_) = otp.split_once(output.output, at: "architecture")
}

pub fn bench_test() {
  let result =
    json_of(["bench", llama, "--prompt", "8", "--tokens", "4", "--json"])
  use name <- support.each([
    "prefill_tokens_per_second", "decode_tokens_per_second", "gb_per_second",
    "read_bandwidth_gb_per_second", "ticker_idle_p99_ms", "ticker_idle_max_ms",
    "ticker_busy_p99_ms", "ticker_busy_max_ms",
  ])
  let assert json.Number(rate) = support.field(result, name)
  assert #(name, rate >. 0.0) == #(name, True)
  use name <- support.each(["bytes_per_token", "threads"])
  let assert json.Integer(count) = support.field(result, name)
  assert #(name, count > 0) == #(name, True)
}

pub fn bench_takes_threads_test() {
  let words = ["bench", llama, "--prompt", "8", "--tokens", "4"]
  let result = json_of(otp.append(words, ["--threads", "1", "--json"]))
  assert support.field(result, "threads") == json.Integer(1)
}

pub fn chat_test() {
  let words = ["chat", llama, "--max-new-tokens", "6", "--json"]
  let input = "né 日本\n\nAnd?\n/bye\nnever\n"
  use locale <- support.each(["C", "C.UTF-8"])
  let output = support.command_line_with(words, input:, locale:)
  assert #(output.status, output.errors) == #(0, "")
  let assert Ok(#(first, rest)) = otp.split_once(output.output, at: "\n")
  let assert Ok(#(second, "")) = otp.split_once(rest, at: "\n")
  let assert Ok(first) = json.decode(first)
  let assert Ok(second) = json.decode(second)
  let request =
    t.request(t.GenerateOpts(..t.default_generate_opts(), max_new_tokens: 6))
  let model = support.load("llama")
  let assert Ok(expected) = t.chat(model, [t.user("né 日本")], request)
  assert support.ids(first, "token_ids") == expected.token_ids
  let assert json.Integer(cached) = support.field(second, "cached_tokens")
  assert cached > 0
}

pub fn demo_test() {
  let words = ["demo", llama, "Why?", "--max-new-tokens", "6"]
  let output = support.command_line(words)
  assert output.status == 0
  let assert Ok(_) = otp.split_once(output.output, at: "> Why?")
  let assert Ok(_) = otp.split_once(output.output, at: "tok/s")
  let assert Ok(_) = otp.split_once(output.errors, at: "loaded in")
  // The bar of loading is for terminals.
  assert otp.split_once(output.errors, at: "\u{1b}") == Error(Nil)
}

// Errors.

pub fn errors_have_status_1_test() {
  let wrong = [
    ["generate", "no/such/model", "Hello"],
    ["generate", llama, "Hello", "--temperature", "-1"],
    ["generate", llama, "Hello", "--max-new-tokens", "-1"],
    ["bench", llama, "--prompt", "0"],
    ["bench", llama, "--tokens", "0"],
    ["bench", llama, "--tokens", "1000000"],
    ["render", llama, "no JSON"],
    ["render", llama, "[{\"role\":\"user\"}]"],
    ["render", llama, "@no/such/file"],
  ]
  use arguments <- support.each(wrong)
  let output = support.command_line(arguments)
  assert #(arguments, output.status, output.output) == #(arguments, 1, "")
  let assert "error: " <> _ = output.errors
}
