//// A tensor as text, as NumPy prints an array: columns aligned, eight decimals
//// at most, the middle of a large one left out; below it shape and type.

import viva_tensor/kernel.{type Dtype, type Number}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/storage
import viva_tensor/tensor.{type Tensor}

/// From how many elements on the middle is left out.
const threshold = 1000

/// How many stay on each side of it.
const edge = 3

const line_width = 75

const decimals = 8

const gap = "..."

pub fn to_string(tensor: Tensor) -> String {
  body(tensor)
  <> "\nshape "
  <> shape.to_string(tensor.shape(tensor))
  <> ", "
  <> dtype_name(tensor.dtype(tensor))
  <> place(tensor.data(tensor))
}

fn place(data: storage.Data) -> String {
  case data {
    storage.Host(_) -> ""
    _ -> ", " <> storage.place(data)
  }
}

pub fn dtype_name(dtype: Dtype) -> String {
  case dtype {
    kernel.Float64 -> "float64"
    kernel.Float32 -> "float32"
    kernel.Float16 -> "float16"
    kernel.BFloat16 -> "bfloat16"
  }
}

fn body(tensor: Tensor) -> String {
  let shape = tensor.shape(tensor)
  case tensor.size(tensor), shape {
    0, _ -> "[]"
    size, _ -> {
      let shown = case size > threshold {
        True -> edges(tensor, 0)
        False -> tensor
      }
      let words = words(tensor.numbers(shown), tensor.dtype(tensor))
      let #(text, _) = print(shape, tensor.shape(shown), words, " ", line_width)
      text
    }
  }
}

/// The part of it that is shown.
fn edges(tensor: Tensor, axis: Int) -> Tensor {
  let length = shape.length(tensor.shape(tensor), axis)
  case axis == tensor.rank(tensor), length > 2 * edge {
    True, _ -> tensor
    False, False -> edges(tensor, axis + 1)
    False, True -> {
      let last = otp.map(shape.range(edge), fn(index) { length - edge + index })
      case tensor.gather(tensor, axis, otp.append(shape.range(edge), last)) {
        Ok(tensor) -> edges(tensor, axis + 1)
        Error(_) -> tensor
      }
    }
  }
}

/// The text of the first elements, and the words of the others.
fn print(
  shape: List(Int),
  shown: List(Int),
  words: List(String),
  indent: String,
  width: Int,
) -> #(String, List(String)) {
  case shape, shown {
    [length], [count] -> {
      let line = case length == count {
        True -> otp.take(words, count)
        False -> with_gap(otp.take(words, count))
      }
      let text = fill(line, indent, indent, "", width - 1)
      #("[" <> text <> "]", otp.drop(words, count))
    }
    [length, ..shape], [count, ..shown] -> {
      let #(parts, words) = {
        use #(parts, words), _ <- otp.fold(shape.range(count), from: #(
          [],
          words,
        ))
        let #(part, words) =
          print(shape, shown, words, indent <> " ", width - 1)
        #([part, ..parts], words)
      }
      let parts = otp.reverse(parts)
      let parts = case length == count {
        True -> parts
        False -> with_gap(parts)
      }
      let line_ends = otp.repeat("\n", times: otp.length(shape))
      let separator = otp.concat(line_ends) <> indent
      #("[" <> otp.join(parts, with: separator) <> "]", words)
    }
    _, _ ->
      case words {
        [word, ..words] -> #(word, words)
        [] -> #("", [])
      }
  }
}

fn with_gap(parts: List(String)) -> List(String) {
  otp.append(otp.take(parts, edge), [gap, ..otp.drop(parts, edge)])
}

/// Words in lines of at most so many characters. The first line's indent is
/// taken by the bracket.
fn fill(
  words: List(String),
  line: String,
  indent: String,
  done: String,
  width: Int,
) -> String {
  case words {
    [] -> done <> without_indent(line, indent, done)
    [word, ..words] -> {
      let line_has = otp.byte_size(line)
      let wraps =
        line_has + otp.byte_size(word) > width
        && line_has > otp.byte_size(indent)
      let #(done, line) = case wraps {
        True -> #(
          done <> without_indent(otp.trim_end(line), indent, done) <> "\n",
          indent <> word,
        )
        False -> #(done, line <> word)
      }
      let line = case words {
        [] -> line
        _ -> line <> " "
      }
      fill(words, line, indent, done, width)
    }
  }
}

fn without_indent(line: String, indent: String, done: String) -> String {
  case done {
    "" -> otp.drop_bytes(line, otp.byte_size(indent))
    _ -> line
  }
}

// Numbers.

@external(erlang, "viva_tensor_beam", "digits")
fn digits(dtype: Dtype, float: Float, most: Int) -> #(String, Int)

/// The parts of a number before and after the point, and what follows.
type Word {
  Word(before: String, after: String, exponent: String)
  Name(String)
}

fn words(numbers: List(Number), dtype: Dtype) -> List(String) {
  let floats =
    otp.filter(numbers, kernel.is_finite)
    |> kernel.clean
    |> otp.map(absolute)
    |> otp.filter(fn(float) { float >. 0.0 })
  let scientific = case otp.sort(floats) {
    [] -> False
    [least, ..] as sorted -> {
      let most = otp.fold(sorted, from: least, with: fn(_, float) { float })
      most >=. 1.0e8 || least <. 0.0001 || most /. 1000.0 >. least
    }
  }
  let words = otp.map(numbers, word(_, dtype, scientific))
  let longest = fn(measure) {
    otp.fold(words, from: 0, with: fn(most, word) {
      larger(most, measure(word))
    })
  }
  let after =
    longest(fn(word) {
      case word {
        Word(after:, ..) -> otp.byte_size(after)
        Name(_) -> 0
      }
    })
  let before =
    longest(fn(word) {
      case word {
        Word(before:, ..) -> otp.byte_size(before)
        Name(name) -> otp.byte_size(name) - after - 1
      }
    })
  let exponent =
    longest(fn(word) {
      case word {
        Word(exponent:, ..) -> otp.byte_size(exponent)
        Name(_) -> 0
      }
    })
  use word <- otp.map(words)
  case word {
    Name(name) -> pad_left(name, before + 1 + after + exponent)
    Word(before: first, after: rest, exponent: "") ->
      pad_left(first, before) <> "." <> otp.pad(rest, to: after)
    Word(before: first, after: rest, exponent: power) ->
      pad_left(first, before)
      <> "."
      <> rest
      <> zeros(after - otp.byte_size(rest))
      <> power
  }
}

fn larger(one: Int, other: Int) -> Int {
  case one > other {
    True -> one
    False -> other
  }
}

fn absolute(float: Float) -> Float {
  case float <. 0.0 {
    True -> 0.0 -. float
    False -> float
  }
}

fn word(number: Number, dtype: Dtype, scientific: Bool) -> Word {
  case kernel.is_finite(number), kernel.clean_number(number) {
    False, 0.0 -> Name("nan")
    False, float if float >. 0.0 -> Name("inf")
    False, _ -> Name("-inf")
    True, float -> {
      let sign = case otp.is_negative(float) {
        True -> "-"
        False -> ""
      }
      case scientific {
        True -> scientific_word(sign, absolute(float), dtype)
        False -> positional_word(sign, absolute(float), dtype)
      }
    }
  }
}

fn scientific_word(sign: String, float: Float, dtype: Dtype) -> Word {
  let #(digits, exponent) = digits(dtype, float, decimals + 1)
  let power = case exponent < 0 {
    True -> "e-" <> two_digits(0 - exponent)
    False -> "e+" <> two_digits(exponent)
  }
  Word(
    before: sign <> otp.prefix(digits, 1),
    after: trim_zeros(otp.drop_bytes(digits, 1)),
    exponent: power,
  )
}

fn two_digits(number: Int) -> String {
  let text = otp.int_to_string(number)
  zeros(2 - otp.byte_size(text)) <> text
}

fn positional_word(sign: String, float: Float, dtype: Dtype) -> Word {
  let #(_, magnitude) = digits(dtype, float, 17)
  let #(digits, exponent) =
    digits(dtype, float, larger(1, magnitude + decimals + 1))
  let #(before, after) = case exponent < 0 {
    True -> #("0", zeros(-1 - exponent) <> digits)
    False -> {
      let digits = digits <> zeros(exponent + 1 - otp.byte_size(digits))
      #(otp.prefix(digits, exponent + 1), otp.drop_bytes(digits, exponent + 1))
    }
  }
  Word(before: sign <> before, after: trim_zeros(after), exponent: "")
}

fn trim_zeros(digits: String) -> String {
  let shorter = otp.byte_size(digits) - 1
  case shorter >= 0 && otp.drop_bytes(digits, shorter) == "0" {
    True -> trim_zeros(otp.prefix(digits, shorter))
    False -> digits
  }
}

fn zeros(count: Int) -> String {
  otp.concat(otp.repeat("0", times: larger(0, count)))
}

fn pad_left(text: String, width: Int) -> String {
  let spaces = otp.repeat(" ", times: larger(0, width - otp.byte_size(text)))
  otp.concat(spaces) <> text
}
