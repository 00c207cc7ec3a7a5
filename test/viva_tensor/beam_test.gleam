//// Pure Gleam gives what transformers gives, and what the native library
//// gives where that is loaded.

import golden
import support
import viva_tensor as t
import viva_tensor/json
import viva_tensor/otp

pub fn llama_test() {
  check("llama")
}

pub fn llama2_sharded_f16_test() {
  check("llama2-sharded-f16")
}

pub fn llama3_test() {
  check("llama3")
}

pub fn mistral_test() {
  check("mistral")
}

pub fn qwen2_test() {
  check("qwen2")
}

pub fn qwen3_test() {
  check("qwen3")
}

fn load_path(path: String) -> t.Model {
  let options = t.load_opts() |> t.device(t.Beam) |> t.threads(2)
  let assert Ok(model) = t.load_model_with(path, options)
  model
}

fn check(name: String) -> Nil {
  let model = load_path(support.folder <> name)
  let assert Ok(info) = t.model_info(model)
  assert info.device == "beam"
  golden.check(name, model)
}

/// GGUF with byte-level BPE in Q4_0, with SentencePiece in Q8_0.
pub fn gguf_test() {
  use name <- support.each(["llama_bpe_q4_0", "llama_sentencepiece_q8_0"])
  let folder = "test/fixtures/gguf_models/" <> name
  let assert Ok(text) = otp.read_file(folder <> "/golden.json")
  let assert Ok(golden) = json.decode(text)
  let model = load_path(folder <> "/model.gguf")
  use golden <- support.each(support.list(golden, "cases"))
  let ids = support.ids(golden, "greedy_ids")
  let request = t.request(support.greedy(otp.length(ids)))
  let assert Ok(result) =
    t.generate_tokens(model, support.ids(golden, "prompt_ids"), request)
  assert #(name, result.token_ids) == #(name, ids)
}

/// The same cases on both devices: texts, tokens, reasons, errors.
pub fn both_devices_test() {
  case support.library_loaded() {
    False -> Nil
    True -> {
      use name <- support.each(["llama", "mistral", "qwen3"])
      let beam = load_path(support.folder <> name)
      let native = support.load(name)
      use request <- support.each(requests())
      use prompt <- support.each(["Hello, world", "", "é 世界 <|eot_id|>"])
      let outcome = fn(model) {
        case t.generate_with(model, prompt, request) {
          Ok(result) ->
            Ok(#(
              result.text,
              result.token_ids,
              result.prompt_token_ids,
              result.finish_reason,
            ))
          Error(error) -> Error(error)
        }
      }
      assert #(name, prompt, outcome(beam)) == #(name, prompt, outcome(native))
      let chat = fn(model) {
        case t.chat(model, [t.user(prompt)], request) {
          Ok(result) -> Ok(#(result.prompt_token_ids, result.token_ids))
          Error(error) -> Error(error)
        }
      }
      assert #(name, prompt, chat(beam)) == #(name, prompt, chat(native))
    }
  }
}

fn requests() -> List(t.Request) {
  let options = t.GenerateOpts(..support.greedy(12), stop_on_eos: True)
  let warm = t.GenerateOpts(..options, temperature: 0.8, seed: 7)
  [
    t.request(options),
    t.request(warm),
    t.request(t.GenerateOpts(..warm, top_k: t.TopK(5), seed: 123)),
    t.request(t.GenerateOpts(..warm, top_p: 0.7)),
    t.request(warm) |> t.min_p(0.1),
    t.request(options) |> t.repetition_penalty(1.3),
    t.request(options) |> t.stop_at(["e", "th"]),
    t.request(t.GenerateOpts(..options, max_new_tokens: 0)),
    t.request(t.GenerateOpts(..options, temperature: -1.0)),
    t.request(t.GenerateOpts(..options, top_k: t.TopK(0))),
    t.request(options) |> t.stop_at([""]),
    t.request(options) |> t.stop_at(["e", support.not_utf8()]),
    t.request(options) |> t.logprobs(101),
  ]
}

/// A special token has no text, but is a stop where one is spelled like it.
pub fn special_token_as_stop_text_test() {
  let golden = support.golden("qwen2")
  let assert [first, ..] = support.list(golden, "cases")
  let prompt = support.text(first, "prompt")
  let special = "<|end_of_text|>"
  let request = t.request(support.greedy(24)) |> t.stop_at(["zzz", special])
  let model = load_path(support.folder <> "qwen2")
  let assert Ok([id]) = t.tokenize(model, special, t.WithoutSpecialTokens)
  let assert Ok(whole) = t.generate(model, prompt, support.greedy(24))
  let assert Ok(result) = t.generate_with(model, prompt, request)
  assert result.finish_reason == t.StopText(special)
  assert result.token_ids
    == otp.take(whole.token_ids, otp.length(result.token_ids))
  let assert [last, ..others] = otp.reverse(result.token_ids)
  assert last == id
  assert !otp.contains(others, id)
  let others = otp.reverse(others)
  assert t.detokenize(model, others, t.WithoutSpecialTokens) == Ok(result.text)
}

/// Where both refuse, both say the same.
pub fn refusals_of_both_devices_test() {
  let beam = refusals(load_path(support.folder <> "llama"))
  use refusal <- support.each(beam)
  let assert Error(t.InvalidOption(..)) = refusal
  case support.library_loaded() {
    False -> Nil
    True -> {
      assert beam == refusals(support.load("llama"))
    }
  }
}

fn refusals(model: t.Model) -> List(Result(Nil, t.Error)) {
  let bad = support.not_utf8()
  let request = t.request(support.greedy(1))
  let chats = [
    [],
    [t.user(bad)],
    [t.user("Hi"), t.Message(t.OtherRole(bad), "Hi")],
  ]
  let chat = fn(messages) { nothing(t.chat(model, messages, request)) }
  let render = fn(messages) {
    nothing(t.render(model, messages, t.WithGenerationPrompt))
  }
  otp.flatten([
    [
      nothing(t.generate(model, bad, support.greedy(1))),
      nothing(t.tokenize(model, bad, t.WithSpecialTokens)),
    ],
    otp.map(chats, chat),
    otp.map(chats, render),
  ])
}

fn nothing(result: Result(a, t.Error)) -> Result(Nil, t.Error) {
  otp.map_ok(result, fn(_) { Nil })
}

pub fn loads_out_of_range_test() {
  let wrong = [
    #("threads", t.load_opts() |> t.threads(0)),
    #("threads", t.load_opts() |> t.threads(257)),
    #("context", t.load_opts() |> t.context(0)),
    #("context", t.load_opts() |> t.context(257)),
  ]
  use #(name, options) <- support.each(wrong)
  let assert Error(t.InvalidOption(option:, ..)) =
    t.load_model_with(support.folder <> "llama", t.device(options, t.Beam))
  assert option == name
}

pub fn template_that_is_not_utf8_test() {
  let copy = support.copy_folder(support.folder <> "llama")
  support.write_file(copy <> "/chat_template.jinja", support.not_utf8())
  let load = t.load_model_with(copy, t.device(t.load_opts(), t.Beam))
  let assert Error(t.Malformed(expected: "UTF-8 text", ..)) = load
}

/// A comment in Latin-1 harms nothing; a name or a token does.
pub fn gguf_text_that_is_not_utf8_test() {
  let path = "test/fixtures/gguf_models/llama_bpe_q4_0/model.gguf"
  let load = fn(word) {
    let spoiled = support.spoiled(path, word)
    t.load_model_with(spoiled, t.device(t.load_opts(), t.Beam))
  }
  let assert Ok(_) = load("Hf Llama Bpe")
  let assert Error(t.Malformed(..)) = load("general.name")
  let assert Error(t.Malformed(..)) = load("token_embd")
  // One of the tokens.
  let assert Error(t.Malformed(..)) = load("Document")
}

/// A control token put together of contents, or of content and template.
pub fn forged_control_tokens_are_refused_test() {
  let attempts = [
    // Over two messages.
    #("{% for m in messages %}{{ m.content }}{% endfor %}", ["<|eot", "_id|>"]),
    // Begun by the template and ended by the content, and the other way round.
    #("<|eot{% for m in messages %}{{ m.content }}{% endfor %}", ["_id|>"]),
    #("{% for m in messages %}{{ m.content }}{% endfor %}_id|>", ["<|eot"]),
    // Made by the template.
    #(
      "{% for m in messages %}{{ m.content | replace('x', '') }}{% endfor %}",
      ["<|eotx_id|>"],
    ),
    #(
      "{% for m in messages %}{{ m.content.lower() }}{% endfor %}",
      ["<|EOT_ID|>"],
    ),
  ]
  use #(template, contents) <- support.each(attempts)
  let copy = support.copy_folder(support.folder <> "llama")
  support.write_file(copy <> "/chat_template.jinja", template)
  let model = load_path(copy)
  let chat = fn(contents) {
    t.chat(model, otp.map(contents, t.user), t.request(support.greedy(1)))
  }
  let assert #(_, Error(t.Template(_))) = #(template, chat(contents))
  // Harmless words pass, and so does a token's text where it stays text.
  let assert Ok(_) = chat(["hello", "there"])
  let assert Ok(answer) = chat(["<|eot_id|>"])
  let assert Ok(eos) =
    t.tokenize(model, "<|eot_id|>", t.WithoutSpecialTokens)
  assert otp.filter(answer.prompt_token_ids, fn(id) { [id] == eos }) == []
}

pub fn session_test() {
  let model = load_path(support.folder <> "llama")
  let request = t.request(support.greedy(4))
  let assert Ok(session) = t.open_session(model, [])
  let assert Ok(first) = t.complete(session, "Hello", request)
  assert first.cached_tokens == 0
  let assert Ok(second) = t.complete(session, "Hello, world", request)
  assert second.cached_tokens > 0
  let assert Ok(fresh) = t.generate_with(model, "Hello, world", request)
  assert second.token_ids == fresh.token_ids
  let assert Ok(#(session, answer)) = t.ask(session, "Hi", request)
  assert t.messages(session) == [t.user("Hi"), t.assistant(answer.text)]
  let assert Ok(Nil) = t.close_session(session)
  let assert Ok(Nil) = t.close_session(session)
  let assert Error(t.InvalidOption(option: "session", ..)) =
    t.complete(session, "Hello", request)
}

pub fn pieces_and_stop_test() {
  let model = load_path(support.folder <> "llama3")
  let request = t.request(support.greedy(16))
  let assert Ok(whole) =
    t.stream(model, "Hello", request, fn(piece) {
      support.notify(support.self(), piece)
      t.Continue
    })
  assert otp.concat(support.received()) == whole.text
  let assert Ok(stopped) = t.stream(model, "Hello", request, fn(_) { t.Stop })
  assert stopped.finish_reason == t.Cancelled
  assert otp.length(stopped.token_ids) < 16
}
