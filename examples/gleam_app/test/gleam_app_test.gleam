//// The tests of this project, each a function; what is not so ends the run.

import gleam_app
import viva_tensor as t

const llama = "../../test/fixtures/tiny/llama"

pub fn main() -> Nil {
  a_text_is_generated()
  a_question_is_answered()
  a_missing_model_is_an_error()
  let assert Ok(model) = t.load_model(llama)
  put("3 tests passed, computed by: " <> gleam_app.device(model) <> "\n")
}

@external(erlang, "io", "put_chars")
fn put(text: String) -> Nil

@external(erlang, "erlang", "put")
fn remember(key: String, value: String) -> a

@external(erlang, "erlang", "get")
fn recall(key: String) -> String

fn a_text_is_generated() -> Nil {
  let assert Ok(model) = t.load_model(llama)
  let options = t.GenerateOpts(..t.default_generate_opts(), max_new_tokens: 3)
  let assert Ok(result) = t.generate(model, "Hello, world!", options)
  assert result.token_ids == [152, 94, 179]
  Nil
}

fn a_question_is_answered() -> Nil {
  remember("shown", "")
  let assert Ok(Nil) = {
    use piece <- gleam_app.ask(llama, "Hi")
    remember("shown", recall("shown") <> piece)
    Nil
  }
  let assert Ok(model) = t.load_model(llama)
  let request = t.request(t.default_generate_opts())
  let assert Ok(answer) = t.chat(model, [t.user("Hi")], request)
  let device = gleam_app.device(model)
  assert recall("shown") == "computed by: " <> device <> "\n" <> answer.text
  Nil
}

fn a_missing_model_is_an_error() -> Nil {
  let assert Error("no/such/model: not found" <> _) =
    gleam_app.ask("no/such/model", "Hi", fn(_) { Nil })
  Nil
}
