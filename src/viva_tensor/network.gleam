//// What layers of neural networks compute: norms, attention, embeddings.

import viva_tensor/elementwise
import viva_tensor/kernel
import viva_tensor/linear_algebra
import viva_tensor/otp
import viva_tensor/reduction
import viva_tensor/shape
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{type TensorError, DimensionError, ShapeMismatch}

/// Along the last axis: mean 0 and variance 1, then times `weight`, plus
/// `bias`, both of the last axis' length (Ba, Kiros, Hinton 2016).
pub fn layer_norm(
  input: Tensor,
  weight: Tensor,
  bias: Tensor,
  epsilon: Float,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(reduction.check_epsilon(epsilon))
  use _ <- otp.try(check_row(input, weight))
  use _ <- otp.try(check_row(input, bias))
  use normal <- otp.try(reduction.within(kernel.LayerNorm(epsilon), input, -1))
  use scaled <- otp.try(elementwise.binary_broadcast(
    kernel.Multiply,
    normal,
    weight,
  ))
  elementwise.binary_broadcast(kernel.Add, scaled, bias)
}

/// Along the last axis: divided by the root of the mean square, then times
/// `weight` (Zhang, Sennrich 2019).
pub fn rms_norm(
  input: Tensor,
  weight: Tensor,
  epsilon: Float,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(reduction.check_epsilon(epsilon))
  use _ <- otp.try(check_row(input, weight))
  use normal <- otp.try(reduction.within(kernel.RmsNorm(epsilon), input, -1))
  elementwise.binary_broadcast(kernel.Multiply, normal, weight)
}

fn check_row(input: Tensor, row: Tensor) -> Result(Nil, TensorError) {
  case otp.reverse(tensor.shape(input)), tensor.shape(row) {
    [], _ -> Error(DimensionError("expected 1 axis or more, found none"))
    [width, ..], [found] if width == found -> Ok(Nil)
    [width, ..], got -> Error(ShapeMismatch(expected: [width], got:))
  }
}

/// x Wᵀ + b: [.., I], [O, I], [O] -> [.., O].
pub fn linear(
  input: Tensor,
  weight: Tensor,
  bias: Tensor,
) -> Result(Tensor, TensorError) {
  use product <- otp.try(linear_algebra.project(input, weight))
  use _ <- otp.try(check_row(product, bias))
  elementwise.binary_broadcast(kernel.Add, product, bias)
}

/// The rows of [V, D] with these ids: [ids, D].
pub fn embedding(table: Tensor, ids: List(Int)) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(table, 2, "embedding"))
  let vocabulary = shape.length(tensor.shape(table), 0)
  let bad = otp.filter(ids, fn(id) { id < 0 || id >= vocabulary })
  case bad {
    [] -> tensor.gather(table, 0, ids)
    [index, ..] ->
      Error(tensor_error.IndexOutOfBounds(index:, size: vocabulary))
  }
}

/// softmax(q kᵀ / √HD + mask) v (Vaswani et al. 2017): [.., T, HD],
/// [.., S, HD], [.., S, HV] -> [.., T, HV]. The mask is added to the scores, so
/// it broadcasts to [.., T, S].
pub fn attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  mask: Result(Tensor, Nil),
) -> Result(Tensor, TensorError) {
  use turned <- otp.try(turn(key))
  use scores <- otp.try(linear_algebra.batch_matmul(query, turned))
  let width = shape.length(tensor.shape(query), tensor.rank(query) - 1)
  let factor = case width {
    0 -> 1.0
    _ -> 1.0 /. otp.square_root(otp.int_to_float(width))
  }
  let scores = elementwise.unary(kernel.Scale(factor), of: scores)
  use scores <- otp.try(case mask {
    Ok(mask) -> masked(scores, mask)
    Error(Nil) -> Ok(scores)
  })
  use weights <- otp.try(reduction.within(kernel.Softmax, scores, -1))
  linear_algebra.batch_matmul(weights, value)
}

fn masked(scores: Tensor, mask: Tensor) -> Result(Tensor, TensorError) {
  use mask <- otp.try(tensor.broadcast(mask, to: tensor.shape(scores)))
  elementwise.binary(kernel.Add, scores, mask)
}

/// With the last two axes exchanged.
fn turn(operand: Tensor) -> Result(Tensor, TensorError) {
  let rank = tensor.rank(operand)
  case rank < 2 {
    True ->
      Error(DimensionError(
        "attention: expected 2 axes or more, found the shape "
        <> shape.to_string(tensor.shape(operand)),
      ))
    False -> {
      let batch = shape.range(rank - 2)
      tensor.permute(operand, otp.append(batch, [rank - 1, rank - 2]))
    }
  }
}
