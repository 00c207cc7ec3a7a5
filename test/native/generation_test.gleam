//// Options, streaming, stop texts, seeds and errors of one answer.

import support
import viva_tensor as t
import viva_tensor/otp

const prompt = "The GNU General Public License is a free, copyleft license"

fn sampled(seed: Int) -> t.GenerateOpts {
  t.GenerateOpts(
    max_new_tokens: 30,
    temperature: 0.8,
    top_k: t.TopK(40),
    top_p: 0.95,
    seed:,
    stop_on_eos: True,
  )
}

pub fn four_lines_test() {
  let assert Ok(model) =
    t.load_model("test/fixtures/tiny/llama/model.safetensors")
  let assert Ok(result) = t.generate(model, "Hello", t.default_generate_opts())
  assert result.text != ""
  let assert Ok(again) = t.generate(model, "Hello", t.default_generate_opts())
  assert again.text == result.text
}

pub fn result_test() {
  let model = support.load("llama")
  let assert Ok(result) = t.generate(model, prompt, support.greedy(10))
  assert result.prompt_tokens == otp.length(result.prompt_token_ids)
  assert result.cached_tokens == 0
  assert otp.length(result.token_ids) == 10
  assert result.finish_reason == t.Length
  assert result.logprobs == []
  assert result.timings.prefill_tokens == result.prompt_tokens
  assert result.timings.decode_tokens <= 10
  assert t.prefill_tokens_per_second(result.timings) >. 0.0
  assert t.decode_tokens_per_second(result.timings) >. 0.0
}

pub fn prompt_as_token_ids_test() {
  let model = support.load("llama")
  let assert Ok(ids) = t.tokenize(model, prompt, t.WithSpecialTokens)
  let request = t.request(support.greedy(10))
  let assert Ok(from_ids) = t.generate_tokens(model, ids, request)
  let assert Ok(from_text) = t.generate(model, prompt, support.greedy(10))
  assert from_ids.token_ids == from_text.token_ids
  assert from_ids.prompt_token_ids == ids
}

// Seeds.

pub fn same_seed_same_tokens_test() {
  let model = support.load("qwen3")
  let assert Ok(one) = t.generate(model, prompt, sampled(42))
  let assert Ok(two) = t.generate(model, prompt, sampled(42))
  let assert Ok(other) = t.generate(model, prompt, sampled(43))
  assert one.token_ids == two.token_ids
  assert one.token_ids != other.token_ids
}

pub fn thread_count_changes_nothing_test() {
  let tokens = fn(threads) {
    let options = t.load_opts() |> t.device(t.Cpu) |> t.threads(threads)
    let assert Ok(model) =
      t.load_model_with(support.folder <> "gemma3", options)
    let assert Ok(result) = t.generate(model, prompt, sampled(7))
    result.token_ids
  }
  assert tokens(1) == tokens(2)
}

pub fn seeds_up_to_64_bits_test() {
  let model = support.load("llama")
  let assert Ok(_) =
    t.generate(model, prompt, sampled(18_446_744_073_709_551_615))
  let assert Error(t.InvalidOption(option: "seed", ..)) =
    t.generate(model, prompt, sampled(18_446_744_073_709_551_616))
  let assert Error(t.InvalidOption(option: "seed", ..)) =
    t.generate(model, prompt, sampled(-1))
}

pub fn top_k_of_one_is_greedy_test() {
  let model = support.load("llama")
  let greedy = support.greedy(12)
  let assert Ok(best) = t.generate(model, prompt, greedy)
  let one =
    t.GenerateOpts(..greedy, temperature: 1.5, top_k: t.TopK(1), seed: 5)
  let assert Ok(drawn) = t.generate(model, prompt, one)
  assert drawn.token_ids == best.token_ids
}

// Streaming.

pub fn pieces_make_the_text_test() {
  use name <- support.each(support.names)
  let model = support.load(name)
  let me = support.self()
  let request = t.request(support.greedy(40))
  let assert Ok(result) =
    t.stream(model, prompt, request, fn(piece) {
      support.notify(me, piece)
      t.Continue
    })
  assert #(name, otp.concat(support.received())) == #(name, result.text)
}

pub fn stop_from_callback_test() {
  let model = support.load("llama")
  let me = support.self()
  let request = t.request(support.greedy(2000))
  let assert Ok(result) =
    t.stream(model, "Hi", request, fn(piece) {
      support.notify(me, piece)
      t.Stop
    })
  assert result.finish_reason == t.Cancelled
  assert [result.text] == support.received()
  assert otp.length(result.token_ids) < 2000
  assert result.timings.prefill_tokens == result.prompt_tokens
}

pub fn exception_in_callback_test() {
  let model = support.load("llama")
  let request = t.request(support.greedy(10))
  assert support.raises(fn() {
    t.stream(model, "Hi", request, fn(_) { panic as "not today" })
  })
  let assert Ok(_) = t.generate_with(model, "Hi", request)
}

// Stop texts.

pub fn stop_text_test() {
  use name <- support.each(support.names)
  let model = support.load(name)
  let assert Ok(whole) = t.generate(model, prompt, support.greedy(24))
  // Every text that begins somewhere in the answer ends it there, whatever
  // tokens it spans.
  let graphemes = otp.graphemes(whole.text)
  use start <- support.each([1, 4, 9])
  let stop = otp.concat(otp.take(otp.drop(graphemes, start), 4))
  let request = t.request(support.greedy(24)) |> t.stop_at(["\u{1}\u{2}", stop])
  let assert Ok(result) = t.generate_with(model, prompt, request)
  let assert Ok(#(before, _)) = otp.split_once(whole.text, at: stop)
  assert #(name, stop, result.finish_reason) == #(name, stop, t.StopText(stop))
  assert #(name, stop, result.text) == #(name, stop, before)
}

pub fn stop_text_is_not_streamed_test() {
  let model = support.load("qwen3")
  let assert Ok(whole) = t.generate(model, prompt, support.greedy(24))
  let graphemes = otp.graphemes(whole.text)
  let stop = otp.concat(otp.take(otp.drop(graphemes, 5), 3))
  let me = support.self()
  let assert Ok(result) =
    t.request(support.greedy(24))
    |> t.stop_at([stop])
    |> t.stream(model, prompt, _, fn(piece) {
      support.notify(me, piece)
      t.Continue
    })
  assert otp.concat(support.received()) == result.text
}

// Log probabilities.

pub fn logprobs_test() {
  let model = support.load("llama3")
  let request = t.request(support.greedy(6)) |> t.logprobs(3)
  let assert Ok(result) = t.generate_with(model, prompt, request)
  assert otp.map(result.logprobs, fn(token) { token.token_id })
    == result.token_ids
  use token <- support.each(result.logprobs)
  let assert [#(best, first), #(_, second), #(_, third)] = token.top
  assert best == token.token_id
  assert first == token.logprob
  assert 0.0 >=. first && first >=. second && second >=. third
}

// Errors.

pub fn values_out_of_range_test() {
  let model = support.load("llama")
  let options = support.greedy(5)
  let request = t.request(options)
  let wrong = [
    #(
      "max_new_tokens",
      t.request(t.GenerateOpts(..options, max_new_tokens: -1)),
    ),
    #("temperature", t.request(t.GenerateOpts(..options, temperature: -0.1))),
    #("temperature", t.request(t.GenerateOpts(..options, temperature: 1.0e300))),
    #("top_k", t.request(t.GenerateOpts(..options, top_k: t.TopK(0)))),
    #("top_k", t.request(t.GenerateOpts(..options, top_k: t.TopK(-3)))),
    #("top_p", t.request(t.GenerateOpts(..options, top_p: 0.0))),
    #("top_p", t.request(t.GenerateOpts(..options, top_p: 1.1))),
    #("min_p", t.min_p(request, -0.1)),
    #("min_p", t.min_p(request, 1.1)),
    #("repetition_penalty", t.repetition_penalty(request, 0.0)),
    #("repetition_penalty", t.repetition_penalty(request, -1.0)),
    #("stop", t.stop_at(request, [""])),
    #("logprobs", t.logprobs(request, -1)),
    #("logprobs", t.logprobs(request, 1_000_000)),
  ]
  use #(name, request) <- support.each(wrong)
  let assert #(_, Error(t.InvalidOption(option:, ..))) = #(
    name,
    t.generate_with(model, "Hello", request),
  )
  assert option == name
}

pub fn prompt_of_nothing_test() {
  let model = support.load("llama")
  let request = t.request(support.greedy(5))
  assert t.generate_tokens(model, [], request) == Error(t.EmptyPrompt)
}

pub fn unknown_token_test() {
  let model = support.load("llama")
  let request = t.request(support.greedy(5))
  use id <- support.each([1_000_000, -1, 4_294_967_296])
  let assert Error(t.InvalidOption(..)) =
    t.generate_tokens(model, [id], request)
}

pub fn no_new_token_test() {
  let model = support.load("llama")
  let assert Ok(result) = t.generate(model, prompt, support.greedy(0))
  assert #(result.text, result.token_ids, result.finish_reason)
    == #("", [], t.Length)
}

pub fn prompt_beyond_the_context_test() {
  let options = t.load_opts() |> t.context(32)
  let assert Ok(model) = t.load_model_with(support.folder <> "llama", options)
  let assert Ok(ids) = t.tokenize(model, prompt, t.WithSpecialTokens)
  let request = t.request(support.greedy(1))
  let ids = otp.flatten([ids, ids, ids])
  let assert Error(t.ContextOverflow(wanted_tokens:, limit_tokens: 32)) =
    t.generate_tokens(model, ids, request)
  assert wanted_tokens > 32
}

pub fn text_that_is_not_utf8_test() {
  let model = support.load("llama")
  let assert Error(t.InvalidOption(option: "prompt", ..)) =
    t.generate(model, support.not_utf8(), support.greedy(5))
  let assert Error(t.InvalidOption(option: "text", ..)) =
    t.tokenize(model, support.not_utf8(), t.WithSpecialTokens)
  let request = t.request(support.greedy(5)) |> t.stop_at([support.not_utf8()])
  let assert Error(t.InvalidOption(option: "stop", ..)) =
    t.generate_with(model, "Hello", request)
  let assert Error(t.InvalidOption(option: "message content", ..)) =
    t.chat(model, [t.user(support.not_utf8())], request)
}
