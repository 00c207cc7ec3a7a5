//// Operations on each element by itself. What IEEE 754 says holds: overflow
//// and a division by zero give an infinity, 0 / 0 a NaN.

import viva_tensor/kernel.{type Binary, type Unary}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/storage
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, InvalidArgument, ShapeMismatch,
}

/// Both of one shape.
pub fn binary(op: Binary, a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  case tensor.shape(a) == tensor.shape(b) {
    True -> apply(op, a, b)
    False ->
      Error(ShapeMismatch(expected: tensor.shape(a), got: tensor.shape(b)))
  }
}

/// Each stretched to the shape that both broadcast to.
pub fn binary_broadcast(
  op: Binary,
  a: Tensor,
  b: Tensor,
) -> Result(Tensor, TensorError) {
  use shape <- otp.try(shape.broadcast(tensor.shape(a), tensor.shape(b)))
  use a <- otp.try(tensor.broadcast(a, to: shape))
  use b <- otp.try(tensor.broadcast(b, to: shape))
  apply(op, a, b)
}

fn apply(op: Binary, a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  let dtype = tensor.common_dtype(a, b)
  let view = fn(operand) { tensor.view(tensor.cast(operand, to: dtype)) }
  use _ <- otp.try(tensor.check_together(a, b))
  storage.binary(op, dtype, tensor.shape(a), view(a), view(b))
  |> tensor.made(tensor.shape(a), dtype, _)
  |> tensor.check
}

pub fn unary(op: Unary, of operand: Tensor) -> Tensor {
  let dtype = tensor.dtype(operand)
  storage.unary(op, dtype, tensor.elements(operand))
  |> tensor.made(tensor.shape(operand), dtype, _)
}

/// A NaN and an infinity stay as they are: the function never sees one.
pub fn map(operand: Tensor, function: fn(Float) -> Float) -> Tensor {
  let dtype = tensor.dtype(operand)
  storage.map(function, dtype, tensor.elements(operand))
  |> tensor.made(tensor.shape(operand), dtype, _)
}

pub fn try_map(
  operand: Tensor,
  function: fn(Float) -> Float,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_finite(operand, "map"))
  tensor.check(map(operand, function))
}

/// A NaN stays one. With `low` above `high` everything is `high`.
pub fn clamp(operand: Tensor, low: Float, high: Float) -> Tensor {
  unary(kernel.Clamp(low:, high:), of: operand)
}

pub fn try_clamp(
  operand: Tensor,
  low: Float,
  high: Float,
) -> Result(Tensor, TensorError) {
  case low <=. high {
    True -> tensor.check(clamp(operand, low, high))
    False ->
      Error(InvalidArgument(
        argument: "min_val",
        expected: "at most max_val, " <> otp.float_to_string(high),
        found: otp.float_to_string(low),
      ))
  }
}
