//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import support
import viva_tensor as t

pub fn zeros_test() {
  // t.to_list(t.zeros([2, 2]))
  // // -> [0.0, 0.0, 0.0, 0.0]
  assert { t.to_list(t.zeros([2, 2])) }
    == [0.0, 0.0, 0.0, 0.0]
}

pub fn try_zeros_test() {
  // t.try_zeros([-1])
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  assert { t.try_zeros([-1]) }
    == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn ones_test() {
  // t.to_list(t.ones([2]))
  // // -> [1.0, 1.0]
  assert { t.to_list(t.ones([2])) }
    == [1.0, 1.0]
}

pub fn try_ones_test() {
  // t.try_ones([2])
  // // -> Ok(t.vector([1.0, 1.0]))
  assert { t.try_ones([2]) }
    == Ok(t.vector([1.0, 1.0]))
}

pub fn fill_test() {
  // t.to_list(t.fill([3], 0.5))
  // // -> [0.5, 0.5, 0.5]
  assert { t.to_list(t.fill([3], 0.5)) }
    == [0.5, 0.5, 0.5]
}

pub fn try_fill_test() {
  // t.try_fill([1], 0.5)
  // // -> Ok(t.vector([0.5]))
  assert { t.try_fill([1], 0.5) }
    == Ok(t.vector([0.5]))
}

pub fn from_list_test() {
  // t.shape(t.from_list([1.0, 2.0]))
  // // -> [2]
  assert { t.shape(t.from_list([1.0, 2.0])) }
    == [2]
}

pub fn from_list2d_test() {
  // let assert Ok(m) = t.from_list2d([[1.0, 2.0], [3.0, 4.0]])
  // t.shape(m)
  // // -> [2, 2]
  let assert Ok(m) = t.from_list2d([[1.0, 2.0], [3.0, 4.0]])
  assert { t.shape(m) }
    == [2, 2]
}

pub fn vector_test() {
  // t.to_list(t.vector([1.0, 2.0]))
  // // -> [1.0, 2.0]
  assert { t.to_list(t.vector([1.0, 2.0])) }
    == [1.0, 2.0]
}

pub fn matrix_test() {
  // let assert Ok(m) = t.matrix(1, 2, [1.0, 2.0])
  // t.to_list(m)
  // // -> [1.0, 2.0]
  let assert Ok(m) = t.matrix(1, 2, [1.0, 2.0])
  assert { t.to_list(m) }
    == [1.0, 2.0]
}

pub fn random_uniform_test() {
  // t.shape(t.random_uniform([2, 3]))
  // // -> [2, 3]
  assert { t.shape(t.random_uniform([2, 3])) }
    == [2, 3]
}

pub fn try_random_uniform_test() {
  // t.try_random_uniform([-1])
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  assert { t.try_random_uniform([-1]) }
    == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn random_uniform_seeded_test() {
  // t.random_uniform_seeded([2], 42) == t.random_uniform_seeded([2], 42)
  // // -> True
  assert { t.random_uniform_seeded([2], 42) == t.random_uniform_seeded([2], 42) }
    == True
}

pub fn random_normal_test() {
  // t.shape(t.random_normal([4], 0.0, 1.0))
  // // -> [4]
  assert { t.shape(t.random_normal([4], 0.0, 1.0)) }
    == [4]
}

pub fn try_random_normal_test() {
  // t.try_random_normal([-1], 0.0, 1.0)
  // // -> Error(t.InvalidShape("[-1] has a negative length"))
  assert { t.try_random_normal([-1], 0.0, 1.0) }
    == Error(t.InvalidShape("[-1] has a negative length"))
}

pub fn random_normal_seeded_test() {
  // let a = t.random_normal_seeded([2], 0.0, 1.0, 7)
  // a == t.random_normal_seeded([2], 0.0, 1.0, 7)
  // // -> True
  let a = t.random_normal_seeded([2], 0.0, 1.0, 7)
  assert { a == t.random_normal_seeded([2], 0.0, 1.0, 7) }
    == True
}

pub fn xavier_init_test() {
  // t.shape(t.xavier_init(3, 2))
  // // -> [3, 2]
  assert { t.shape(t.xavier_init(3, 2)) }
    == [3, 2]
}

pub fn try_xavier_init_test() {
  // t.try_xavier_init(-3, 2)
  // // -> Error(t.InvalidShape("[-3, 2] has a negative length"))
  assert { t.try_xavier_init(-3, 2) }
    == Error(t.InvalidShape("[-3, 2] has a negative length"))
}

pub fn xavier_init_seeded_test() {
  // t.shape(t.xavier_init_seeded(3, 2, 1))
  // // -> [3, 2]
  assert { t.shape(t.xavier_init_seeded(3, 2, 1)) }
    == [3, 2]
}

pub fn he_init_test() {
  // t.shape(t.he_init(3, 2))
  // // -> [3, 2]
  assert { t.shape(t.he_init(3, 2)) }
    == [3, 2]
}

pub fn try_he_init_test() {
  // t.try_he_init(-3, 2)
  // // -> Error(t.InvalidShape("[-3, 2] has a negative length"))
  assert { t.try_he_init(-3, 2) }
    == Error(t.InvalidShape("[-3, 2] has a negative length"))
}

pub fn he_init_seeded_test() {
  // t.shape(t.he_init_seeded(3, 2, 1))
  // // -> [3, 2]
  assert { t.shape(t.he_init_seeded(3, 2, 1)) }
    == [3, 2]
}

pub fn add_test() {
  // let assert Ok(c) = t.add(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [4.0, 6.0]
  let assert Ok(c) = t.add(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert { t.to_list(c) }
    == [4.0, 6.0]
}

pub fn sub_test() {
  // let assert Ok(c) = t.sub(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [-2.0, -2.0]
  let assert Ok(c) = t.sub(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert { t.to_list(c) }
    == [-2.0, -2.0]
}

pub fn mul_test() {
  // let assert Ok(c) = t.mul(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [3.0, 8.0]
  let assert Ok(c) = t.mul(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert { t.to_list(c) }
    == [3.0, 8.0]
}

pub fn div_test() {
  // let assert Ok(c) = t.div(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(c)
  // // -> [0.3333333333333333, 0.5]
  let assert Ok(c) = t.div(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert { t.to_list(c) }
    == [0.3333333333333333, 0.5]
}

pub fn scale_test() {
  // t.to_list(t.scale(t.vector([1.0, 2.0]), 3.0))
  // // -> [3.0, 6.0]
  assert { t.to_list(t.scale(t.vector([1.0, 2.0]), 3.0)) }
    == [3.0, 6.0]
}

pub fn map_test() {
  // t.to_list(t.map(t.vector([1.0, 2.0]), fn(x) { x +. 1.0 }))
  // // -> [2.0, 3.0]
  assert { t.to_list(t.map(t.vector([1.0, 2.0]), fn(x) { x +. 1.0 })) }
    == [2.0, 3.0]
}

pub fn try_map_test() {
  // t.try_map(t.vector([1.0]), fn(x) { x +. 1.0 })
  // // -> Ok(t.vector([2.0]))
  assert { t.try_map(t.vector([1.0]), fn(x) { x +. 1.0 }) }
    == Ok(t.vector([2.0]))
}

pub fn normalize_test() {
  // t.to_list(t.normalize(t.vector([3.0, 4.0])))
  // // -> [0.6, 0.8]
  assert { t.to_list(t.normalize(t.vector([3.0, 4.0]))) }
    == [0.6, 0.8]
}

pub fn try_normalize_test() {
  // t.try_normalize(t.vector([3.0, 4.0]))
  // // -> Ok(t.vector([0.6, 0.8]))
  assert { t.try_normalize(t.vector([3.0, 4.0])) }
    == Ok(t.vector([0.6, 0.8]))
}

pub fn clamp_test() {
  // t.to_list(t.clamp(t.vector([-2.0, 0.5, 2.0]), 0.0, 1.0))
  // // -> [0.0, 0.5, 1.0]
  assert { t.to_list(t.clamp(t.vector([-2.0, 0.5, 2.0]), 0.0, 1.0)) }
    == [0.0, 0.5, 1.0]
}

pub fn try_clamp_test() {
  // t.try_clamp(t.vector([2.0]), 0.0, 1.0)
  // // -> Ok(t.vector([1.0]))
  assert { t.try_clamp(t.vector([2.0]), 0.0, 1.0) }
    == Ok(t.vector([1.0]))
}

pub fn negate_test() {
  // t.to_list(t.negate(t.vector([1.0, -2.0])))
  // // -> [-1.0, 2.0]
  assert { t.to_list(t.negate(t.vector([1.0, -2.0]))) }
    == [-1.0, 2.0]
}

pub fn absolute_test() {
  // t.to_list(t.absolute(t.vector([1.0, -2.0])))
  // // -> [1.0, 2.0]
  assert { t.to_list(t.absolute(t.vector([1.0, -2.0]))) }
    == [1.0, 2.0]
}

pub fn exp_test() {
  // t.to_list(t.exp(t.vector([0.0])))
  // // -> [1.0]
  assert { t.to_list(t.exp(t.vector([0.0]))) }
    == [1.0]
}

pub fn log_test() {
  // t.to_list(t.log(t.vector([1.0])))
  // // -> [0.0]
  assert { t.to_list(t.log(t.vector([1.0]))) }
    == [0.0]
}

pub fn sqrt_test() {
  // t.to_list(t.sqrt(t.vector([4.0, 9.0])))
  // // -> [2.0, 3.0]
  assert { t.to_list(t.sqrt(t.vector([4.0, 9.0]))) }
    == [2.0, 3.0]
}

pub fn tanh_test() {
  // t.to_list(t.tanh(t.vector([0.0])))
  // // -> [0.0]
  assert { t.to_list(t.tanh(t.vector([0.0]))) }
    == [0.0]
}

pub fn sigmoid_test() {
  // t.to_list(t.sigmoid(t.vector([0.0])))
  // // -> [0.5]
  assert { t.to_list(t.sigmoid(t.vector([0.0]))) }
    == [0.5]
}

pub fn relu_test() {
  // t.to_list(t.relu(t.vector([-1.0, 2.0])))
  // // -> [0.0, 2.0]
  assert { t.to_list(t.relu(t.vector([-1.0, 2.0]))) }
    == [0.0, 2.0]
}

pub fn silu_test() {
  // t.to_list(t.silu(t.vector([0.0])))
  // // -> [0.0]
  assert { t.to_list(t.silu(t.vector([0.0]))) }
    == [0.0]
}

pub fn gelu_test() {
  // t.to_list(t.gelu(t.vector([0.0])))
  // // -> [0.0]
  assert { t.to_list(t.gelu(t.vector([0.0]))) }
    == [0.0]
}

pub fn gelu_tanh_test() {
  // t.to_list(t.gelu_tanh(t.vector([0.0])))
  // // -> [0.0]
  assert { t.to_list(t.gelu_tanh(t.vector([0.0]))) }
    == [0.0]
}

pub fn can_broadcast_test() {
  // t.can_broadcast([2, 3], [3])
  // // -> True
  assert { t.can_broadcast([2, 3], [3]) }
    == True
}

pub fn add_broadcast_test() {
  // let assert Ok(c) = t.add_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [11.0, 12.0]
  let assert Ok(c) = t.add_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  assert { t.to_list(c) }
    == [11.0, 12.0]
}

pub fn sub_broadcast_test() {
  // let assert Ok(c) = t.sub_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [-9.0, -8.0]
  let assert Ok(c) = t.sub_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  assert { t.to_list(c) }
    == [-9.0, -8.0]
}

pub fn mul_broadcast_test() {
  // let assert Ok(c) = t.mul_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [10.0, 20.0]
  let assert Ok(c) = t.mul_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  assert { t.to_list(c) }
    == [10.0, 20.0]
}

pub fn div_broadcast_test() {
  // let assert Ok(c) = t.div_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  // t.to_list(c)
  // // -> [0.1, 0.2]
  let assert Ok(c) = t.div_broadcast(t.vector([1.0, 2.0]), t.vector([10.0]))
  assert { t.to_list(c) }
    == [0.1, 0.2]
}

pub fn sum_test() {
  // t.sum(t.vector([1.0, 2.0, 3.0]))
  // // -> 6.0
  assert { t.sum(t.vector([1.0, 2.0, 3.0])) }
    == 6.0
}

pub fn try_sum_test() {
  // t.try_sum(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(6.0)
  assert { t.try_sum(t.vector([1.0, 2.0, 3.0])) }
    == Ok(6.0)
}

pub fn mean_test() {
  // t.mean(t.vector([1.0, 2.0, 3.0]))
  // // -> 2.0
  assert { t.mean(t.vector([1.0, 2.0, 3.0])) }
    == 2.0
}

pub fn try_mean_test() {
  // t.try_mean(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(2.0)
  assert { t.try_mean(t.vector([1.0, 2.0, 3.0])) }
    == Ok(2.0)
}

pub fn max_test() {
  // t.max(t.vector([1.0, 2.0, 3.0]))
  // // -> 3.0
  assert { t.max(t.vector([1.0, 2.0, 3.0])) }
    == 3.0
}

pub fn try_max_test() {
  // t.try_max(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(3.0)
  assert { t.try_max(t.vector([1.0, 2.0, 3.0])) }
    == Ok(3.0)
}

pub fn min_test() {
  // t.min(t.vector([1.0, 2.0, 3.0]))
  // // -> 1.0
  assert { t.min(t.vector([1.0, 2.0, 3.0])) }
    == 1.0
}

pub fn try_min_test() {
  // t.try_min(t.vector([1.0, 2.0, 3.0]))
  // // -> Ok(1.0)
  assert { t.try_min(t.vector([1.0, 2.0, 3.0])) }
    == Ok(1.0)
}

pub fn variance_test() {
  // t.variance(t.vector([1.0, 3.0]))
  // // -> 1.0
  assert { t.variance(t.vector([1.0, 3.0])) }
    == 1.0
}

pub fn try_variance_test() {
  // t.try_variance(t.vector([]))
  // // -> Error(t.EmptyTensor("variance"))
  assert { t.try_variance(t.vector([])) }
    == Error(t.EmptyTensor("variance"))
}

pub fn std_test() {
  // t.std(t.vector([1.0, 3.0]))
  // // -> 1.0
  assert { t.std(t.vector([1.0, 3.0])) }
    == 1.0
}

pub fn try_std_test() {
  // t.try_std(t.vector([1.0, 3.0]))
  // // -> Ok(1.0)
  assert { t.try_std(t.vector([1.0, 3.0])) }
    == Ok(1.0)
}

pub fn norm_test() {
  // t.norm(t.vector([3.0, 4.0]))
  // // -> 5.0
  assert { t.norm(t.vector([3.0, 4.0])) }
    == 5.0
}

pub fn try_norm_test() {
  // t.try_norm(t.vector([1.0e200]))
  // // -> Error(t.Overflow("norm"))
  assert { t.try_norm(t.vector([1.0e200])) }
    == Error(t.Overflow("norm"))
}

pub fn argmax_test() {
  // t.argmax(t.vector([1.0, 3.0, 2.0]))
  // // -> 1
  assert { t.argmax(t.vector([1.0, 3.0, 2.0])) }
    == 1
}

pub fn try_argmax_test() {
  // t.try_argmax(t.vector([]))
  // // -> Error(t.EmptyTensor("argmax"))
  assert { t.try_argmax(t.vector([])) }
    == Error(t.EmptyTensor("argmax"))
}

pub fn argmin_test() {
  // t.argmin(t.vector([1.0, 3.0, 2.0]))
  // // -> 0
  assert { t.argmin(t.vector([1.0, 3.0, 2.0])) }
    == 0
}

pub fn try_argmin_test() {
  // t.try_argmin(t.vector([]))
  // // -> Error(t.EmptyTensor("argmin"))
  assert { t.try_argmin(t.vector([])) }
    == Error(t.EmptyTensor("argmin"))
}

pub fn sum_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.sum_axis(m, 1)
  // t.to_list(row)
  // // -> [3.0, 7.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.sum_axis(m, 1)
  assert { t.to_list(row) }
    == [3.0, 7.0]
}

pub fn mean_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.mean_axis(m, 1)
  // t.to_list(row)
  // // -> [1.5, 3.5]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.mean_axis(m, 1)
  assert { t.to_list(row) }
    == [1.5, 3.5]
}

pub fn variance_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.variance_axis(m, 1)
  // t.to_list(row)
  // // -> [0.25, 0.25]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.variance_axis(m, 1)
  assert { t.to_list(row) }
    == [0.25, 0.25]
}

pub fn max_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.max_axis(m, 1)
  // t.to_list(row)
  // // -> [2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.max_axis(m, 1)
  assert { t.to_list(row) }
    == [2.0, 4.0]
}

pub fn min_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.min_axis(m, 1)
  // t.to_list(row)
  // // -> [1.0, 3.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.min_axis(m, 1)
  assert { t.to_list(row) }
    == [1.0, 3.0]
}

pub fn argmax_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.argmax_axis(m, 1)
  // t.to_list(row)
  // // -> [1.0, 1.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.argmax_axis(m, 1)
  assert { t.to_list(row) }
    == [1.0, 1.0]
}

pub fn argmin_axis_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(row) = t.argmin_axis(m, 1)
  // t.to_list(row)
  // // -> [0.0, 0.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(row) = t.argmin_axis(m, 1)
  assert { t.to_list(row) }
    == [0.0, 0.0]
}

pub fn dot_test() {
  // t.dot(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // // -> Ok(11.0)
  assert { t.dot(t.vector([1.0, 2.0]), t.vector([3.0, 4.0])) }
    == Ok(11.0)
}

pub fn matmul_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(p) = t.matmul(m, m)
  // t.to_list(p)
  // // -> [7.0, 10.0, 15.0, 22.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(p) = t.matmul(m, m)
  assert { t.to_list(p) }
    == [7.0, 10.0, 15.0, 22.0]
}

pub fn matmul_vec_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(v) = t.matmul_vec(m, t.vector([1.0, 1.0]))
  // t.to_list(v)
  // // -> [3.0, 7.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(v) = t.matmul_vec(m, t.vector([1.0, 1.0]))
  assert { t.to_list(v) }
    == [3.0, 7.0]
}

pub fn batch_matmul_test() {
  // let assert Ok(p) = t.batch_matmul(t.ones([5, 2, 3]), t.ones([3, 4]))
  // t.shape(p)
  // // -> [5, 2, 4]
  let assert Ok(p) = t.batch_matmul(t.ones([5, 2, 3]), t.ones([3, 4]))
  assert { t.shape(p) }
    == [5, 2, 4]
}

pub fn outer_test() {
  // let assert Ok(p) = t.outer(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(p)
  // // -> [3.0, 4.0, 6.0, 8.0]
  let assert Ok(p) = t.outer(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert { t.to_list(p) }
    == [3.0, 4.0, 6.0, 8.0]
}

pub fn transpose_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(turned) = t.transpose(m)
  // t.to_list(turned)
  // // -> [1.0, 3.0, 2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(turned) = t.transpose(m)
  assert { t.to_list(turned) }
    == [1.0, 3.0, 2.0, 4.0]
}

pub fn reshape_test() {
  // let assert Ok(m) = t.reshape(t.vector([1.0, 2.0]), [2, 1])
  // t.shape(m)
  // // -> [2, 1]
  let assert Ok(m) = t.reshape(t.vector([1.0, 2.0]), [2, 1])
  assert { t.shape(m) }
    == [2, 1]
}

pub fn flatten_test() {
  // t.shape(t.flatten(t.zeros([2, 3])))
  // // -> [6]
  assert { t.shape(t.flatten(t.zeros([2, 3]))) }
    == [6]
}

pub fn squeeze_test() {
  // t.shape(t.squeeze(t.zeros([1, 3, 1])))
  // // -> [3]
  assert { t.shape(t.squeeze(t.zeros([1, 3, 1]))) }
    == [3]
}

pub fn unsqueeze_test() {
  // t.shape(t.unsqueeze(t.zeros([3]), 0))
  // // -> [1, 3]
  assert { t.shape(t.unsqueeze(t.zeros([3]), 0)) }
    == [1, 3]
}

pub fn try_unsqueeze_test() {
  // let assert Ok(view) = t.try_unsqueeze(t.zeros([3]), -1)
  // t.shape(view)
  // // -> [3, 1]
  let assert Ok(view) = t.try_unsqueeze(t.zeros([3]), -1)
  assert { t.shape(view) }
    == [3, 1]
}

pub fn permute_test() {
  // let assert Ok(view) = t.permute(t.zeros([2, 3, 4]), [2, 0, 1])
  // t.shape(view)
  // // -> [4, 2, 3]
  let assert Ok(view) = t.permute(t.zeros([2, 3, 4]), [2, 0, 1])
  assert { t.shape(view) }
    == [4, 2, 3]
}

pub fn broadcast_to_test() {
  // let assert Ok(view) = t.broadcast_to(t.vector([1.0]), [3])
  // t.to_list(view)
  // // -> [1.0, 1.0, 1.0]
  let assert Ok(view) = t.broadcast_to(t.vector([1.0]), [3])
  assert { t.to_list(view) }
    == [1.0, 1.0, 1.0]
}

pub fn shape_test() {
  // t.shape(t.zeros([2, 3]))
  // // -> [2, 3]
  assert { t.shape(t.zeros([2, 3])) }
    == [2, 3]
}

pub fn size_test() {
  // t.size(t.zeros([2, 3]))
  // // -> 6
  assert { t.size(t.zeros([2, 3])) }
    == 6
}

pub fn rank_test() {
  // t.rank(t.zeros([2, 3]))
  // // -> 2
  assert { t.rank(t.zeros([2, 3])) }
    == 2
}

pub fn to_strided_test() {
  // t.to_list(t.to_strided(t.vector([1.0])))
  // // -> [1.0]
  assert { t.to_list(t.to_strided(t.vector([1.0]))) }
    == [1.0]
}

pub fn to_contiguous_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.is_contiguous(t.to_contiguous(view))
  // // -> True
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  assert { t.is_contiguous(t.to_contiguous(view)) }
    == True
}

pub fn transpose_strided_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.to_list(view)
  // // -> [1.0, 3.0, 2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  assert { t.to_list(view) }
    == [1.0, 3.0, 2.0, 4.0]
}

pub fn is_contiguous_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.is_contiguous(view)
  // // -> False
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  assert { t.is_contiguous(view) }
    == False
}

pub fn get_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // t.get(m, [1, 0])
  // // -> Ok(3.0)
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  assert { t.get(m, [1, 0]) }
    == Ok(3.0)
}

pub fn slice_test() {
  // let v = t.vector([1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.slice(v, start: [1], length: [2])
  // t.to_list(view)
  // // -> [2.0, 3.0]
  let v = t.vector([1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.slice(v, start: [1], length: [2])
  assert { t.to_list(view) }
    == [2.0, 3.0]
}

pub fn gather_test() {
  // let v = t.vector([1.0, 2.0, 3.0])
  // let assert Ok(picked) = t.gather(v, 0, [2, 0, 2])
  // t.to_list(picked)
  // // -> [3.0, 1.0, 3.0]
  let v = t.vector([1.0, 2.0, 3.0])
  let assert Ok(picked) = t.gather(v, 0, [2, 0, 2])
  assert { t.to_list(picked) }
    == [3.0, 1.0, 3.0]
}

pub fn concat_test() {
  // let assert Ok(joined) = t.concat([t.vector([1.0]), t.vector([2.0])], 0)
  // t.to_list(joined)
  // // -> [1.0, 2.0]
  let assert Ok(joined) = t.concat([t.vector([1.0]), t.vector([2.0])], 0)
  assert { t.to_list(joined) }
    == [1.0, 2.0]
}

pub fn stack_test() {
  // let assert Ok(rows) = t.stack([t.vector([1.0]), t.vector([2.0])], 0)
  // t.shape(rows)
  // // -> [2, 1]
  let assert Ok(rows) = t.stack([t.vector([1.0]), t.vector([2.0])], 0)
  assert { t.shape(rows) }
    == [2, 1]
}

pub fn conv2d_config_test() {
  // t.conv2d_config().kernel_h
  // // -> 3
  assert { t.conv2d_config().kernel_h }
    == 3
}

pub fn conv2d_same_test() {
  // t.conv2d_same(5, 3).padding_h
  // // -> 2
  assert { t.conv2d_same(5, 3).padding_h }
    == 2
}

pub fn conv2d_test() {
  // let image = t.ones([4, 4])
  // let assert Ok(sums) = t.conv2d(image, t.ones([3, 3]), t.conv2d_config())
  // t.to_list(sums)
  // // -> [9.0, 9.0, 9.0, 9.0]
  let image = t.ones([4, 4])
  let assert Ok(sums) = t.conv2d(image, t.ones([3, 3]), t.conv2d_config())
  assert { t.to_list(sums) }
    == [9.0, 9.0, 9.0, 9.0]
}

pub fn pad2d_test() {
  // let assert Ok(padded) = t.pad2d(t.ones([1, 1]), 0, 1)
  // t.to_list(padded)
  // // -> [0.0, 1.0, 0.0]
  let assert Ok(padded) = t.pad2d(t.ones([1, 1]), 0, 1)
  assert { t.to_list(padded) }
    == [0.0, 1.0, 0.0]
}

pub fn pad4d_test() {
  // let assert Ok(padded) = t.pad4d(t.ones([2, 3, 4, 4]), 1, 1)
  // t.shape(padded)
  // // -> [2, 3, 6, 6]
  let assert Ok(padded) = t.pad4d(t.ones([2, 3, 4, 4]), 1, 1)
  assert { t.shape(padded) }
    == [2, 3, 6, 6]
}

pub fn max_pool2d_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(pooled) = t.max_pool2d(m, 2, 2, 1, 1)
  // t.to_list(pooled)
  // // -> [4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(pooled) = t.max_pool2d(m, 2, 2, 1, 1)
  assert { t.to_list(pooled) }
    == [4.0]
}

pub fn avg_pool2d_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(pooled) = t.avg_pool2d(m, 2, 2, 1, 1)
  // t.to_list(pooled)
  // // -> [2.5]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(pooled) = t.avg_pool2d(m, 2, 2, 1, 1)
  assert { t.to_list(pooled) }
    == [2.5]
}

pub fn global_avg_pool2d_test() {
  // let assert Ok(means) = t.global_avg_pool2d(t.ones([2, 3, 4, 4]))
  // t.shape(means)
  // // -> [2, 3, 1, 1]
  let assert Ok(means) = t.global_avg_pool2d(t.ones([2, 3, 4, 4]))
  assert { t.shape(means) }
    == [2, 3, 1, 1]
}

pub fn softmax_test() {
  // let assert Ok(weights) = t.softmax(t.vector([1.0, 1.0]), 0)
  // t.to_list(weights)
  // // -> [0.5, 0.5]
  let assert Ok(weights) = t.softmax(t.vector([1.0, 1.0]), 0)
  assert { t.to_list(weights) }
    == [0.5, 0.5]
}

pub fn log_softmax_test() {
  // let assert Ok(logs) = t.log_softmax(t.vector([0.0]), 0)
  // t.to_list(logs)
  // // -> [0.0]
  let assert Ok(logs) = t.log_softmax(t.vector([0.0]), 0)
  assert { t.to_list(logs) }
    == [0.0]
}

pub fn layer_norm_test() {
  // let v = t.vector([1.0, 3.0])
  // let assert Ok(normal) = t.layer_norm(v, t.ones([2]), t.zeros([2]), 0.0)
  // t.to_list(normal)
  // // -> [-1.0, 1.0]
  let v = t.vector([1.0, 3.0])
  let assert Ok(normal) = t.layer_norm(v, t.ones([2]), t.zeros([2]), 0.0)
  assert { t.to_list(normal) }
    == [-1.0, 1.0]
}

pub fn rms_norm_test() {
  // let v = t.vector([2.0, -2.0])
  // let assert Ok(normal) = t.rms_norm(v, t.ones([2]), 0.0)
  // t.to_list(normal)
  // // -> [1.0, -1.0]
  let v = t.vector([2.0, -2.0])
  let assert Ok(normal) = t.rms_norm(v, t.ones([2]), 0.0)
  assert { t.to_list(normal) }
    == [1.0, -1.0]
}

pub fn scaled_dot_product_attention_test() {
  // let x = t.ones([2, 4])
  // let assert Ok(y) = t.scaled_dot_product_attention(x, x, x, t.NoMask)
  // t.shape(y)
  // // -> [2, 4]
  let x = t.ones([2, 4])
  let assert Ok(y) = t.scaled_dot_product_attention(x, x, x, t.NoMask)
  assert { t.shape(y) }
    == [2, 4]
}

pub fn embedding_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(rows) = t.embedding(m, [1, 1])
  // t.to_list(rows)
  // // -> [3.0, 4.0, 3.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(rows) = t.embedding(m, [1, 1])
  assert { t.to_list(rows) }
    == [3.0, 4.0, 3.0, 4.0]
}

pub fn linear_test() {
  // let x = t.vector([1.0, 2.0])
  // let assert Ok(y) = t.linear(x, t.ones([1, 2]), t.vector([0.5]))
  // t.to_list(y)
  // // -> [3.5]
  let x = t.vector([1.0, 2.0])
  let assert Ok(y) = t.linear(x, t.ones([1, 2]), t.vector([0.5]))
  assert { t.to_list(y) }
    == [3.5]
}

pub fn to_list_test() {
  // t.to_list(t.ones([2, 1]))
  // // -> [1.0, 1.0]
  assert { t.to_list(t.ones([2, 1])) }
    == [1.0, 1.0]
}

pub fn try_to_list_test() {
  // t.try_to_list(t.log(t.vector([1.0, 0.0])))
  // // -> Error(t.NonFinite("to_list", 1))
  assert { t.try_to_list(t.log(t.vector([1.0, 0.0]))) }
    == Error(t.NonFinite("to_list", 1))
}

pub fn dtype_test() {
  // t.dtype(t.zeros([1]))
  // // -> t.Float64
  assert { t.dtype(t.zeros([1])) }
    == t.Float64
}

pub fn cast_test() {
  // t.to_list(t.cast(t.vector([0.1]), t.Float16))
  // // -> [0.0999755859375]
  assert { t.to_list(t.cast(t.vector([0.1]), t.Float16)) }
    == [0.0999755859375]
}

pub fn to_binary_test() {
  // t.to_binary(t.cast(t.vector([1.0]), t.Float32))
  // // -> <<1.0:float-size(32)-little>>
  assert { t.to_binary(t.cast(t.vector([1.0]), t.Float32)) }
    == <<1.0:float-size(32)-little>>
}

pub fn from_binary_test() {
  // let bytes = <<1.0:float-size(32)-little>>
  // let assert Ok(v) = t.from_binary(bytes, [1], t.Float32)
  // t.to_list(v)
  // // -> [1.0]
  let bytes = <<1.0:float-size(32)-little>>
  let assert Ok(v) = t.from_binary(bytes, [1], t.Float32)
  assert { t.to_list(v) }
    == [1.0]
}

pub fn save_safetensors_test() {
  // let assert Ok(Nil) = t.save_safetensors(path, [#("v", t.vector([1.0]))])
  // t.load_safetensors(path)
  // // -> Ok([#("v", t.vector([1.0]))])
  let path = support.make_folder() <> "/tensors.safetensors"
  let assert Ok(Nil) = t.save_safetensors(path, [#("v", t.vector([1.0]))])
  assert { t.load_safetensors(path) }
    == Ok([#("v", t.vector([1.0]))])
}

pub fn load_safetensors_test() {
  // let assert Ok(Nil) = t.save_safetensors(path, [])
  // t.load_safetensors(path)
  // // -> Ok([])
  let path = support.make_folder() <> "/tensors.safetensors"
  let assert Ok(Nil) = t.save_safetensors(path, [])
  assert { t.load_safetensors(path) }
    == Ok([])
}

pub fn to_string_test() {
  // t.to_string(t.ones([2, 2]))
  // // -> "[[1. 1.]\n [1. 1.]]\nshape [2, 2], float64"
  assert { t.to_string(t.ones([2, 2])) }
    == "[[1. 1.]\n [1. 1.]]\nshape [2, 2], float64"
}

pub fn devices_test() {
  // let assert [beam, ..] = t.devices()
  // beam.availability
  // // -> t.Available
  let assert [beam, ..] = t.devices()
  assert { beam.availability }
    == t.Available
}

pub fn describe_tensor_error_test() {
  // t.describe_tensor_error(t.EmptyTensor("mean"))
  // // -> "mean: the tensor is empty"
  assert { t.describe_tensor_error(t.EmptyTensor("mean")) }
    == "mean: the tensor is empty"
}
