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

/// A caller's text.
pub fn check(text: String, option: String) -> Result(Nil, Error) {
  use #(expected, found) <- otp.map_error(looked_at(text))
  error.InvalidOption(option, expected, found)
}

/// What a file says.
pub fn check_file(text: String, at: String) -> Result(Nil, Error) {
  use #(expected, found) <- otp.map_error(looked_at(text))
  error.Malformed(at, expected, found)
}

/// What was expected, and what was found.
fn looked_at(text: String) -> Result(Nil, #(String, String)) {
  case first_foreign(text) {
    Error(Nil) -> Ok(Nil)
    Ok(place) -> {
      let place = otp.int_to_string(place)
      Error(#("UTF-8 text", "a byte that is not UTF-8 at position " <> place))
    }
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
