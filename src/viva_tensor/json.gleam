//// JSON values, read and written by OTP's `json`. The surprise: objects keep
//// the order of their keys.

pub type Json {
  Object(List(#(String, Json)))
  Array(List(Json))
  Text(String)
  Integer(Int)
  Number(Float)
  Boolean(Bool)
  Null
}

/// On one line.
@external(erlang, "viva_tensor_ffi", "json_encode")
pub fn encode(json: Json) -> String

/// The error says where the text stops being JSON.
@external(erlang, "viva_tensor_ffi", "json_decode")
pub fn decode(text: String) -> Result(Json, String)
