//// Many elements become one: of the whole tensor, or along an axis.
////
//// Sums are in float64 whatever the element type. The total functions answer
//// 0.0 for an empty tensor (index 0, too), 0.0 for a NaN and the largest
//// float for an infinity; the checked ones say what is wrong.

import viva_tensor/kernel.{type Number, type Row}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/storage
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, EmptyTensor, InvalidArgument, Overflow,
}

pub fn sum(operand: Tensor) -> Float {
  whole(kernel.Sum, operand)
}

pub fn whole(op: Row, operand: Tensor) -> Float {
  case numbers(op, operand) {
    Ok([number]) -> kernel.clean_number(number)
    _ -> 0.0
  }
}

/// `EmptyTensor`, `NonFinite` with the index of the first such element, or
/// `Overflow` when finite elements give no finite result.
pub fn try_whole(
  op: Row,
  operand: Tensor,
  name: String,
) -> Result(Float, TensorError) {
  use _ <- otp.try(tensor.check_finite(operand, name))
  use numbers <- otp.try(numbers(op, operand))
  case numbers, op {
    [number], _ -> finite(number, name)
    _, kernel.Sum | _, kernel.SumOfSquares -> Ok(0.0)
    _, _ -> Error(EmptyTensor(name))
  }
}

fn finite(number: Number, name: String) -> Result(Float, TensorError) {
  case kernel.is_finite(number) {
    True -> Ok(kernel.clean_number(number))
    False -> Error(Overflow(name))
  }
}

/// One number, none for an empty tensor.
pub fn numbers(op: Row, operand: Tensor) -> Result(List(Number), TensorError) {
  case tensor.size(operand) {
    0 -> Ok([])
    size -> {
      let dtype = tensor.dtype(operand)
      storage.rows(op, dtype, kernel.Float64, tensor.elements(operand), size)
      |> storage.fetch
      |> otp.map_ok(kernel.unpack(kernel.Float64, _))
    }
  }
}

/// The square root of the mean of the squared deviations.
pub fn standard_deviation(operand: Tensor) -> Float {
  root(kernel.Variance, operand)
}

pub fn try_standard_deviation(operand: Tensor) -> Result(Float, TensorError) {
  try_whole(kernel.Variance, operand, "std") |> otp.map_ok(otp.square_root)
}

/// The square root of the sum of squares.
pub fn norm(operand: Tensor) -> Float {
  root(kernel.SumOfSquares, operand)
}

fn root(op: Row, operand: Tensor) -> Float {
  case numbers(op, operand) {
    Ok([number]) ->
      case kernel.is_finite(number) {
        True -> otp.square_root(kernel.clean_number(number))
        False -> kernel.clean_number(number)
      }
    _ -> 0.0
  }
}

pub fn try_norm(operand: Tensor) -> Result(Float, TensorError) {
  try_whole(kernel.SumOfSquares, operand, "norm")
  |> otp.map_ok(otp.square_root)
}

/// The first NaN's index, without one that of the first extreme.
pub fn argument(op: Row, operand: Tensor) -> Int {
  case numbers(op, operand) {
    Ok([index]) -> otp.round(kernel.clean_number(index))
    _ -> 0
  }
}

pub fn try_argument(
  op: Row,
  operand: Tensor,
  name: String,
) -> Result(Int, TensorError) {
  use _ <- otp.try(tensor.check_some(operand, name))
  use _ <- otp.try(tensor.check_finite(operand, name))
  use numbers <- otp.map_ok(numbers(op, operand))
  case numbers {
    [index] -> otp.round(kernel.clean_number(index))
    _ -> 0
  }
}

/// One result for each row along the axis, which goes. A NaN and an infinity
/// go through. Indices are float64, everything else is of the operand's type.
pub fn along(
  op: Row,
  operand: Tensor,
  axis: Int,
  name: String,
) -> Result(Tensor, TensorError) {
  use axis <- otp.try(shape.axis(tensor.shape(operand), axis))
  let length = shape.length(tensor.shape(operand), axis)
  let left = shape.delete(tensor.shape(operand), axis)
  let from = tensor.dtype(operand)
  let to = case op {
    kernel.Argmax | kernel.Argmin -> kernel.Float64
    _ -> from
  }
  case length, shape.size(left), op {
    _, 0, _ -> Ok(tensor.beside(tensor.new(left, to, <<>>), operand))
    0, _, kernel.Sum ->
      tensor.cast(tensor.fill(left, 0.0), to: to)
      |> tensor.beside(operand)
      |> tensor.check
    0, _, _ -> Error(EmptyTensor(name))
    _, _, _ -> {
      let #(operand, _) = tensor.with_last(operand, axis)
      storage.rows(op, from, to, tensor.elements(operand), length)
      |> tensor.made(left, to, _)
      |> tensor.check
    }
  }
}

/// As many results for each row along the axis.
pub fn within(
  op: Row,
  operand: Tensor,
  axis: Int,
) -> Result(Tensor, TensorError) {
  use axis <- otp.try(shape.axis(tensor.shape(operand), axis))
  let length = shape.length(tensor.shape(operand), axis)
  case tensor.size(operand) {
    0 -> Ok(operand)
    _ -> {
      let dtype = tensor.dtype(operand)
      let #(turned, back) = tensor.with_last(operand, axis)
      storage.rows(op, dtype, dtype, tensor.elements(turned), length)
      |> tensor.made(tensor.shape(turned), dtype, _)
      |> tensor.permute(back)
      |> otp.try(fn(result) { tensor.check(tensor.contiguous(result)) })
    }
  }
}

/// A number that is added under a root: 0.0 or more.
pub fn check_epsilon(epsilon: Float) -> Result(Nil, TensorError) {
  case epsilon >=. 0.0 {
    True -> Ok(Nil)
    False ->
      Error(InvalidArgument(
        argument: "epsilon",
        expected: "0.0 or more",
        found: otp.float_to_string(epsilon),
      ))
  }
}
