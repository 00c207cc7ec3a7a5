//// What stands in for a standard library.

import support
import viva_tensor/otp

pub fn parse_float_test() {
  use #(text, float) <- support.each([
    #("0", 0.0),
    #("1", 1.0),
    #("0.0", 0.0),
    #("-2.5", -2.5),
    #("+2.5", 2.5),
    #(".5", 0.5),
    #("5.", 5.0),
    #("1e3", 1000.0),
    #("1.5E-2", 0.015),
  ])
  assert #(text, otp.parse_float(text)) == #(text, Ok(float))
}

pub fn parse_no_float_test() {
  use text <- support.each([
    "",
    ".",
    "-",
    "e5",
    ".e5",
    "1e",
    "x",
    "1x",
    "1,5",
    "NaN",
    "inf",
    "1e400",
    "1 ",
    support.not_utf8(),
  ])
  assert #(text, otp.parse_float(text)) == #(text, Error(Nil))
}

pub fn parse_int_test() {
  assert otp.parse_int("42") == Ok(42)
  assert otp.parse_int("-1") == Ok(-1)
  assert otp.parse_int("1.0") == Error(Nil)
  assert otp.parse_int("") == Error(Nil)
}

pub fn lists_test() {
  assert otp.median([3.0, 1.0, 2.0], or: 0.0) == 2.0
  assert otp.median([], or: 7.0) == 7.0
  assert otp.drop([1, 2, 3], 2) == [3]
  assert otp.drop([1], 5) == []
  assert otp.take([1, 2, 3], 2) == [1, 2]
  assert otp.take([1], 5) == [1]
  assert otp.find([#("a", 1), #("a", 2)], "a") == Ok(1)
  assert otp.find([#("a", 1)], "b") == Error(Nil)
  assert otp.try_map([1, 2], fn(n) { Ok(n + 1) }) == Ok([2, 3])
  assert otp.try_map([1, 2, 3], fn(n) {
      case n {
        1 -> Ok(n)
        _ -> Error(n)
      }
    })
    == Error(2)
}

pub fn text_test() {
  assert otp.join([], with: ", ") == ""
  assert otp.join(["a", "b"], with: ", ") == "a, b"
  assert otp.split_once("a=b=c", at: "=") == Ok(#("a", "b=c"))
  assert otp.split_once("abc", at: "=") == Error(Nil)
  assert otp.pad("né", to: 4) == "né  "
  assert otp.graphemes("a\u{301}b") == ["a\u{301}", "b"]
  assert otp.float_to_string(0.1) == "0.1"
  assert otp.float_to_fixed(1.25, decimals: 1) == "1.3"
}

pub fn cleanup_runs_after_an_exception_test() {
  let me = support.self()
  let cleanup = fn() { support.notify(me, "cleaned up") }
  assert support.raises(fn() {
    otp.finally(fn() { panic as "not today" }, cleanup)
  })
  assert otp.finally(fn() { 42 }, cleanup) == 42
  assert support.received() == ["cleaned up", "cleaned up"]
}
