//// Texts that come in: UTF-8, or the error that says where they are not.
////
//// A Gleam string is UTF-8 by its type; one that came from a file or from
//// Erlang need not be. The native library looks likewise, and says the same.

import viva_tensor/error.{type Error}
import viva_tensor/native.{type Message, type Prompt}
import viva_tensor/otp

/// Where the first byte stands that is not UTF-8.
@external(erlang, "viva_tensor_token_ffi", "first_foreign")
fn first_foreign(text: String) -> Result(Int, Nil)

pub fn check(text: String, option: String) -> Result(Nil, Error) {
  case first_foreign(text) {
    Error(Nil) -> Ok(Nil)
    Ok(place) ->
      Error(error.InvalidOption(
        option,
        "UTF-8 text",
        "a byte that is not UTF-8 at position " <> otp.int_to_string(place),
      ))
  }
}

/// At least one message, each with a role and a content.
pub fn check_messages(messages: List(Message)) -> Result(Nil, Error) {
  case messages {
    [] -> Error(error.InvalidOption("messages", "at least one message", "none"))
    _ -> check_each_message(messages)
  }
}

fn check_each_message(messages: List(Message)) -> Result(Nil, Error) {
  case messages {
    [] -> Ok(Nil)
    [native.Message(role:, content:), ..rest] -> {
      use Nil <- otp.try(check(role, "message role"))
      use Nil <- otp.try(check(content, "message content"))
      check_each_message(rest)
    }
  }
}

pub fn check_prompt(prompt: Prompt) -> Result(Nil, Error) {
  case prompt {
    native.Text(text) -> check(text, "prompt")
    native.Chat(messages) -> check_messages(messages)
    native.Tokens(_) -> Ok(Nil)
  }
}
