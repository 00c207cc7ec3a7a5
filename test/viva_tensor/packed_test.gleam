//// Packed weights: the library, the BEAM and a GPU to the same bits, products
//// against float64, what is refused.

import support
import tensor_support.{everywhere, on, on_a_gpu, paths}
import viva_tensor as t
import viva_tensor/otp

type Prepack =
  fn(t.Tensor) -> Result(t.PackedWeight, t.TensorError)

type Linear =
  fn(t.Tensor, t.PackedWeight, t.Bias) -> Result(t.Tensor, t.TensorError)

/// Each format with its twin for [out, in], and its product.
fn formats() -> List(#(String, Prepack, Prepack, Linear)) {
  [
    #(
      "fp8",
      t.prepack_fp8_weight,
      t.prepack_fp8_weight_transposed,
      t.linear_fp8,
    ),
    #(
      "fp8 in blocks",
      t.prepack_fp8_weight_blocked(_, 16),
      t.prepack_fp8_weight_blocked_transposed(_, 16),
      t.linear_fp8_w8a16,
    ),
    #(
      "int8",
      t.prepack_int8_weight,
      t.prepack_int8_weight_transposed,
      t.linear_int8,
    ),
    #(
      "int4",
      t.prepack_int4_weight(_, 32),
      t.prepack_int4_weight_transposed(_, 32),
      t.linear_int4,
    ),
    #(
      "int8 2:4",
      t.prepack_int8_sparse_24_weight(_, t.Magnitude),
      t.prepack_int8_sparse_24_weight_transposed(_, t.Magnitude),
      t.linear_int8_sparse,
    ),
    #(
      "int4 2:4",
      t.prepack_int4_sparse_24_weight(_, t.Magnitude),
      t.prepack_int4_sparse_24_weight_transposed(_, t.Magnitude),
      t.linear_int4_sparse,
    ),
  ]
}

const inputs = 64

const outputs = 21

/// Random ones, one output of zeros, one with an outlier, one of subnormals.
fn weight() -> t.Tensor {
  let random = t.random_normal_seeded([outputs - 3, inputs], 0.0, 0.02, 5)
  let outlier =
    t.random_normal_seeded([1, inputs - 1], 0.0, 1.0e-4, 6)
    |> fn(rest) { t.concat([rest, t.fill([1, 1], 30.0)], 1) }
  let assert Ok(outlier) = outlier
  let tiny =
    t.scale(t.random_normal_seeded([1, inputs], 0.0, 1.0, 7), 1.0e-41)
  let zeros = t.fill([1, inputs], 0.0)
  let assert Ok(turned) = t.concat([random, outlier, tiny, zeros], 0)
  let assert Ok(weight) = t.transpose(turned)
  t.cast(weight, t.Float32)
}

pub fn every_path_packs_to_the_same_bits_test() {
  use #(name, prepack, prepack_transposed, _) <- support.each(formats())
  let assert Ok(turned) = t.transpose(weight())
  let pack = fn(path) {
    use <- on(path)
    let assert Ok(packed) = prepack(weight())
    let assert Ok(twin) = prepack_transposed(turned)
    let assert Ok(meaning) = t.unpack(packed)
    let assert Ok(same) = t.unpack(twin)
    assert #(name, t.to_binary(meaning)) == #(name, t.to_binary(same))
    let same = fn(info) { t.PackedInfo(..info, products: "", bytes: 0) }
    let info = same(t.packed_info(packed))
    assert info == same(t.packed_info(twin))
    #(t.to_binary(meaning), info)
  }
  let assert [first, ..others] = otp.map(paths(), pack)
  use other <- support.each(others)
  assert #(name, other) == #(name, first)
}

/// Rounded inputs are told apart by a first product with the unit matrix.
pub fn products_are_those_of_float64_test() {
  use #(name, prepack, _, linear) <- support.each(formats())
  use <- everywhere
  let input = t.random_normal_seeded([5, inputs], 0.0, 2.0, 8)
  let bias = t.random_normal_seeded([outputs], 0.0, 1.0, 9)
  let assert Ok(packed) = prepack(weight())
  let assert Ok(found) = linear(input, packed, t.Bias(bias))
  assert t.dtype(found) == t.Float32
  let assert Ok(meaning) = t.unpack(packed)
  let meaning = t.cast(meaning, t.Float64)
  let rounded = rounded(name, input)
  let assert Ok(product) = t.matmul(rounded, meaning)
  let assert Ok(sizes) = t.matmul(t.absolute(rounded), t.absolute(meaning))
  let assert Ok(exact) = t.add_broadcast(product, t.cast(bias, t.Float32))
  let assert Ok(difference) =
    t.sub(t.cast(found, t.Float64), t.cast(exact, t.Float64))
  // Two roundings a step of the chain and one each of input, bias and sum.
  let assert Ok(bound) =
    t.scale(sizes, 130.0 /. 16_777_216.0)
    |> t.add_broadcast(t.fill([1, 1], 1.0e-6))
  let assert Ok(within) = t.sub(bound, t.absolute(difference))
  assert #(name, t.min(within) >=. 0.0) == #(name, True)
}

/// What the rows of an input are rounded to, by the definition of each format.
fn rounded(name: String, input: t.Tensor) -> t.Tensor {
  let input = t.cast(input, t.Float32)
  let assert Ok(turned) = t.transpose(input)
  let packed = case name {
    "fp8" -> t.prepack_fp8_weight(turned)
    "int8" | "int8 2:4" | "int4 2:4" -> t.prepack_int8_weight(turned)
    _ -> Error(t.EmptyTensor("as it is"))
  }
  case packed {
    Error(_) -> t.cast(input, t.Float64)
    Ok(packed) -> {
      let assert Ok(turned) = t.unpack(packed)
      let assert Ok(rounded) = t.transpose(turned)
      t.cast(rounded, t.Float64)
    }
  }
}

pub fn two_of_four_is_exact_or_refused_test() {
  use <- everywhere
  let sparse = [0.0, 127.0, 0.0, -3.0, 5.0, 0.0, 0.0, 0.0]
  let assert Ok(weight) = t.matrix(8, 1, sparse)
  let assert Ok(packed) = t.prepack_int8_sparse_24_weight(weight, t.Exact)
  let assert Ok(meaning) = t.unpack(packed)
  assert t.to_list(meaning) == sparse
  let info = t.packed_info(packed)
  assert #(info.relative_error, info.largest_error, info.pruned)
    == #(0.0, 0.0, 0)
  let dense = [1.0, 127.0, 0.0, -3.0, 5.0, 0.0, 0.0, 0.0]
  let assert Ok(dense) = t.matrix(8, 1, dense)
  let assert Error(t.InvalidArgument(argument: "weight", ..)) =
    t.prepack_int8_sparse_24_weight(dense, t.Exact)
  let assert Ok(packed) = t.prepack_int8_sparse_24_weight(dense, t.Magnitude)
  assert t.packed_info(packed).pruned == 1
}

pub fn what_does_not_fit_is_refused_test() {
  use <- everywhere
  let assert Error(t.DimensionError(_)) = t.prepack_fp8_weight(t.ones([4]))
  let assert Error(t.InvalidArgument(..)) = t.prepack_fp8_weight(t.ones([0, 4]))
  let assert Error(t.InvalidArgument(..)) = t.prepack_int8_weight(t.ones([4, 0]))
  let assert Error(t.InvalidArgument(argument: "block", ..)) =
    t.prepack_fp8_weight_blocked(t.ones([4, 4]), 0)
  let assert Error(t.InvalidArgument(argument: "weight", ..)) =
    t.prepack_fp8_weight_blocked(t.ones([24, 4]), 16)
  let assert Error(t.InvalidArgument(argument: "group", ..)) =
    t.prepack_int4_weight(t.ones([48, 4]), 48)
  let assert Error(t.InvalidArgument(argument: "weight", ..)) =
    t.prepack_int8_sparse_24_weight(t.ones([12, 1]), t.Magnitude)
  let assert Ok(infinite) = t.div(t.ones([8, 1]), t.zeros([8, 1]))
  let assert Error(t.NonFinite(..)) = t.prepack_int8_weight(infinite)
  let assert Ok(infinite_row) = t.transpose(infinite)
  let assert Ok(packed) = t.prepack_int8_weight(t.ones([8, 2]))
  let assert Error(t.ShapeMismatch(expected: [1, 8], got: [1, 7])) =
    t.linear_int8(t.ones([1, 7]), packed, t.NoBias)
  let assert Error(t.ShapeMismatch(expected: [2], got: [3])) =
    t.linear_int8(t.ones([1, 8]), packed, t.Bias(t.ones([3])))
  let assert Error(t.InvalidArgument(argument: "linear_fp8", ..)) =
    t.linear_fp8(t.ones([1, 8]), packed, t.NoBias)
  let assert Error(t.NonFinite(..)) =
    t.linear_int8(infinite_row, packed, t.NoBias)
}

pub fn gelu_and_swiglu_are_what_their_parts_give_test() {
  use <- everywhere
  let input = t.random_normal_seeded([3, inputs], 0.0, 1.0, 1)
  let bias = t.random_normal_seeded([outputs], 0.0, 1.0, 2)
  let assert Ok(up) = t.prepack_fp8_weight(weight())
  let assert Ok(gate) =
    t.prepack_fp8_weight(t.random_normal_seeded([inputs, outputs], 0.0, 0.1, 3))
  let assert Ok(linear) = t.linear_fp8(input, up, t.Bias(bias))
  let assert Ok(found) = t.linear_gelu_fp8(input, up, t.Bias(bias))
  assert t.to_list(found) == t.to_list(t.gelu(linear))
  let assert Ok(a) = t.linear_fp8(input, gate, t.NoBias)
  let assert Ok(b) = t.linear_fp8(input, up, t.NoBias)
  let assert Ok(product) = t.mul(t.silu(a), b)
  let assert Ok(expected) = t.add_broadcast(product, bias)
  let assert Ok(found) = t.linear_swiglu_fp8(input, gate, up, t.Bias(bias))
  assert t.to_list(found) == t.to_list(expected)
}

fn there(tensor: t.Tensor) -> t.Tensor {
  let assert Ok(tensor) = t.to_device(tensor, t.Cuda(0))
  tensor
}

pub fn a_weight_on_a_gpu_is_packed_to_the_bits_of_the_host_test() {
  use <- on_a_gpu
  use #(name, prepack, prepack_transposed, _) <- support.each(formats())
  let assert Ok(turned) = t.transpose(weight())
  let assert Ok(here) = prepack(weight())
  let assert Ok(packed) = prepack(there(weight()))
  let assert Ok(twin) = prepack_transposed(there(turned))
  let assert Ok(expected) = t.unpack(here)
  let assert Ok(meaning) = t.unpack(packed)
  let assert Ok(same) = t.unpack(twin)
  assert #(name, t.device_of(meaning)) == #(name, t.Cuda(0))
  assert #(name, t.to_binary(meaning)) == #(name, t.to_binary(expected))
  assert #(name, t.to_binary(same)) == #(name, t.to_binary(expected))
  let info = t.packed_info(packed)
  assert #(name, info.device) == #(name, t.Cuda(0))
  let on_the_host = t.packed_info(here)
  let moved =
    t.PackedInfo(
      ..on_the_host,
      device: t.Cuda(0),
      products: info.products,
      bytes: info.bytes,
    )
  assert #(name, info) == #(name, moved)
}

/// Products of few rows and of many; operands are views, too.
pub fn products_on_a_gpu_stay_there_and_are_those_of_the_host_test() {
  use <- on_a_gpu
  use #(name, prepack, _, linear) <- support.each(formats())
  let assert Ok(packed) = prepack(there(weight()))
  let assert Ok(here) = prepack(weight())
  let assert Ok(meaning) = t.unpack(here)
  let many = t.random_normal_seeded([41, inputs], 0.0, 2.0, 8)
  let biases = t.random_normal_seeded([2, outputs], 0.0, 1.0, 9)
  use batch <- support.each([1, 5, 40])
  // Neither begins with its block.
  let slice = fn(tensor) { t.slice(tensor, [1, 0], [batch, inputs]) }
  let assert Ok(input) = slice(many)
  let assert Ok(input_there) = slice(there(many))
  let assert Ok(bias) = t.slice(biases, [1, 0], [1, outputs])
  let assert Ok(bias_there) = t.slice(there(biases), [1, 0], [1, outputs])
  let #(bias, bias_there) = #(t.flatten(bias), t.flatten(bias_there))
  let assert Ok(expected) = linear(input, here, t.Bias(bias))
  let assert Ok(found) = linear(input_there, packed, t.Bias(bias_there))
  assert #(name, t.device_of(found)) == #(name, t.Cuda(0))
  assert t.dtype(found) == t.Float32
  let assert Ok(sizes) =
    t.matmul(
      t.absolute(rounded(name, input)),
      t.absolute(t.cast(meaning, t.Float64)),
    )
  let assert Ok(found) = t.to_host(found)
  let assert Ok(difference) =
    t.sub(t.cast(found, t.Float64), t.cast(expected, t.Float64))
  let assert Ok(bound) =
    t.scale(sizes, share(name, batch))
    |> t.add_broadcast(t.fill([1, 1], 2.0e-6))
  let assert Ok(within) = t.sub(bound, t.absolute(difference))
  assert #(name, batch, t.min(within) >=. 0.0) == #(name, batch, True)
  // bfloat16 is read as it is.
  let half = t.cast(input_there, t.BFloat16)
  let assert Ok(of_half) = linear(half, packed, t.NoBias)
  let assert Ok(same) = linear(t.cast(half, t.Float32), packed, t.NoBias)
  assert #(name, t.to_binary(of_half)) == #(name, t.to_binary(same))
}

/// What both products may be off by, of the sum of the terms' magnitudes: two
/// roundings a step of two chains; of many rows what eight bits on tensor cores
/// lose, 32 products of which are added with 13 bits behind the point of the
/// largest, and what f16 loses of an input and a weight.
fn share(name: String, batch: Int) -> Float {
  let chains = 264.0 /. 16_777_216.0
  case name, batch > 8 {
    "fp8", True -> chains +. 99.0 /. 8192.0
    "fp8 in blocks", True | "int4", True -> chains +. 1.0 /. 512.0
    _, _ -> chains
  }
}

pub fn gelu_and_swiglu_on_a_gpu_are_what_their_parts_give_test() {
  use <- on_a_gpu
  let input = there(t.random_normal_seeded([3, inputs], 0.0, 1.0, 1))
  let bias = there(t.random_normal_seeded([outputs], 0.0, 1.0, 2))
  let assert Ok(up) = t.prepack_fp8_weight(there(weight()))
  let gate = t.random_normal_seeded([inputs, outputs], 0.0, 0.1, 3)
  let assert Ok(gate) = t.prepack_fp8_weight(there(gate))
  let assert Ok(linear) = t.linear_fp8(input, up, t.Bias(bias))
  let assert Ok(found) = t.linear_gelu_fp8(input, up, t.Bias(bias))
  assert t.to_list(found) == t.to_list(t.gelu(linear))
  let assert Ok(a) = t.linear_fp8(input, gate, t.NoBias)
  let assert Ok(b) = t.linear_fp8(input, up, t.NoBias)
  let assert Ok(product) = t.mul(t.silu(a), b)
  let assert Ok(expected) = t.add_broadcast(product, bias)
  let assert Ok(found) = t.linear_swiglu_fp8(input, gate, up, t.Bias(bias))
  assert t.device_of(found) == t.Cuda(0)
  assert t.to_list(found) == t.to_list(expected)
}

pub fn what_does_not_fit_on_a_gpu_is_refused_test() {
  use <- on_a_gpu
  let assert Ok(packed) = t.prepack_int8_weight(there(t.ones([8, 2])))
  let assert Ok(infinite) = t.div(t.ones([1, 8]), t.zeros([1, 8]))
  let assert Error(t.NonFinite(..)) =
    t.linear_int8(there(infinite), packed, t.NoBias)
  let assert Error(t.NonFinite(..)) = t.prepack_int8_weight(there(infinite))
  let assert Error(t.ShapeMismatch(expected: [1, 8], got: [1, 7])) =
    t.linear_int8(there(t.ones([1, 7])), packed, t.NoBias)
  let assert Error(t.ShapeMismatch(expected: [2], got: [3])) =
    t.linear_int8(there(t.ones([1, 8])), packed, t.Bias(there(t.ones([3]))))
  let assert Error(t.InvalidArgument(argument: "weight", ..)) =
    t.prepack_int8_sparse_24_weight(there(t.ones([8, 1])), t.Exact)
  let assert Ok(nothing) =
    t.linear_int8(there(t.zeros([0, 8])), packed, t.NoBias)
  assert t.shape(nothing) == [0, 2]
}
