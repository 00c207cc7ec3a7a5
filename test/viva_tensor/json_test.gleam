//// JSON in and out.

import support
import viva_tensor/json.{
  Array, Boolean, Integer, Null, Number, Object, Text, decode, encode,
}
import viva_tensor/otp

pub fn there_and_back_test() {
  let value =
    Object([
      #("z", Integer(1)),
      #("a", Array([Number(0.5), Boolean(True), Boolean(False), Null])),
      #("é\n", Text("日本 \"🙂\" \\ \u{1}")),
      #("empty", Array([Object([]), Array([]), Text("")])),
      #("big", Integer(18_446_744_073_709_551_616)),
    ])
  assert decode(encode(value)) == Ok(value)
}

pub fn keys_keep_their_order_test() {
  let value = Object([#("b", Integer(1)), #("a", Integer(2))])
  assert encode(value) == "{\"b\":1,\"a\":2}"
}

pub fn no_json_test() {
  use #(text, reason) <- support.each([
    #("", "end comes too early"),
    #("[1,", "end comes too early"),
    #("{x}", "unexpected byte"),
    #("1 2", "something after the value"),
    #("1e400", "400"),
    #("\"" <> support.not_utf8() <> "\"", "unexpected byte"),
  ])
  let assert #(_, Error(found)) = #(text, decode(text))
  let assert #(_, Ok(_)) = #(found, otp.split_once(found, at: reason))
}
