//// The border to the native library, called as only Erlang can call it.

import support
import viva_tensor/error
import viva_tensor/generation
import viva_tensor/native
import viva_tensor/otp

@external(erlang, "viva_tensor_test_ffi", "garbage_answers")
fn garbage_answers() -> List(#(String, String))

@external(erlang, "viva_tensor_test_ffi", "garbage_requests")
fn garbage_requests(model: native.Model) -> List(#(String, String))

const numbers_in_range = ["{3,1.5}", "{7,1.5}", "{9,[]}"]

fn model() -> native.Model {
  let options =
    native.LoadOptions(native.Auto, native.None, native.None, native.Keep)
  let path = support.folder <> "llama"
  let assert Ok(model) =
    generation.load(path, options, fn(_, _) { generation.Continue })
  model
}

pub fn garbage_is_an_invalid_option_test() {
  use #(called, answer) <- support.each(garbage_answers())
  case called {
    // No sessions to step is no mistake.
    "{step,[]}" -> {
      assert #(called, answer) == #(called, "ok")
    }
    _ -> {
      assert #(called, answer) == #(called, "invalid_option")
    }
  }
}

/// What is a value for one field is garbage for another.
pub fn garbage_in_a_request_test() {
  use #(called, answer) <- support.each(garbage_requests(model()))
  // Fields count from 1: the tag, max_new_tokens, temperature, ...
  case otp.contains(numbers_in_range, called) {
    True -> Nil
    False -> {
      assert #(called, answer) == #(called, "invalid_option")
    }
  }
}

/// A list of sessions is stepped in one call; each gets its own answer, the one
/// that it would get alone.
pub fn several_sessions_test() {
  let model = model()
  let one = submitted(model, "Hello")
  let two = submitted(model, "Why?")
  let assert Ok(closed) = native.open(model)
  let assert Ok(Nil) = native.close(closed)
  let assert Ok([Ok(first), Error(_), Ok(second), Error(error.Busy)]) =
    native.step([one, closed, two, one])
  assert drain(one, two, #(first, ""), #(second, ""))
    == #(alone(model, "Hello"), alone(model, "Why?"))
}

fn submitted(model: native.Model, prompt: String) -> native.Session {
  let assert Ok(session) = native.open(model)
  let assert Ok(_) = native.submit(session, native.Text(prompt), request())
  session
}

/// Steps both until both are finished, and returns their texts.
fn drain(
  one: native.Session,
  two: native.Session,
  first: #(native.Progress, String),
  second: #(native.Progress, String),
) -> #(String, String) {
  let first = #(first.0, first.1 <> { first.0 }.text)
  let second = #(second.0, second.1 <> { second.0 }.text)
  case { first.0 }.status, { second.0 }.status {
    native.Finished(..), native.Finished(..) -> #(first.1, second.1)
    native.Finished(..), _ -> {
      let assert Ok([Ok(progress)]) = native.step([two])
      let first = #(native.Progress(..first.0, text: ""), first.1)
      drain(one, two, first, #(progress, second.1))
    }
    _, native.Finished(..) -> {
      let assert Ok([Ok(progress)]) = native.step([one])
      let second = #(native.Progress(..second.0, text: ""), second.1)
      drain(one, two, #(progress, first.1), second)
    }
    _, _ -> {
      let assert Ok([Ok(progress), Ok(other)]) = native.step([one, two])
      drain(one, two, #(progress, first.1), #(other, second.1))
    }
  }
}

fn alone(model: native.Model, prompt: String) -> String {
  let on_piece = fn(_) { generation.Continue }
  let assert Ok(result) =
    generation.run_once(model, native.Text(prompt), request(), on_piece)
  result.text
}

fn request() -> native.Request {
  native.Request(
    max_new_tokens: 12,
    temperature: 0.0,
    top_k: native.TopKInfinity,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    seed: 0,
    stop: [],
    stop_on_eos: False,
    logprobs: native.None,
  )
}
