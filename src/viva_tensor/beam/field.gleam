//// Fields of a JSON object (and of GGUF metadata, which is one here), each of
//// the type that is asked for. A field that is absent or null is its default.

import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

pub fn get(object: Json, name: String) -> Json {
  case object {
    json.Object(fields) ->
      case otp.find(fields, name) {
        Ok(value) -> value
        Error(Nil) -> json.Null
      }
    _ -> json.Null
  }
}

pub fn has(object: Json, name: String) -> Bool {
  get(object, name) != json.Null
}

fn wrong(name: String, expected: String, found: Json) -> Error {
  error.Malformed(name, expected, case found {
    json.Object(_) -> "an object"
    json.Array(_) -> "a list"
    json.Text(text) -> "the text " <> text
    json.Integer(integer) -> otp.int_to_string(integer)
    json.Number(number) -> otp.float_to_string(number)
    json.Boolean(_) -> "a truth value"
    json.Null -> "nothing"
  })
}

/// A whole number of at least 0.
pub fn count(
  object: Json,
  name: String,
  or otherwise: Int,
) -> Result(Int, Error) {
  case get(object, name) {
    json.Null -> Ok(otherwise)
    json.Integer(value) if value >= 0 -> Ok(value)
    json.Array([json.Integer(first), ..] as all) if first >= 0 ->
      case otp.filter(all, fn(value) { value != json.Integer(first) }) {
        [] -> Ok(first)
        _ ->
          Error(error.Unsupported(
            name,
            "the same number in every layer",
            "numbers that differ from layer to layer",
          ))
      }
    found -> Error(wrong(name, "a non-negative integer", found))
  }
}

pub fn need_count(object: Json, name: String) -> Result(Int, Error) {
  case get(object, name) {
    json.Null -> Error(wrong(name, "a non-negative integer", json.Null))
    _ -> count(object, name, 0)
  }
}

pub fn float(
  object: Json,
  name: String,
  or otherwise: Float,
) -> Result(Float, Error) {
  case get(object, name) {
    json.Null -> Ok(otherwise)
    json.Number(value) -> Ok(value)
    json.Integer(value) -> Ok(otp.int_to_float(value))
    found -> Error(wrong(name, "a finite number", found))
  }
}

pub fn bool(object: Json, name: String, or otherwise: Bool) -> Bool {
  case get(object, name) {
    json.Boolean(value) -> value
    _ -> otherwise
  }
}

pub fn text(object: Json, name: String) -> Result(String, Nil) {
  case get(object, name) {
    json.Text(text) -> Ok(text)
    _ -> Error(Nil)
  }
}

pub fn list(object: Json, name: String) -> List(Json) {
  case get(object, name) {
    json.Array(values) -> values
    _ -> []
  }
}

pub fn texts(object: Json, name: String) -> List(String) {
  use value <- otp.map(list(object, name))
  case value {
    json.Text(text) -> text
    _ -> ""
  }
}

/// One id or a list of them.
pub fn ids(object: Json, name: String) -> List(Int) {
  let values = case get(object, name) {
    json.Array(values) -> values
    value -> [value]
  }
  use value <- filter_map(values)
  case value {
    json.Integer(id) -> Ok(id)
    _ -> Error(Nil)
  }
}

pub fn filter_map(
  list: List(a),
  with function: fn(a) -> Result(b, Nil),
) -> List(b) {
  otp.flatten(
    otp.map(list, fn(value) {
      case function(value) {
        Ok(kept) -> [kept]
        Error(Nil) -> []
      }
    }),
  )
}
