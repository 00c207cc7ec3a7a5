//// The values of chat templates, and what can be done with them: operators,
//// methods, filters, tests and functions, as Jinja has them.

import viva_tensor/json.{type Json}
import viva_tensor/otp

pub type Value {
  Known(Json)
  Undefined
}

pub fn truth(value: Value) -> Bool {
  case value {
    Undefined
    | Known(json.Null)
    | Known(json.Boolean(False))
    | Known(json.Text(""))
    | Known(json.Integer(0))
    | Known(json.Array([]))
    | Known(json.Object([])) -> False
    Known(json.Number(number)) -> number != 0.0
    Known(_) -> True
  }
}

pub fn items(value: Value) -> Result(List(Json), String) {
  case value {
    Known(json.Array(values)) -> Ok(values)
    Known(json.Object(fields)) ->
      Ok(otp.map(fields, fn(pair) { json.Text(pair.0) }))
    Known(json.Text(text)) -> Ok(otp.map(characters(text), json.Text))
    Undefined -> Ok([])
    _ -> Error("a loop over a value that is no list")
  }
}

@external(erlang, "viva_tensor_token_ffi", "characters")
fn characters(text: String) -> List(String)

pub fn text_of(value: Value) -> Result(String, String) {
  case value {
    Undefined -> Ok("")
    Known(json.Text(text)) -> Ok(text)
    Known(json.Integer(number)) -> Ok(otp.int_to_string(number))
    Known(json.Number(number)) -> Ok(otp.float_to_string(number))
    Known(json.Boolean(True)) -> Ok("True")
    Known(json.Boolean(False)) -> Ok("False")
    Known(json.Null) -> Ok("None")
    Known(_) -> Error("a list or a map as text (use tojson)")
  }
}

pub fn plain(value: Result(Json, String)) -> Result(Value, String) {
  otp.map_ok(value, Known)
}

pub fn boolean(value: Bool) -> Result(Value, String) {
  Ok(Known(json.Boolean(value)))
}

pub fn beyond(what: String) -> String {
  what <> " needs the native library (run `make build`)"
}

pub fn item(container: Value, place: Json) -> Result(Value, String) {
  case container, place {
    Known(json.Object(fields)), json.Text(name) ->
      case otp.find(fields, name) {
        Ok(value) -> Ok(Known(value))
        Error(Nil) -> Ok(Undefined)
      }
    Known(json.Array(values)), json.Integer(place) -> {
      let place = case place < 0 {
        True -> place + otp.length(values)
        False -> place
      }
      case place >= 0, otp.drop(values, place) {
        True, [value, ..] -> Ok(Known(value))
        _, _ -> Ok(Undefined)
      }
    }
    Known(json.Text(text)), json.Integer(_) ->
      item(Known(json.Array(otp.map(characters(text), json.Text))), place)
    Undefined, _ -> Error("a field of an undefined value")
    _, _ -> Ok(Undefined)
  }
}

pub fn operate(
  operator: String,
  left: Value,
  right: Value,
) -> Result(Value, String) {
  case operator, left, right {
    "==", _, _ -> boolean(same(left, right))
    "!=", _, _ -> boolean(!same(left, right))
    "~", _, _ -> {
      use left <- otp.try(text_of(left))
      use right <- otp.map_ok(text_of(right))
      Known(json.Text(left <> right))
    }
    "in", Known(json.Text(part)), Known(json.Text(text)) ->
      boolean(contains(text, part))
    "in", Known(value), Known(json.Array(values)) ->
      boolean(otp.filter(values, same_json(value, _)) != [])
    "in", Known(json.Text(name)), Known(json.Object(fields)) ->
      boolean(otp.find(fields, name) != Error(Nil))
    "in", _, Undefined -> boolean(False)
    "+", Known(json.Text(one)), Known(json.Text(other)) ->
      Ok(Known(json.Text(one <> other)))
    "+", Known(json.Array(ones)), Known(json.Array(others)) ->
      Ok(Known(json.Array(otp.append(ones, others))))
    "//", _, Known(json.Integer(0)) | "%", _, Known(json.Integer(0)) ->
      Error("a division by zero")
    _, Known(json.Integer(one)), Known(json.Integer(other)) ->
      case operator {
        "+" -> Ok(Known(json.Integer(one + other)))
        "-" -> Ok(Known(json.Integer(one - other)))
        "*" -> Ok(Known(json.Integer(one * other)))
        "%" -> Ok(Known(json.Integer(modulo(one, other))))
        "//" -> Ok(Known(json.Integer({ one - modulo(one, other) } / other)))
        "<" -> boolean(one < other)
        ">" -> boolean(one > other)
        "<=" -> boolean(one <= other)
        ">=" -> boolean(one >= other)
        _ -> Error(beyond("`" <> operator <> "` between integers"))
      }
    _, _, _ -> Error("`" <> operator <> "` between values that do not fit it")
  }
}

fn modulo(one: Int, other: Int) -> Int {
  { one % other + other } % other
}

fn same(left: Value, right: Value) -> Bool {
  case left, right {
    Known(left), Known(right) -> same_json(left, right)
    _, _ -> left == right
  }
}

/// As in Python 1, 1.0 and true are the same.
fn same_json(left: Json, right: Json) -> Bool {
  case left, right {
    json.Boolean(True), _ -> same_json(json.Integer(1), right)
    json.Boolean(False), _ -> same_json(json.Integer(0), right)
    _, json.Boolean(_) -> same_json(right, left)
    json.Integer(one), json.Number(other)
    | json.Number(other), json.Integer(one)
    -> otp.int_to_float(one) == other
    _, _ -> left == right
  }
}

@external(erlang, "viva_tensor_template_ffi", "contains")
fn contains(text: String, part: String) -> Bool

@external(erlang, "viva_tensor_template_ffi", "starts_with")
fn starts_with(text: String, start: String) -> Bool

@external(erlang, "viva_tensor_beam_ffi", "ends_with")
fn ends_with(text: String, end: String) -> Bool

@external(erlang, "viva_tensor_template_ffi", "trim")
fn trim(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "trim_left")
fn trim_left(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "trim_right")
fn trim_right(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "upper")
fn upper(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "lower")
fn lower(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "title")
fn title(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "title_words")
fn title_words(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "length")
fn length(text: String) -> Int

@external(erlang, "viva_tensor_template_ffi", "split_words")
fn split_words(text: String) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "split_all")
fn split(text: String, at: String) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "replace")
fn replace(text: String, each: String, with: String) -> String

fn text(text: String) -> Result(Value, String) {
  Ok(Known(json.Text(text)))
}

fn texts(texts: List(String)) -> Result(Value, String) {
  Ok(Known(json.Array(otp.map(texts, json.Text))))
}

/// What is defined, be it beyond this part of Jinja: templates ask.
pub const functions = [
  "range", "dict", "namespace", "raise_exception", "strftime_now", "cycler",
  "joiner",
]

@external(erlang, "viva_tensor_template_ffi", "strftime_now")
fn strftime_now(format: String) -> String

pub fn function(name: String, arguments: List(Json)) -> Result(Value, String) {
  case name, arguments {
    "raise_exception", [json.Text(reason), ..] -> Error(reason)
    "range", [json.Integer(end)] -> range(0, end)
    "range", [json.Integer(start), json.Integer(end)] -> range(start, end)
    "strftime_now", [json.Text(format)] -> text(strftime_now(format))
    _, _ -> Error(beyond("the function " <> name))
  }
}

fn range(start: Int, end: Int) -> Result(Value, String) {
  case end - start > 100_000 {
    True -> Error("a range of more than 100000 numbers")
    False -> Ok(Known(json.Array(numbers(start, end, []))))
  }
}

fn numbers(start: Int, end: Int, done: List(Json)) -> List(Json) {
  case start < end {
    True -> numbers(start, end - 1, [json.Integer(end - 1), ..done])
    False -> done
  }
}

pub fn method(
  value: Value,
  name: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case value, name, arguments {
    Known(json.Text(value)), "strip", [] -> text(trim(value))
    Known(json.Text(value)), "lstrip", [] -> text(trim_left(value))
    Known(json.Text(value)), "rstrip", [] -> text(trim_right(value))
    Known(json.Text(value)), "strip", [json.Text("\n")] ->
      text(strip_breaks(value, True, True))
    Known(json.Text(value)), "lstrip", [json.Text("\n")] ->
      text(strip_breaks(value, True, False))
    Known(json.Text(value)), "rstrip", [json.Text("\n")] ->
      text(strip_breaks(value, False, True))
    Known(json.Text(value)), "upper", [] -> text(upper(value))
    Known(json.Text(value)), "lower", [] -> text(lower(value))
    Known(json.Text(value)), "title", [] -> text(title(value))
    Known(json.Text(value)), "startswith", [json.Text(start)] ->
      boolean(starts_with(value, start))
    Known(json.Text(value)), "endswith", [json.Text(end)] ->
      boolean(ends_with(value, end))
    Known(json.Text(value)), "split", [] -> texts(split_words(value))
    Known(json.Text(value)), "split", [json.Text(at)] if at != "" ->
      texts(split(value, at))
    Known(json.Text(value)), "replace", [json.Text(each), json.Text(with)]
      if each != ""
    -> text(replace(value, each, with))
    Known(json.Object(_)), "get", [key] -> get_or(value, key, json.Null)
    Known(json.Object(_)), "get", [key, otherwise] ->
      get_or(value, key, otherwise)
    Known(json.Object(_)), "items", [] -> apply(value, "items", [])
    Known(json.Object(fields)), "keys", [] ->
      texts(otp.map(fields, fn(pair) { pair.0 }))
    Known(json.Object(fields)), "values", [] ->
      Ok(Known(json.Array(otp.map(fields, fn(pair) { pair.1 }))))
    Undefined, _, _ -> Error("a method of an undefined value: " <> name)
    _, _, _ -> Error(beyond("the method " <> name))
  }
}

@external(erlang, "viva_tensor_token_ffi", "strip_breaks")
fn strip_breaks(text: String, left: Bool, right: Bool) -> String

fn get_or(value: Value, key: Json, otherwise: Json) -> Result(Value, String) {
  use found <- otp.map_ok(item(value, key))
  case found {
    Undefined -> Known(otherwise)
    found -> found
  }
}

pub fn apply(
  value: Value,
  filter: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case value, filter, arguments {
    Known(json.Text(value)), "trim", [] -> text(trim(value))
    Undefined, "trim", [] -> text("")
    Known(json.Text(value)), "upper", [] -> text(upper(value))
    Known(json.Text(value)), "lower", [] -> text(lower(value))
    Known(json.Text(value)), "title", [] -> text(title_words(value))
    Known(json.Text(value)), "length", []
    | Known(json.Text(value)), "count", []
    -> Ok(Known(json.Integer(length(value))))
    Known(json.Array(values)), "length", []
    | Known(json.Array(values)), "count", []
    -> Ok(Known(json.Integer(otp.length(values))))
    Known(json.Object(fields)), "length", [] ->
      Ok(Known(json.Integer(otp.length(fields))))
    Known(json.Text(value)), "replace", [json.Text(each), json.Text(with)]
      if each != ""
    -> text(replace(value, each, with))
    Known(json.Object(fields)), "items", [] ->
      Ok(
        Known(
          json.Array(
            otp.map(fields, fn(pair) { json.Array([json.Text(pair.0), pair.1]) }),
          ),
        ),
      )
    Known(json.Array([first, ..])), "first", [] -> Ok(Known(first))
    Known(json.Array(values)), "last", [] ->
      item(Known(json.Array(values)), json.Integer(-1))
    Known(json.Array(values)), "list", [] -> Ok(Known(json.Array(values)))
    Known(json.Array(values)), "join", [] -> joined(values, "")
    Known(json.Array(values)), "join", [json.Text(separator)] ->
      joined(values, separator)
    Undefined, "default", [otherwise] | Undefined, "d", [otherwise] ->
      Ok(Known(otherwise))
    Known(_), "default", [_] | Known(_), "d", [_] | Known(_), "safe", [] ->
      Ok(value)
    _, "default", [otherwise, json.Boolean(True)] ->
      case truth(value) {
        True -> Ok(value)
        False -> Ok(Known(otherwise))
      }
    _, "string", [] -> otp.try(text_of(value), text)
    Known(json.Integer(_)), "int", [] -> Ok(value)
    _, _, _ -> Error(beyond("the filter " <> filter <> " on this value"))
  }
}

fn joined(values: List(Json), separator: String) -> Result(Value, String) {
  use parts <- otp.map_ok(
    otp.try_map(values, fn(value) { text_of(Known(value)) }),
  )
  Known(json.Text(otp.join(parts, separator)))
}

pub fn holds(
  value: Value,
  test_name: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case test_name, value, arguments {
    "defined", _, [] -> boolean(value != Undefined)
    "undefined", _, [] -> boolean(value == Undefined)
    "none", _, [] -> boolean(value == Known(json.Null))
    "true", _, [] -> boolean(value == Known(json.Boolean(True)))
    "false", _, [] -> boolean(value == Known(json.Boolean(False)))
    "string", Known(json.Text(_)), [] -> boolean(True)
    "mapping", Known(json.Object(_)), [] -> boolean(True)
    "boolean", Known(json.Boolean(_)), [] -> boolean(True)
    "number", Known(json.Integer(_)), []
    | "number", Known(json.Number(_)), []
    | "number", Known(json.Boolean(_)), []
    -> boolean(True)
    "integer", Known(json.Integer(_)), [] -> boolean(True)
    "iterable", Undefined, []
    | "sequence", Undefined, []
    | "iterable", Known(json.Text(_)), []
    | "iterable", Known(json.Array(_)), []
    | "iterable", Known(json.Object(_)), []
    | "sequence", Known(json.Text(_)), []
    | "sequence", Known(json.Array(_)), []
    | "sequence", Known(json.Object(_)), []
    -> boolean(True)
    "even", Known(json.Integer(number)), [] -> boolean(number % 2 == 0)
    "odd", Known(json.Integer(number)), [] -> boolean(number % 2 != 0)
    "equalto", Known(_), [other] | "eq", Known(_), [other] ->
      boolean(same(value, Known(other)))
    "string", _, []
    | "mapping", _, []
    | "boolean", _, []
    | "number", _, []
    | "integer", _, []
    | "iterable", _, []
    | "sequence", _, []
    -> boolean(False)
    _, _, _ -> Error(beyond("the test " <> test_name))
  }
}
