//// Tensors of random numbers, a function of seed and position alone: ChaCha20
//// with the seed as its key, one 64-bit word a number.

import viva_tensor/elementwise
import viva_tensor/kernel
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/tensor.{type Tensor}

/// A seed from the operating system.
@external(erlang, "viva_tensor_beam", "fresh_seed")
pub fn fresh_seed() -> Int

@external(erlang, "viva_tensor_beam", "random_uniform")
fn uniform_bytes(seed: Int, count: Int) -> BitArray

@external(erlang, "viva_tensor_beam", "random_normal")
fn normal_bytes(seed: Int, count: Int) -> BitArray

/// In [0, 1), float64.
pub fn uniform(shape: List(Int), seed: Int) -> Tensor {
  let shape = shape.or_empty(shape)
  tensor.new(shape, kernel.Float64, uniform_bytes(seed, shape.size(shape)))
}

/// Of a normal distribution, float64.
pub fn normal(shape: List(Int), mean: Float, std: Float, seed: Int) -> Tensor {
  let shape = shape.or_empty(shape)
  tensor.new(shape, kernel.Float64, normal_bytes(seed, shape.size(shape)))
  |> elementwise.unary(kernel.Scale(std), of: _)
  |> shift(mean)
}

/// [fan_out, fan_in], as `linear` takes weights: uniform in ±√(6 / (fan_in + fan_out)) (Glorot, Bengio 2010).
pub fn xavier(fan_in: Int, fan_out: Int, seed: Int) -> Tensor {
  let bound = root_of_ratio(6.0, fan_in + fan_out)
  uniform([fan_out, fan_in], seed)
  |> elementwise.unary(kernel.Scale(2.0 *. bound), of: _)
  |> shift(0.0 -. bound)
}

/// [fan_out, fan_in], normal with the standard deviation √(2 / fan_in) (He et al. 2015).
pub fn he(fan_in: Int, fan_out: Int, seed: Int) -> Tensor {
  normal([fan_out, fan_in], 0.0, root_of_ratio(2.0, fan_in), seed)
}

/// 0.0 for no inputs: then there is no element either.
fn root_of_ratio(above: Float, below: Int) -> Float {
  case below > 0 {
    True -> otp.square_root(above /. otp.int_to_float(below))
    False -> 0.0
  }
}

fn shift(operand: Tensor, by: Float) -> Tensor {
  case elementwise.binary_broadcast(kernel.Add, operand, tensor.fill([], by)) {
    Ok(shifted) -> shifted
    // No axes broadcast to any shape.
    Error(_) -> operand
  }
}
