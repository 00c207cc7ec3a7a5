//// What a standard library would give, from OTP: lists, text, numbers, the
//// terminal. Nothing here knows of models.

// Lists.

@external(erlang, "lists", "reverse")
pub fn reverse(list: List(a)) -> List(a)

@external(erlang, "lists", "append")
pub fn append(first: List(a), second: List(a)) -> List(a)

@external(erlang, "lists", "append")
pub fn flatten(lists: List(List(a))) -> List(a)

@external(erlang, "erlang", "length")
pub fn length(list: List(a)) -> Int

@external(erlang, "lists", "sort")
pub fn sort(list: List(a)) -> List(a)

@external(erlang, "lists", "map")
fn lists_map(function: fn(a) -> b, list: List(a)) -> List(b)

pub fn map(list: List(a), with function: fn(a) -> b) -> List(b) {
  lists_map(function, list)
}

@external(erlang, "lists", "zip")
pub fn zip(first: List(a), second: List(b)) -> List(#(a, b))

/// The values, or the first error.
pub fn try_map(
  list: List(a),
  with function: fn(a) -> Result(b, e),
) -> Result(List(b), e) {
  try_map_loop(list, function, [])
}

fn try_map_loop(
  list: List(a),
  function: fn(a) -> Result(b, e),
  done: List(b),
) -> Result(List(b), e) {
  case list {
    [] -> Ok(reverse(done))
    [first, ..rest] ->
      case function(first) {
        Ok(value) -> try_map_loop(rest, function, [value, ..done])
        Error(error) -> Error(error)
      }
  }
}

/// The first `count` values, fewer if there are not as many.
@external(erlang, "lists", "sublist")
pub fn take(list: List(a), count: Int) -> List(a)

/// All but the first `count` values.
pub fn drop(list: List(a), count: Int) -> List(a) {
  case list {
    [_, ..rest] if count > 0 -> drop(rest, count - 1)
    _ -> list
  }
}

@external(erlang, "lists", "duplicate")
fn lists_duplicate(count: Int, value: a) -> List(a)

pub fn repeat(value: a, times count: Int) -> List(a) {
  lists_duplicate(count, value)
}

@external(erlang, "lists", "member")
fn lists_member(value: a, list: List(a)) -> Bool

pub fn contains(list: List(a), value: a) -> Bool {
  lists_member(value, list)
}

/// The one in the middle; `otherwise` of an empty list.
pub fn median(list: List(Float), or otherwise: Float) -> Float {
  let sorted = sort(list)
  case drop(sorted, length(sorted) / 2) {
    [middle, ..] -> middle
    [] -> otherwise
  }
}

pub fn fold(list: List(a), from initial: b, with function: fn(b, a) -> b) -> b {
  case list {
    [] -> initial
    [first, ..rest] -> fold(rest, function(initial, first), function)
  }
}

@external(erlang, "lists", "filter")
fn lists_filter(function: fn(a) -> Bool, list: List(a)) -> List(a)

pub fn filter(list: List(a), keep function: fn(a) -> Bool) -> List(a) {
  lists_filter(function, list)
}

/// The first value under a key.
pub fn find(list: List(#(key, value)), key: key) -> Result(value, Nil) {
  case list {
    [] -> Error(Nil)
    [#(found, value), ..] if found == key -> Ok(value)
    [_, ..rest] -> find(rest, key)
  }
}

// Results.

pub fn try(
  result: Result(a, e),
  then next: fn(a) -> Result(b, e),
) -> Result(b, e) {
  case result {
    Ok(value) -> next(value)
    Error(error) -> Error(error)
  }
}

pub fn map_ok(result: Result(a, e), with function: fn(a) -> b) -> Result(b, e) {
  case result {
    Ok(value) -> Ok(function(value))
    Error(error) -> Error(error)
  }
}

pub fn map_error(
  result: Result(a, e),
  with function: fn(e) -> f,
) -> Result(a, f) {
  case result {
    Ok(value) -> Ok(value)
    Error(error) -> Error(function(error))
  }
}

// Functions.

/// The work's value, after the cleanup, which runs also when the work raises.
@external(erlang, "viva_tensor_ffi", "finally")
pub fn finally(work: fn() -> a, cleanup: fn() -> b) -> a

// Text and numbers.

@external(erlang, "erlang", "iolist_to_binary")
pub fn concat(parts: List(String)) -> String

pub fn join(parts: List(String), with separator: String) -> String {
  case parts {
    [] -> ""
    [first, ..rest] ->
      concat([first, ..map(rest, fn(part) { separator <> part })])
  }
}

/// The text on both sides of the first `separator`.
@external(erlang, "viva_tensor_ffi", "split_once")
pub fn split_once(
  text: String,
  at separator: String,
) -> Result(#(String, String), Nil)

/// What a reader sees as characters.
@external(erlang, "viva_tensor_ffi", "graphemes")
pub fn graphemes(text: String) -> List(String)

@external(erlang, "string", "pad")
fn string_pad(text: String, width: Int) -> List(String)

/// Fills up with spaces.
pub fn pad(text: String, to width: Int) -> String {
  concat(string_pad(text, width))
}

@external(erlang, "erlang", "byte_size")
pub fn byte_size(text: String) -> Int

@external(erlang, "binary", "part")
fn binary_part(text: String, start: Int, length: Int) -> String

/// The first so many bytes, which the text has.
pub fn prefix(text: String, bytes: Int) -> String {
  binary_part(text, 0, bytes)
}

/// All but the first so many bytes, which the text has.
pub fn drop_bytes(text: String, bytes: Int) -> String {
  binary_part(text, bytes, byte_size(text) - bytes)
}

/// Without the spaces at its end.
@external(erlang, "viva_tensor_ffi", "trim_end")
pub fn trim_end(text: String) -> String

/// From 0.0 for nothing in common to 1.0 for the same.
@external(erlang, "string", "jaro_similarity")
pub fn similarity(one: String, other: String) -> Float

@external(erlang, "erlang", "integer_to_binary")
pub fn int_to_string(int: Int) -> String

/// The shortest text that reads back as the same float.
@external(erlang, "viva_tensor_ffi", "short_float")
pub fn float_to_string(float: Float) -> String

@external(erlang, "viva_tensor_ffi", "fixed_float")
pub fn float_to_fixed(float: Float, decimals decimals: Int) -> String

@external(erlang, "erlang", "float")
pub fn int_to_float(int: Int) -> Float

@external(erlang, "erlang", "round")
pub fn round(float: Float) -> Int

/// Also of -0.0.
@external(erlang, "viva_tensor_ffi", "is_negative")
pub fn is_negative(float: Float) -> Bool

/// Of 0.0 or more.
@external(erlang, "math", "sqrt")
pub fn square_root(float: Float) -> Float

@external(erlang, "viva_tensor_ffi", "parse_int")
pub fn parse_int(text: String) -> Result(Int, Nil)

/// Also of "1", "1e-3" and ".5".
@external(erlang, "viva_tensor_ffi", "parse_float")
pub fn parse_float(text: String) -> Result(Float, Nil)

// The world.

/// A clock that never goes back.
@external(erlang, "viva_tensor_ffi", "monotonic_seconds")
pub fn monotonic_seconds() -> Float

/// The file's text; the error says why not.
@external(erlang, "viva_tensor_ffi", "read_file")
pub fn read_file(path: String) -> Result(String, String)

/// The command line's arguments, UTF-8 under any locale; or the place, from 1,
/// of the first one that is not UTF-8.
@external(erlang, "viva_tensor_ffi", "arguments")
pub fn arguments() -> Result(List(String), Int)

/// Makes standard input, output and error speak UTF-8.
@external(erlang, "viva_tensor_ffi", "set_up_terminal")
pub fn set_up_terminal() -> Nil

/// Whether standard error is a terminal, and no file or pipe.
@external(erlang, "viva_tensor_ffi", "error_is_terminal")
pub fn error_is_terminal() -> Bool

/// To standard output; False when nobody reads it any more.
@external(erlang, "viva_tensor_ffi", "write")
pub fn write(text: String) -> Bool

@external(erlang, "viva_tensor_ffi", "write_error")
pub fn write_error(text: String) -> Bool

/// A line of standard input without its end.
@external(erlang, "viva_tensor_ffi", "read_line")
pub fn read_line(prompt: String) -> Result(String, Nil)

/// Ends the VM.
@external(erlang, "viva_tensor_ffi", "halt")
pub fn halt(status: Int) -> Nil
