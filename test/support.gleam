//// What tests share: processes, subprocesses, folders and the goldens.

import viva_tensor as t
import viva_tensor/json.{type Json}
import viva_tensor/otp

// Processes.

pub type Process

/// Who runs this.
@external(erlang, "erlang", "self")
pub fn self() -> Process

@external(erlang, "viva_tensor_test_ffi", "spawned")
pub fn spawned(work: fn() -> a) -> Process

/// Ends a process; returns once it is gone.
@external(erlang, "viva_tensor_test_ffi", "kill")
pub fn kill(process: Process) -> Nil

@external(erlang, "viva_tensor_test_ffi", "notify")
pub fn notify(process: Process, message: String) -> Nil

/// Waits for a message; False when it does not come.
@external(erlang, "viva_tensor_test_ffi", "await")
pub fn await(message: String) -> Bool

/// The messages that have come, in their order.
@external(erlang, "viva_tensor_test_ffi", "received")
pub fn received() -> List(String)

/// Waits for the end of a process.
@external(erlang, "viva_tensor_test_ffi", "await_process")
pub fn await_process(process: Process) -> Nil

/// Whether the work ends in an exception.
@external(erlang, "viva_tensor_test_ffi", "raises")
pub fn raises(work: fn() -> a) -> Bool

@external(erlang, "viva_tensor_test_ffi", "milliseconds")
pub fn milliseconds() -> Int

@external(erlang, "viva_tensor_test_ffi", "sleep")
pub fn sleep(milliseconds: Int) -> Nil

/// Whether it is true at some time in the next so many milliseconds.
pub fn becomes_true(within limit: Int, check check: fn() -> Bool) -> Bool {
  becomes_true_until(milliseconds() + limit, check)
}

fn becomes_true_until(end: Int, check: fn() -> Bool) -> Bool {
  case check(), milliseconds() < end {
    True, _ -> True
    False, False -> False
    False, True -> {
      sleep(1)
      becomes_true_until(end, check)
    }
  }
}

// The command line.

pub type Output {
  Output(status: Int, output: String, errors: String)
}

@external(erlang, "viva_tensor_test_ffi", "command_line")
fn run_command_line(
  arguments: List(String),
  input: String,
  locale: String,
) -> Output

pub fn command_line(arguments: List(String)) -> Output {
  run_command_line(arguments, "", "C.UTF-8")
}

pub fn command_line_with(
  arguments: List(String),
  input input: String,
  locale locale: String,
) -> Output {
  run_command_line(arguments, input, locale)
}

/// The command line of an installation that has no native library.
@external(erlang, "viva_tensor_test_ffi", "without_library")
pub fn command_line_without_library(arguments: List(String)) -> Output

@external(erlang, "viva_tensor_test_ffi", "library_loaded")
pub fn library_loaded() -> Bool

// Files.

@external(erlang, "viva_tensor_test_ffi", "write_file")
pub fn write_file(path: String, bytes: String) -> Nil

@external(erlang, "viva_tensor_test_ffi", "make_folder")
pub fn make_folder() -> String

@external(erlang, "viva_tensor_test_ffi", "copy_folder")
pub fn copy_folder(folder: String) -> String

@external(erlang, "viva_tensor_test_ffi", "remove_file")
pub fn remove_file(path: String) -> Nil

/// A copy of a file, in which this word begins with a byte that is no UTF-8.
@external(erlang, "viva_tensor_test_ffi", "spoiled")
pub fn spoiled(path: String, word: String) -> String

/// The first so many bytes.
@external(erlang, "viva_tensor_test_ffi", "prefix")
pub fn prefix(text: String, bytes: Int) -> String

/// A string that no Gleam code can make: it is not UTF-8.
@external(erlang, "viva_tensor_test_ffi", "not_utf8")
pub fn not_utf8() -> String

// The goldens, made by transformers.

pub const folder = "test/fixtures/tiny/"

pub const names = [
  "gemma3", "llama", "llama2-sharded-f16", "llama3", "mistral", "phi2", "phi3",
  "qwen2", "qwen3",
]

pub fn load(name: String) -> t.Model {
  let assert Ok(model) = t.load_model(folder <> name)
  model
}

pub fn golden(name: String) -> Json {
  let assert Ok(text) = otp.read_file(folder <> name <> "/golden.json")
  let assert Ok(golden) = json.decode(text)
  golden
}

pub fn field(object: Json, name: String) -> Json {
  let assert json.Object(fields) = object
  let assert Ok(value) = otp.find(fields, name)
  value
}

pub fn text(object: Json, name: String) -> String {
  let assert json.Text(text) = field(object, name)
  text
}

pub fn list(object: Json, name: String) -> List(Json) {
  let assert json.Array(values) = field(object, name)
  values
}

pub fn ids(object: Json, name: String) -> List(Int) {
  use value <- otp.map(list(object, name))
  let assert json.Integer(id) = value
  id
}

pub fn each(list: List(a), do function: fn(a) -> b) -> Nil {
  otp.map(list, function)
  Nil
}

/// The options of the goldens: the most probable token, past the end.
pub fn greedy(max_new_tokens: Int) -> t.GenerateOpts {
  t.GenerateOpts(
    max_new_tokens:,
    temperature: 0.0,
    top_k: t.TopKInfinity,
    top_p: 1.0,
    seed: 0,
    stop_on_eos: False,
  )
}
