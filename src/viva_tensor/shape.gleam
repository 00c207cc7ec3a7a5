//// Shapes: how many elements, how far apart, which axis, what they broadcast
//// to. Numbers only; no tensor here.

import viva_tensor/otp
import viva_tensor/tensor_error.{
  type TensorError, BroadcastError, DimensionError, IndexOutOfBounds,
  InvalidShape,
}

/// More elements than this are no tensor: they would not fit any machine's
/// memory, and asking the VM for them would end it.
pub const max_size = 68_719_476_736

/// The number of elements.
pub fn size(shape: List(Int)) -> Int {
  otp.fold(shape, from: 1, with: fn(size, length) { size * length })
}

/// Row-major: how many elements lie between neighbours along each axis.
pub fn strides(shape: List(Int)) -> List(Int) {
  let #(strides, _) = {
    use #(strides, step), length <- otp.fold(otp.reverse(shape), from: #([], 1))
    #([step, ..strides], step * length)
  }
  strides
}

/// Elements from which on it is asked whether the memory is there: a GiB of
/// float64. A VM that gets less than it wants ends.
const many = 134_217_728

@external(erlang, "viva_tensor_ffi", "free_bytes")
fn free_bytes() -> Int

/// The shape itself when a tensor can have it, and the memory holds as many
/// float64.
pub fn check(shape: List(Int)) -> Result(List(Int), TensorError) {
  let negative = otp.filter(shape, fn(length) { length < 0 })
  let size = size(shape)
  case negative {
    [] if size <= many -> Ok(shape)
    [] if size > max_size ->
      Error(InvalidShape(to_string(shape) <> " has too many elements"))
    [] -> {
      let free = free_bytes()
      case size * 8 <= free {
        True -> Ok(shape)
        False ->
          Error(InvalidShape(
            to_string(shape)
            <> " takes "
            <> otp.int_to_string(size * 8)
            <> " bytes, "
            <> otp.int_to_string(free)
            <> " are free",
          ))
      }
    }
    _ -> Error(InvalidShape(to_string(shape) <> " has a negative length"))
  }
}

/// A shape that a tensor can have: negative lengths are 0, and too many
/// elements are none.
pub fn or_empty(shape: List(Int)) -> List(Int) {
  let shape =
    otp.map(shape, fn(length) {
      case length < 0 {
        True -> 0
        False -> length
      }
    })
  case check(shape) {
    Ok(shape) -> shape
    Error(_) -> [0]
  }
}

/// Whether elements at these strides lie in row-major order with no gaps.
pub fn is_in_order(shape: List(Int), strides: List(Int)) -> Bool {
  case size(shape) {
    0 -> True
    _ -> lies_in_order(shape, strides)
  }
}

/// The stride of an axis of length 1 is never used.
fn lies_in_order(shape: List(Int), found: List(Int)) -> Bool {
  otp.zip(shape, otp.zip(found, strides(shape)))
  |> otp.filter(fn(axis) {
    let #(length, #(stride, expected)) = axis
    length != 1 && stride != expected
  })
  == []
}

/// "[2, 3]"
pub fn to_string(shape: List(Int)) -> String {
  "[" <> otp.join(otp.map(shape, otp.int_to_string), with: ", ") <> "]"
}

/// An axis counted from the front; a negative one counts from the end.
pub fn axis(shape: List(Int), axis: Int) -> Result(Int, TensorError) {
  let rank = otp.length(shape)
  let found = case axis < 0 {
    True -> axis + rank
    False -> axis
  }
  case found >= 0 && found < rank {
    True -> Ok(found)
    False ->
      Error(DimensionError(
        "expected an axis of "
        <> to_string(shape)
        <> ", found "
        <> otp.int_to_string(axis),
      ))
  }
}

/// A negative index counts from the end.
pub fn from_front(index: Int, length: Int) -> Result(Int, TensorError) {
  let found = case index < 0 {
    True -> index + length
    False -> index
  }
  case found >= 0 && found < length {
    True -> Ok(found)
    False -> Error(IndexOutOfBounds(index:, size: length))
  }
}

/// The length of an axis; 1 beyond the shape.
pub fn length(shape: List(Int), axis: Int) -> Int {
  case otp.drop(shape, axis) {
    [length, ..] if axis >= 0 -> length
    _ -> 1
  }
}

/// Without the value at `index`.
pub fn delete(list: List(a), index: Int) -> List(a) {
  otp.append(otp.take(list, index), otp.drop(list, index + 1))
}

/// With a value before the one at `index`.
pub fn insert(list: List(a), index: Int, value: a) -> List(a) {
  otp.append(otp.take(list, index), [value, ..otp.drop(list, index)])
}

/// With another value at `index`.
pub fn replace(list: List(a), index: Int, value: a) -> List(a) {
  otp.append(otp.take(list, index), [value, ..otp.drop(list, index + 1)])
}

/// The shape that both stretch to: aligned at the last axis, lengths of 1
/// stretch (NumPy's rule).
pub fn broadcast(a: List(Int), b: List(Int)) -> Result(List(Int), TensorError) {
  case broadcast_reversed(otp.reverse(a), otp.reverse(b), []) {
    Ok(shape) -> check(shape)
    Error(Nil) -> Error(BroadcastError(a, b))
  }
}

fn broadcast_reversed(
  a: List(Int),
  b: List(Int),
  done: List(Int),
) -> Result(List(Int), Nil) {
  case a, b {
    [], [] -> Ok(done)
    [length, ..a], [] -> broadcast_reversed(a, [], [length, ..done])
    [], [length, ..b] -> broadcast_reversed([], b, [length, ..done])
    [one, ..a], [other, ..b] if one == other || other == 1 ->
      broadcast_reversed(a, b, [one, ..done])
    [1, ..a], [other, ..b] -> broadcast_reversed(a, b, [other, ..done])
    _, _ -> Error(Nil)
  }
}

/// 0, 1, … below `count`.
pub fn range(count: Int) -> List(Int) {
  range_down(count - 1, [])
}

fn range_down(index: Int, done: List(Int)) -> List(Int) {
  case index < 0 {
    True -> done
    False -> range_down(index - 1, [index, ..done])
  }
}
