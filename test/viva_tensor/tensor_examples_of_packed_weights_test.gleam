//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import viva_tensor as t

pub fn prepack_fp8_weight_test() {
  // let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_fp8_weight(weight)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_fp8_weight(weight)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_fp8_weight_transposed_test() {
  // let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_fp8_weight_transposed(weight)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_fp8_weight_transposed(weight)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_fp8_weight_blocked_test() {
  // let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_fp8_weight_blocked(weight, 16)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_fp8_weight_blocked(weight, 16)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_fp8_weight_blocked_transposed_test() {
  // let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_fp8_weight_blocked_transposed(weight, 16)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_fp8_weight_blocked_transposed(weight, 16)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_int8_weight_test() {
  // let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_int8_weight(weight)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_int8_weight(weight)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_int8_weight_transposed_test() {
  // let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_int8_weight_transposed(weight)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_int8_weight_transposed(weight)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_int4_weight_test() {
  // let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_int4_weight(weight, 32)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([32, 2], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_int4_weight(weight, 32)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_int4_weight_transposed_test() {
  // let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  // let assert Ok(packed) = t.prepack_int4_weight_transposed(weight, 32)
  // t.packed_info(packed).in_features
  // // -> 32
  let weight = t.random_normal_seeded([2, 32], 0.0, 1.0, 7)
  let assert Ok(packed) = t.prepack_int4_weight_transposed(weight, 32)
  let value = t.packed_info(packed).in_features
  assert value == 32
}

pub fn prepack_int8_sparse_24_weight_test() {
  // let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  // let assert Ok(packed) = t.prepack_int8_sparse_24_weight(weight, t.Magnitude)
  // t.packed_info(packed).pruned
  // // -> 2
  let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  let assert Ok(packed) = t.prepack_int8_sparse_24_weight(weight, t.Magnitude)
  let value = t.packed_info(packed).pruned
  assert value == 2
}

pub fn prepack_int8_sparse_24_weight_transposed_test() {
  // let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  // let assert Ok(packed) = t.prepack_int8_sparse_24_weight_transposed(weight, t.Magnitude)
  // t.packed_info(packed).pruned
  // // -> 2
  let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  let assert Ok(packed) = t.prepack_int8_sparse_24_weight_transposed(weight, t.Magnitude)
  let value = t.packed_info(packed).pruned
  assert value == 2
}

pub fn prepack_int4_sparse_24_weight_test() {
  // let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  // let assert Ok(packed) = t.prepack_int4_sparse_24_weight(weight, t.Magnitude)
  // t.packed_info(packed).pruned
  // // -> 2
  let assert Ok(weight) = t.matrix(8, 1, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  let assert Ok(packed) = t.prepack_int4_sparse_24_weight(weight, t.Magnitude)
  let value = t.packed_info(packed).pruned
  assert value == 2
}

pub fn prepack_int4_sparse_24_weight_transposed_test() {
  // let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  // let assert Ok(packed) = t.prepack_int4_sparse_24_weight_transposed(weight, t.Magnitude)
  // t.packed_info(packed).pruned
  // // -> 2
  let assert Ok(weight) = t.matrix(1, 8, [4.0, 0.0, 0.0, 2.0, 1.0, 2.0, 3.0, 4.0])
  let assert Ok(packed) = t.prepack_int4_sparse_24_weight_transposed(weight, t.Magnitude)
  let value = t.packed_info(packed).pruned
  assert value == 2
}

pub fn linear_fp8_w8a16_test() {
  // let assert Ok(packed) = t.prepack_fp8_weight_blocked(t.ones([32, 2]), 16)
  // let assert Ok(product) = t.linear_fp8_w8a16(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [32.0, 32.0]
  let assert Ok(packed) = t.prepack_fp8_weight_blocked(t.ones([32, 2]), 16)
  let assert Ok(product) = t.linear_fp8_w8a16(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [32.0, 32.0]
}

pub fn linear_fp8_test() {
  // let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
  // let assert Ok(product) = t.linear_fp8(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [32.0, 32.0]
  let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
  let assert Ok(product) = t.linear_fp8(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [32.0, 32.0]
}

pub fn linear_int8_test() {
  // let assert Ok(packed) = t.prepack_int8_weight(t.ones([32, 2]))
  // let assert Ok(product) = t.linear_int8(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [32.0, 32.0]
  let assert Ok(packed) = t.prepack_int8_weight(t.ones([32, 2]))
  let assert Ok(product) = t.linear_int8(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [32.0, 32.0]
}

pub fn linear_int4_test() {
  // let assert Ok(packed) = t.prepack_int4_weight(t.ones([32, 2]), 32)
  // let assert Ok(product) = t.linear_int4(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [32.0, 32.0]
  let assert Ok(packed) = t.prepack_int4_weight(t.ones([32, 2]), 32)
  let assert Ok(product) = t.linear_int4(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [32.0, 32.0]
}

pub fn linear_int8_sparse_test() {
  // let assert Ok(packed) = t.prepack_int8_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
  // let assert Ok(product) = t.linear_int8_sparse(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [16.0, 16.0]
  let assert Ok(packed) = t.prepack_int8_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
  let assert Ok(product) = t.linear_int8_sparse(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [16.0, 16.0]
}

pub fn linear_int4_sparse_test() {
  // let assert Ok(packed) = t.prepack_int4_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
  // let assert Ok(product) = t.linear_int4_sparse(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(product)
  // // -> [16.0, 16.0]
  let assert Ok(packed) = t.prepack_int4_sparse_24_weight(t.ones([32, 2]), t.Magnitude)
  let assert Ok(product) = t.linear_int4_sparse(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(product)
  assert value == [16.0, 16.0]
}

pub fn linear_gelu_fp8_test() {
  // let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
  // let assert Ok(y) = t.linear_gelu_fp8(t.ones([1, 32]), packed, t.NoBias)
  // t.to_list(y)
  // // -> [32.0, 32.0]
  let assert Ok(packed) = t.prepack_fp8_weight(t.ones([32, 2]))
  let assert Ok(y) = t.linear_gelu_fp8(t.ones([1, 32]), packed, t.NoBias)
  let value = t.to_list(y)
  assert value == [32.0, 32.0]
}

pub fn linear_swiglu_fp8_test() {
  // let assert Ok(up) = t.prepack_fp8_weight(t.ones([32, 2]))
  // let assert Ok(gate) = t.prepack_fp8_weight(t.zeros([32, 2]))
  // let assert Ok(y) = t.linear_swiglu_fp8(t.ones([1, 32]), gate, up, t.NoBias)
  // t.to_list(y)
  // // -> [0.0, 0.0]
  let assert Ok(up) = t.prepack_fp8_weight(t.ones([32, 2]))
  let assert Ok(gate) = t.prepack_fp8_weight(t.zeros([32, 2]))
  let assert Ok(y) = t.linear_swiglu_fp8(t.ones([1, 32]), gate, up, t.NoBias)
  let value = t.to_list(y)
  assert value == [0.0, 0.0]
}

pub fn packed_info_test() {
  // let assert Ok(packed) = t.prepack_int4_weight(t.ones([64, 2]), 32)
  // t.packed_info(packed).scales
  // // -> "a scale for each 32 inputs of an output"
  let assert Ok(packed) = t.prepack_int4_weight(t.ones([64, 2]), 32)
  let value = t.packed_info(packed).scales
  assert value == "a scale for each 32 inputs of an output"
}

pub fn unpack_test() {
  // let assert Ok(weight) = t.matrix(2, 1, [127.0, 1.4])
  // let assert Ok(packed) = t.prepack_int8_weight(weight)
  // let assert Ok(unpacked) = t.unpack(packed)
  // t.to_list(unpacked)
  // // -> [127.0, 1.0]
  let assert Ok(weight) = t.matrix(2, 1, [127.0, 1.4])
  let assert Ok(packed) = t.prepack_int8_weight(weight)
  let assert Ok(unpacked) = t.unpack(packed)
  let value = t.to_list(unpacked)
  assert value == [127.0, 1.0]
}
