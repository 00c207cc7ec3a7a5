//// A project that names viva_tensor as a dependency by path: it says who
//// computes, continues a text, and answers a question word by word.
////
//// ```sh
//// gleam run -- path/to/model "Why is the sky blue?"
//// ```

import viva_tensor as t

@external(erlang, "init", "get_plain_arguments")
fn arguments() -> List(List(Int))

@external(erlang, "unicode", "characters_to_binary")
fn text(characters: List(Int)) -> String

@external(erlang, "io", "put_chars")
fn put(text: String) -> Nil

/// Answers the question of the second argument with the model of the first.
pub fn main() -> Nil {
  let shown = case arguments() {
    [path, question, ..] -> ask(text(path), text(question), put)
    _ -> Error("usage: gleam run -- MODEL QUESTION")
  }
  case shown {
    Ok(Nil) -> put("\n")
    Error(reason) -> put("error: " <> reason <> "\n")
  }
}

/// Shows who computes and then the answer, as it comes.
pub fn ask(
  path: String,
  question: String,
  show: fn(String) -> Nil,
) -> Result(Nil, String) {
  case t.load_model(path) {
    Error(error) -> Error(t.describe_error(error))
    Ok(model) -> {
      show("computed by: " <> device(model) <> "\n")
      let request = t.request(t.default_generate_opts())
      let answered =
        t.chat_stream(model, [t.user(question)], request, fn(piece) {
          show(piece)
          t.Continue
        })
      case answered {
        Ok(_) -> Ok(Nil)
        Error(error) -> Error(t.describe_error(error))
      }
    }
  }
}

/// "cpu", "cuda", or "beam" where there is no native library.
pub fn device(model: t.Model) -> String {
  case t.model_info(model) {
    Ok(info) -> info.device
    Error(error) -> t.describe_error(error)
  }
}
