//// What every way to compute has to give: prompts, tokens, texts and chats as
//// transformers has them.

import support
import viva_tensor as t
import viva_tensor/json
import viva_tensor/otp

/// A model of one of the tiny checkpoints against its golden.json.
pub fn check(name: String, model: t.Model) -> Nil {
  let golden = support.golden(name)
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
