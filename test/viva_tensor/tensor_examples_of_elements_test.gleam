//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import viva_tensor as t

pub fn zeros_test() {
  // t.to_list(t.zeros([2, 2]))
  // // -> [0.0, 0.0, 0.0, 0.0]
  let value = t.to_list(t.zeros([2, 2]))
  assert value == [0.0, 0.0, 0.0, 0.0]
}

pub fn try_zeros_test() {
  // t.try_zeros([-1])
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  let value = t.try_zeros([-1])
  assert value == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn ones_test() {
  // t.to_list(t.ones([2]))
  // // -> [1.0, 1.0]
  let value = t.to_list(t.ones([2]))
  assert value == [1.0, 1.0]
}

pub fn try_ones_test() {
  // t.try_ones([2])
  // // -> Ok(t.vector([1.0, 1.0]))
  let value = t.try_ones([2])
  assert value == Ok(t.vector([1.0, 1.0]))
}

pub fn fill_test() {
  // t.to_list(t.fill([3], 0.5))
  // // -> [0.5, 0.5, 0.5]
  let value = t.to_list(t.fill([3], 0.5))
  assert value == [0.5, 0.5, 0.5]
}

pub fn try_fill_test() {
  // t.try_fill([1], 0.5)
  // // -> Ok(t.vector([0.5]))
  let value = t.try_fill([1], 0.5)
  assert value == Ok(t.vector([0.5]))
}

pub fn from_list_test() {
  // t.shape(t.from_list([1.0, 2.0]))
  // // -> [2]
  let value = t.shape(t.from_list([1.0, 2.0]))
  assert value == [2]
}

pub fn from_list2d_test() {
  // let assert Ok(m) = t.from_list2d([[1.0, 2.0], [3.0, 4.0]])
  // t.shape(m)
  // // -> [2, 2]
  let assert Ok(m) = t.from_list2d([[1.0, 2.0], [3.0, 4.0]])
  let value = t.shape(m)
  assert value == [2, 2]
}

pub fn vector_test() {
  // t.to_list(t.vector([1.0, 2.0]))
  // // -> [1.0, 2.0]
  let value = t.to_list(t.vector([1.0, 2.0]))
  assert value == [1.0, 2.0]
}

pub fn matrix_test() {
  // let assert Ok(m) = t.matrix(1, 2, [1.0, 2.0])
  // t.to_list(m)
  // // -> [1.0, 2.0]
  let assert Ok(m) = t.matrix(1, 2, [1.0, 2.0])
  let value = t.to_list(m)
  assert value == [1.0, 2.0]
}

pub fn random_uniform_test() {
  // t.shape(t.random_uniform([2, 3]))
  // // -> [2, 3]
  let value = t.shape(t.random_uniform([2, 3]))
  assert value == [2, 3]
}

pub fn try_random_uniform_test() {
  // t.try_random_uniform([-1])
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  let value = t.try_random_uniform([-1])
  assert value == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn random_uniform_seeded_test() {
  // t.random_uniform_seeded([2], 42) == t.random_uniform_seeded([2], 42)
  // // -> True
  let value = t.random_uniform_seeded([2], 42) == t.random_uniform_seeded([2], 42)
  assert value == True
}

pub fn random_normal_test() {
  // t.shape(t.random_normal([4], 0.0, 1.0))
  // // -> [4]
  let value = t.shape(t.random_normal([4], 0.0, 1.0))
  assert value == [4]
}

pub fn try_random_normal_test() {
  // t.try_random_normal([-1], 0.0, 1.0)
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  let value = t.try_random_normal([-1], 0.0, 1.0)
  assert value == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn random_normal_seeded_test() {
  // let a = t.random_normal_seeded([2], 0.0, 1.0, 7)
  // a == t.random_normal_seeded([2], 0.0, 1.0, 7)
  // // -> True
  let a = t.random_normal_seeded([2], 0.0, 1.0, 7)
  let value = a == t.random_normal_seeded([2], 0.0, 1.0, 7)
  assert value == True
}

pub fn xavier_init_test() {
  // t.shape(t.xavier_init(3, 2))
  // // -> [2, 3]
  let value = t.shape(t.xavier_init(3, 2))
  assert value == [2, 3]
}

pub fn try_xavier_init_test() {
  // t.try_xavier_init(-3, 2)
  // // -> Error(t.InvalidShape("[2, -3] has a negative length"))
  let value = t.try_xavier_init(-3, 2)
  assert value == Error(t.InvalidShape("[2, -3] has a negative length"))
}

pub fn xavier_init_seeded_test() {
  // t.shape(t.xavier_init_seeded(3, 2, 1))
  // // -> [2, 3]
  let value = t.shape(t.xavier_init_seeded(3, 2, 1))
  assert value == [2, 3]
}

pub fn he_init_test() {
  // t.shape(t.he_init(3, 2))
  // // -> [2, 3]
  let value = t.shape(t.he_init(3, 2))
  assert value == [2, 3]
}

pub fn try_he_init_test() {
  // t.try_he_init(-3, 2)
  // // -> Error(t.InvalidShape("[2, -3] has a negative length"))
  let value = t.try_he_init(-3, 2)
  assert value == Error(t.InvalidShape("[2, -3] has a negative length"))
}

pub fn he_init_seeded_test() {
  // t.shape(t.he_init_seeded(3, 2, 1))
  // // -> [2, 3]
  let value = t.shape(t.he_init_seeded(3, 2, 1))
  assert value == [2, 3]
}

pub fn add_test() {
  // let assert Ok(c) = t.add(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [4.0, 6.0]
  let assert Ok(c) = t.add(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  let value = t.to_list(c)
  assert value == [4.0, 6.0]
}

pub fn sub_test() {
  // let assert Ok(c) = t.sub(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [-2.0, -2.0]
  let assert Ok(c) = t.sub(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  let value = t.to_list(c)
  assert value == [-2.0, -2.0]
}

pub fn mul_test() {
  // let assert Ok(c) = t.mul(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [3.0, 8.0]
  let assert Ok(c) = t.mul(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  let value = t.to_list(c)
  assert value == [3.0, 8.0]
}

pub fn div_test() {
  // let assert Ok(c) = t.div(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [0.3333333333333333, 0.5]
  let assert Ok(c) = t.div(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  let value = t.to_list(c)
  assert value == [0.3333333333333333, 0.5]
}

pub fn scale_test() {
  // t.to_list(t.scale(t.vector([1.0, 2.0]), 3.0))
  // // -> [3.0, 6.0]
  let value = t.to_list(t.scale(t.vector([1.0, 2.0]), 3.0))
  assert value == [3.0, 6.0]
}

pub fn try_scale_test() {
  // t.try_scale(t.vector([1.0e300]), 1.0e300)
  // // -> Error(t.Overflow("scale"))
  let value = t.try_scale(t.vector([1.0e300]), 1.0e300)
  assert value == Error(t.Overflow("scale"))
}

pub fn try_finite_test() {
  // t.try_finite(t.exp(t.vector([0.0, 1000.0])))
  // // -> Error(t.NonFinite("try_finite", 1))
  let value = t.try_finite(t.exp(t.vector([0.0, 1000.0])))
  assert value == Error(t.NonFinite("try_finite", 1))
}

pub fn map_test() {
  // t.to_list(t.map(t.vector([1.0, 2.0]), fn(x) { x +. 1.0 }))
  // // -> [2.0, 3.0]
  let value = t.to_list(t.map(t.vector([1.0, 2.0]), fn(x) { x +. 1.0 }))
  assert value == [2.0, 3.0]
}

pub fn try_map_test() {
  // t.try_map(t.vector([1.0]), fn(x) { x +. 1.0 })
  // // -> Ok(t.vector([2.0]))
  let value = t.try_map(t.vector([1.0]), fn(x) { x +. 1.0 })
  assert value == Ok(t.vector([2.0]))
}

pub fn normalize_test() {
  // t.to_list(t.normalize(t.vector([3.0, 4.0])))
  // // -> [0.6, 0.8]
  let value = t.to_list(t.normalize(t.vector([3.0, 4.0])))
  assert value == [0.6, 0.8]
}

pub fn try_normalize_test() {
  // t.try_normalize(t.vector([3.0, 4.0]))
  // // -> Ok(t.vector([0.6, 0.8]))
  let value = t.try_normalize(t.vector([3.0, 4.0]))
  assert value == Ok(t.vector([0.6, 0.8]))
}

pub fn clamp_test() {
  // t.to_list(t.clamp(t.vector([-2.0, 0.5, 2.0]), 0.0, 1.0))
  // // -> [0.0, 0.5, 1.0]
  let value = t.to_list(t.clamp(t.vector([-2.0, 0.5, 2.0]), 0.0, 1.0))
  assert value == [0.0, 0.5, 1.0]
}

pub fn try_clamp_test() {
  // t.try_clamp(t.vector([2.0]), 0.0, 1.0)
  // // -> Ok(t.vector([1.0]))
  let value = t.try_clamp(t.vector([2.0]), 0.0, 1.0)
  assert value == Ok(t.vector([1.0]))
}

pub fn negate_test() {
  // t.to_list(t.negate(t.vector([1.0, -2.0])))
  // // -> [-1.0, 2.0]
  let value = t.to_list(t.negate(t.vector([1.0, -2.0])))
  assert value == [-1.0, 2.0]
}

pub fn absolute_test() {
  // t.to_list(t.absolute(t.vector([1.0, -2.0])))
  // // -> [1.0, 2.0]
  let value = t.to_list(t.absolute(t.vector([1.0, -2.0])))
  assert value == [1.0, 2.0]
}

pub fn exp_test() {
  // t.to_list(t.exp(t.vector([0.0])))
  // // -> [1.0]
  let value = t.to_list(t.exp(t.vector([0.0])))
  assert value == [1.0]
}

pub fn log_test() {
  // t.to_list(t.log(t.vector([1.0])))
  // // -> [0.0]
  let value = t.to_list(t.log(t.vector([1.0])))
  assert value == [0.0]
}

pub fn sqrt_test() {
  // t.to_list(t.sqrt(t.vector([4.0, 9.0])))
  // // -> [2.0, 3.0]
  let value = t.to_list(t.sqrt(t.vector([4.0, 9.0])))
  assert value == [2.0, 3.0]
}

pub fn tanh_test() {
  // t.to_list(t.tanh(t.vector([0.0])))
  // // -> [0.0]
  let value = t.to_list(t.tanh(t.vector([0.0])))
  assert value == [0.0]
}

pub fn sigmoid_test() {
  // t.to_list(t.sigmoid(t.vector([0.0])))
  // // -> [0.5]
  let value = t.to_list(t.sigmoid(t.vector([0.0])))
  assert value == [0.5]
}

pub fn relu_test() {
  // t.to_list(t.relu(t.vector([-1.0, 2.0])))
  // // -> [0.0, 2.0]
  let value = t.to_list(t.relu(t.vector([-1.0, 2.0])))
  assert value == [0.0, 2.0]
}

pub fn silu_test() {
  // t.to_list(t.silu(t.vector([0.0])))
  // // -> [0.0]
  let value = t.to_list(t.silu(t.vector([0.0])))
  assert value == [0.0]
}

pub fn gelu_test() {
  // t.to_list(t.gelu(t.vector([0.0])))
  // // -> [0.0]
  let value = t.to_list(t.gelu(t.vector([0.0])))
  assert value == [0.0]
}

pub fn gelu_tanh_test() {
  // t.to_list(t.gelu_tanh(t.vector([0.0])))
  // // -> [0.0]
  let value = t.to_list(t.gelu_tanh(t.vector([0.0])))
  assert value == [0.0]
}

pub fn can_broadcast_test() {
  // t.can_broadcast([2, 3], [3])
  // // -> True
  let value = t.can_broadcast([2, 3], [3])
  assert value == True
}

pub fn add_broadcast_test() {
  // let assert Ok(c) = t.add_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [11.0, 12.0]
  let assert Ok(c) = t.add_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  let value = t.to_list(c)
  assert value == [11.0, 12.0]
}

pub fn sub_broadcast_test() {
  // let assert Ok(c) = t.sub_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [-9.0, -8.0]
  let assert Ok(c) = t.sub_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  let value = t.to_list(c)
  assert value == [-9.0, -8.0]
}

pub fn mul_broadcast_test() {
  // let assert Ok(c) = t.mul_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [10.0, 20.0]
  let assert Ok(c) = t.mul_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  let value = t.to_list(c)
  assert value == [10.0, 20.0]
}

pub fn div_broadcast_test() {
  // let assert Ok(c) = t.div_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [0.1, 0.2]
  let assert Ok(c) = t.div_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  let value = t.to_list(c)
  assert value == [0.1, 0.2]
}

pub fn sum_test() {
  // t.sum(t.vector([1.0, 2.0, 3.0]))
  // // -> 6.0
  let value = t.sum(t.vector([1.0, 2.0, 3.0]))
  assert value == 6.0
}

pub fn try_sum_test() {
  // t.try_sum(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(6.0)
  let value = t.try_sum(t.vector([1.0, 2.0, 3.0]))
  assert value == Ok(6.0)
}

pub fn mean_test() {
  // t.mean(t.vector([1.0, 2.0, 3.0]))
  // // -> 2.0
  let value = t.mean(t.vector([1.0, 2.0, 3.0]))
  assert value == 2.0
}

pub fn try_mean_test() {
  // t.try_mean(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(2.0)
  let value = t.try_mean(t.vector([1.0, 2.0, 3.0]))
  assert value == Ok(2.0)
}

pub fn max_test() {
  // t.max(t.vector([1.0, 2.0, 3.0]))
  // // -> 3.0
  let value = t.max(t.vector([1.0, 2.0, 3.0]))
  assert value == 3.0
}

pub fn try_max_test() {
  // t.try_max(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(3.0)
  let value = t.try_max(t.vector([1.0, 2.0, 3.0]))
  assert value == Ok(3.0)
}

pub fn min_test() {
  // t.min(t.vector([1.0, 2.0, 3.0]))
  // // -> 1.0
  let value = t.min(t.vector([1.0, 2.0, 3.0]))
  assert value == 1.0
}

pub fn try_min_test() {
  // t.try_min(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(1.0)
  let value = t.try_min(t.vector([1.0, 2.0, 3.0]))
  assert value == Ok(1.0)
}

pub fn variance_test() {
  // t.variance(t.vector([1.0, 3.0]))
  // // -> 1.0
  let value = t.variance(t.vector([1.0, 3.0]))
  assert value == 1.0
}

pub fn try_variance_test() {
  // t.try_variance(t.vector([]))
  // // -> Error(t.EmptyTensor("variance"))
  let value = t.try_variance(t.vector([]))
  assert value == Error(t.EmptyTensor("variance"))
}

pub fn std_test() {
  // t.std(t.vector([1.0, 3.0]))
  // // -> 1.0
  let value = t.std(t.vector([1.0, 3.0]))
  assert value == 1.0
}

pub fn try_std_test() {
  // t.try_std(t.vector([1.0, 3.0]))
  // // -> Ok(1.0)
  let value = t.try_std(t.vector([1.0, 3.0]))
  assert value == Ok(1.0)
}

pub fn norm_test() {
  // t.norm(t.vector([3.0, 4.0]))
  // // -> 5.0
  let value = t.norm(t.vector([3.0, 4.0]))
  assert value == 5.0
}

pub fn try_norm_test() {
  // t.try_norm(t.vector([1.0e200]))
  // // -> Error(t.Overflow("norm"))
  let value = t.try_norm(t.vector([1.0e200]))
  assert value == Error(t.Overflow("norm"))
}

pub fn argmax_test() {
  // t.argmax(t.vector([1.0, 3.0, 2.0]))
  // // -> 1
  let value = t.argmax(t.vector([1.0, 3.0, 2.0]))
  assert value == 1
}

pub fn try_argmax_test() {
  // t.try_argmax(t.vector([]))
  // // -> Error(t.EmptyTensor("argmax"))
  let value = t.try_argmax(t.vector([]))
  assert value == Error(t.EmptyTensor("argmax"))
}

pub fn argmin_test() {
  // t.argmin(t.vector([1.0, 3.0, 2.0]))
  // // -> 0
  let value = t.argmin(t.vector([1.0, 3.0, 2.0]))
  assert value == 0
}

pub fn try_argmin_test() {
  // t.try_argmin(t.vector([]))
  // // -> Error(t.EmptyTensor("argmin"))
  let value = t.try_argmin(t.vector([]))
  assert value == Error(t.EmptyTensor("argmin"))
}

pub fn sum_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.sum_axis(m, 1)
  // t.to_list(row)
  // // -> [3.0, 7.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.sum_axis(m, 1)
  let value = t.to_list(row)
  assert value == [3.0, 7.0]
}

pub fn mean_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.mean_axis(m, 1)
  // t.to_list(row)
  // // -> [1.5, 3.5]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.mean_axis(m, 1)
  let value = t.to_list(row)
  assert value == [1.5, 3.5]
}

pub fn variance_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.variance_axis(m, 1)
  // t.to_list(row)
  // // -> [0.25, 0.25]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.variance_axis(m, 1)
  let value = t.to_list(row)
  assert value == [0.25, 0.25]
}

pub fn max_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.max_axis(m, 1)
  // t.to_list(row)
  // // -> [2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.max_axis(m, 1)
  let value = t.to_list(row)
  assert value == [2.0, 4.0]
}

pub fn min_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.min_axis(m, 1)
  // t.to_list(row)
  // // -> [1.0, 3.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.min_axis(m, 1)
  let value = t.to_list(row)
  assert value == [1.0, 3.0]
}

pub fn argmax_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.argmax_axis(m, 1)
  // t.to_list(row)
  // // -> [1.0, 1.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.argmax_axis(m, 1)
  let value = t.to_list(row)
  assert value == [1.0, 1.0]
}

pub fn argmin_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.argmin_axis(m, 1)
  // t.to_list(row)
  // // -> [0.0, 0.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.argmin_axis(m, 1)
  let value = t.to_list(row)
  assert value == [0.0, 0.0]
}
