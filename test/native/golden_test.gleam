//// All nine tiny checkpoints give what transformers gives.

import support
import viva_tensor as t
import viva_tensor/json
import viva_tensor/otp

pub fn gemma3_test() {
  check("gemma3")
}

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

pub fn phi2_test() {
  check("phi2")
}

pub fn phi3_test() {
  check("phi3")
}

pub fn qwen2_test() {
  check("qwen2")
}

pub fn qwen3_test() {
  check("qwen3")
}

fn check(name: String) -> Nil {
  let golden = support.golden(name)
  let model = support.load(name)
  support.each(support.list(golden, "cases"), check_case(name, model, _))
  support.each(support.list(golden, "tokenize"), check_tokens(name, model, _))
  support.each(support.list(golden, "chat"), check_chat(name, model, _))
}

fn check_case(name: String, model: t.Model, golden: json.Json) -> Nil {
  let prompt = support.text(golden, "prompt")
  let token_ids = support.ids(golden, "greedy_ids")
  let options = support.greedy(otp.length(token_ids))
  let assert Ok(result) = t.generate(model, prompt, options)
  assert #(name, prompt, result.prompt_token_ids)
    == #(name, prompt, support.ids(golden, "prompt_ids"))
  assert #(name, prompt, result.token_ids) == #(name, prompt, token_ids)
  assert #(name, prompt, result.text)
    == #(name, prompt, support.text(golden, "text"))
  assert result.prompt_tokens == otp.length(result.prompt_token_ids)
  assert result.finish_reason == t.Length
}

fn check_tokens(name: String, model: t.Model, golden: json.Json) -> Nil {
  let text = support.text(golden, "text")
  let ids = support.ids(golden, "ids")
  let plain = support.ids(golden, "ids_plain")
  assert #(name, text, t.tokenize(model, text, t.WithSpecialTokens))
    == #(name, text, Ok(ids))
  assert #(name, text, t.tokenize(model, text, t.WithoutSpecialTokens))
    == #(name, text, Ok(plain))
  assert #(name, text, t.detokenize(model, plain, t.WithSpecialTokens))
    == #(name, text, Ok(support.text(golden, "decoded")))
}

fn check_chat(name: String, model: t.Model, golden: json.Json) -> Nil {
  let messages = {
    use message <- otp.map(support.list(golden, "messages"))
    let role = case support.text(message, "role") {
      "system" -> t.System
      "user" -> t.User
      "assistant" -> t.Assistant
      other -> t.OtherRole(other)
    }
    t.Message(role, support.text(message, "content"))
  }
  assert #(name, t.render(model, messages, t.WithGenerationPrompt))
    == #(name, Ok(support.text(golden, "text")))
}
