//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import support
import viva_tensor as t

pub fn dot_test() {
  // t.dot(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // // -> Ok(11.0)
  let value = t.dot(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  assert value == Ok(11.0)
}

pub fn matmul_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(p) = t.matmul(m, m)
  // t.to_list(p)
  // // -> [7.0, 10.0, 15.0, 22.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(p) = t.matmul(m, m)
  let value = t.to_list(p)
  assert value == [7.0, 10.0, 15.0, 22.0]
}

pub fn matmul_vec_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(v) = t.matmul_vec(m, t.vector([1.0, 1.0]))
  // t.to_list(v)
  // // -> [3.0, 7.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(v) = t.matmul_vec(m, t.vector([1.0, 1.0]))
  let value = t.to_list(v)
  assert value == [3.0, 7.0]
}

pub fn batch_matmul_test() {
  // let assert Ok(p) = t.batch_matmul(t.ones([5, 2, 3]), t.ones([3, 4]))
  // t.shape(p)
  // // -> [5, 2, 4]
  let assert Ok(p) = t.batch_matmul(t.ones([5, 2, 3]), t.ones([3, 4]))
  let value = t.shape(p)
  assert value == [5, 2, 4]
}

pub fn outer_test() {
  // let assert Ok(p) = t.outer(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  // t.to_list(p)
  // // -> [3.0, 4.0, 6.0, 8.0]
  let assert Ok(p) = t.outer(t.vector([1.0, 2.0]), t.vector([3.0, 4.0]))
  let value = t.to_list(p)
  assert value == [3.0, 4.0, 6.0, 8.0]
}

pub fn transpose_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(turned) = t.transpose(m)
  // t.to_list(turned)
  // // -> [1.0, 3.0, 2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(turned) = t.transpose(m)
  let value = t.to_list(turned)
  assert value == [1.0, 3.0, 2.0, 4.0]
}

pub fn reshape_test() {
  // let assert Ok(m) = t.reshape(t.vector([1.0, 2.0]), [2, 1])
  // t.shape(m)
  // // -> [2, 1]
  let assert Ok(m) = t.reshape(t.vector([1.0, 2.0]), [2, 1])
  let value = t.shape(m)
  assert value == [2, 1]
}

pub fn flatten_test() {
  // t.shape(t.flatten(t.zeros([2, 3])))
  // // -> [6]
  let value = t.shape(t.flatten(t.zeros([2, 3])))
  assert value == [6]
}

pub fn squeeze_test() {
  // t.shape(t.squeeze(t.zeros([1, 3, 1])))
  // // -> [3]
  let value = t.shape(t.squeeze(t.zeros([1, 3, 1])))
  assert value == [3]
}

pub fn unsqueeze_test() {
  // t.shape(t.unsqueeze(t.zeros([3]), 0))
  // // -> [1, 3]
  let value = t.shape(t.unsqueeze(t.zeros([3]), 0))
  assert value == [1, 3]
}

pub fn try_unsqueeze_test() {
  // let assert Ok(view) = t.try_unsqueeze(t.zeros([3]), -1)
  // t.shape(view)
  // // -> [3, 1]
  let assert Ok(view) = t.try_unsqueeze(t.zeros([3]), -1)
  let value = t.shape(view)
  assert value == [3, 1]
}

pub fn permute_test() {
  // let assert Ok(view) = t.permute(t.zeros([2, 3, 4]), [2, 0, 1])
  // t.shape(view)
  // // -> [4, 2, 3]
  let assert Ok(view) = t.permute(t.zeros([2, 3, 4]), [2, 0, 1])
  let value = t.shape(view)
  assert value == [4, 2, 3]
}

pub fn broadcast_to_test() {
  // let assert Ok(view) = t.broadcast_to(t.vector([1.0]), [3])
  // t.to_list(view)
  // // -> [1.0, 1.0, 1.0]
  let assert Ok(view) = t.broadcast_to(t.vector([1.0]), [3])
  let value = t.to_list(view)
  assert value == [1.0, 1.0, 1.0]
}

pub fn shape_test() {
  // t.shape(t.zeros([2, 3]))
  // // -> [2, 3]
  let value = t.shape(t.zeros([2, 3]))
  assert value == [2, 3]
}

pub fn size_test() {
  // t.size(t.zeros([2, 3]))
  // // -> 6
  let value = t.size(t.zeros([2, 3]))
  assert value == 6
}

pub fn rank_test() {
  // t.rank(t.zeros([2, 3]))
  // // -> 2
  let value = t.rank(t.zeros([2, 3]))
  assert value == 2
}

pub fn to_strided_test() {
  // t.to_list(t.to_strided(t.vector([1.0])))
  // // -> [1.0]
  let value = t.to_list(t.to_strided(t.vector([1.0])))
  assert value == [1.0]
}

pub fn to_contiguous_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.is_contiguous(t.to_contiguous(view))
  // // -> True
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  let value = t.is_contiguous(t.to_contiguous(view))
  assert value == True
}

pub fn transpose_strided_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.to_list(view)
  // // -> [1.0, 3.0, 2.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  let value = t.to_list(view)
  assert value == [1.0, 3.0, 2.0, 4.0]
}

pub fn is_contiguous_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.transpose_strided(m)
  // t.is_contiguous(view)
  // // -> False
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.transpose_strided(m)
  let value = t.is_contiguous(view)
  assert value == False
}

pub fn get_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // t.get(m, [1, 0])
  // // -> Ok(3.0)
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let value = t.get(m, [1, 0])
  assert value == Ok(3.0)
}

pub fn slice_test() {
  // let v = t.vector([1.0, 2.0, 3.0, 4.0])
  // let assert Ok(view) = t.slice(v, start: [1], length: [2])
  // t.to_list(view)
  // // -> [2.0, 3.0]
  let v = t.vector([1.0, 2.0, 3.0, 4.0])
  let assert Ok(view) = t.slice(v, start: [1], length: [2])
  let value = t.to_list(view)
  assert value == [2.0, 3.0]
}

pub fn gather_test() {
  // let v = t.vector([1.0, 2.0, 3.0])
  // let assert Ok(picked) = t.gather(v, 0, [2, 0, 2])
  // t.to_list(picked)
  // // -> [3.0, 1.0, 3.0]
  let v = t.vector([1.0, 2.0, 3.0])
  let assert Ok(picked) = t.gather(v, 0, [2, 0, 2])
  let value = t.to_list(picked)
  assert value == [3.0, 1.0, 3.0]
}

pub fn concat_test() {
  // let assert Ok(joined) = t.concat([t.vector([1.0]), t.vector([2.0])], 0)
  // t.to_list(joined)
  // // -> [1.0, 2.0]
  let assert Ok(joined) = t.concat([t.vector([1.0]), t.vector([2.0])], 0)
  let value = t.to_list(joined)
  assert value == [1.0, 2.0]
}

pub fn stack_test() {
  // let assert Ok(rows) = t.stack([t.vector([1.0]), t.vector([2.0])], 0)
  // t.shape(rows)
  // // -> [2, 1]
  let assert Ok(rows) = t.stack([t.vector([1.0]), t.vector([2.0])], 0)
  let value = t.shape(rows)
  assert value == [2, 1]
}

pub fn conv2d_config_test() {
  // t.conv2d_config().kernel_h
  // // -> 3
  let value = t.conv2d_config().kernel_h
  assert value == 3
}

pub fn conv2d_same_test() {
  // t.conv2d_same(5, 3).padding_h
  // // -> 2
  let value = t.conv2d_same(5, 3).padding_h
  assert value == 2
}

pub fn conv2d_test() {
  // let image = t.ones([4, 4])
  // let assert Ok(sums) = t.conv2d(image, t.ones([3, 3]), t.conv2d_config())
  // t.to_list(sums)
  // // -> [9.0, 9.0, 9.0, 9.0]
  let image = t.ones([4, 4])
  let assert Ok(sums) = t.conv2d(image, t.ones([3, 3]), t.conv2d_config())
  let value = t.to_list(sums)
  assert value == [9.0, 9.0, 9.0, 9.0]
}

pub fn pad2d_test() {
  // let assert Ok(padded) = t.pad2d(t.ones([1, 1]), 0, 1)
  // t.to_list(padded)
  // // -> [0.0, 1.0, 0.0]
  let assert Ok(padded) = t.pad2d(t.ones([1, 1]), 0, 1)
  let value = t.to_list(padded)
  assert value == [0.0, 1.0, 0.0]
}

pub fn pad4d_test() {
  // let assert Ok(padded) = t.pad4d(t.ones([2, 3, 4, 4]), 1, 1)
  // t.shape(padded)
  // // -> [2, 3, 6, 6]
  let assert Ok(padded) = t.pad4d(t.ones([2, 3, 4, 4]), 1, 1)
  let value = t.shape(padded)
  assert value == [2, 3, 6, 6]
}

pub fn max_pool2d_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(pooled) = t.max_pool2d(m, 2, 2, 1, 1)
  // t.to_list(pooled)
  // // -> [4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(pooled) = t.max_pool2d(m, 2, 2, 1, 1)
  let value = t.to_list(pooled)
  assert value == [4.0]
}

pub fn avg_pool2d_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(pooled) = t.avg_pool2d(m, 2, 2, 1, 1)
  // t.to_list(pooled)
  // // -> [2.5]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(pooled) = t.avg_pool2d(m, 2, 2, 1, 1)
  let value = t.to_list(pooled)
  assert value == [2.5]
}

pub fn global_avg_pool2d_test() {
  // let assert Ok(means) = t.global_avg_pool2d(t.ones([2, 3, 4, 4]))
  // t.shape(means)
  // // -> [2, 3, 1, 1]
  let assert Ok(means) = t.global_avg_pool2d(t.ones([2, 3, 4, 4]))
  let value = t.shape(means)
  assert value == [2, 3, 1, 1]
}

pub fn softmax_test() {
  // let assert Ok(weights) = t.softmax(t.vector([1.0, 1.0]), 0)
  // t.to_list(weights)
  // // -> [0.5, 0.5]
  let assert Ok(weights) = t.softmax(t.vector([1.0, 1.0]), 0)
  let value = t.to_list(weights)
  assert value == [0.5, 0.5]
}

pub fn log_softmax_test() {
  // let assert Ok(logs) = t.log_softmax(t.vector([0.0]), 0)
  // t.to_list(logs)
  // // -> [0.0]
  let assert Ok(logs) = t.log_softmax(t.vector([0.0]), 0)
  let value = t.to_list(logs)
  assert value == [0.0]
}

pub fn layer_norm_test() {
  // let v = t.vector([1.0, 3.0])
  // let assert Ok(normal) = t.layer_norm(v, t.ones([2]), t.zeros([2]), 0.0)
  // t.to_list(normal)
  // // -> [-1.0, 1.0]
  let v = t.vector([1.0, 3.0])
  let assert Ok(normal) = t.layer_norm(v, t.ones([2]), t.zeros([2]), 0.0)
  let value = t.to_list(normal)
  assert value == [-1.0, 1.0]
}

pub fn rms_norm_test() {
  // let v = t.vector([2.0, -2.0])
  // let assert Ok(normal) = t.rms_norm(v, t.ones([2]), 0.0)
  // t.to_list(normal)
  // // -> [1.0, -1.0]
  let v = t.vector([2.0, -2.0])
  let assert Ok(normal) = t.rms_norm(v, t.ones([2]), 0.0)
  let value = t.to_list(normal)
  assert value == [1.0, -1.0]
}

pub fn scaled_dot_product_attention_test() {
  // let x = t.ones([2, 4])
  // let assert Ok(y) = t.scaled_dot_product_attention(x, x, x, t.NoMask)
  // t.shape(y)
  // // -> [2, 4]
  let x = t.ones([2, 4])
  let assert Ok(y) = t.scaled_dot_product_attention(x, x, x, t.NoMask)
  let value = t.shape(y)
  assert value == [2, 4]
}

pub fn embedding_test() {
  // let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  // let assert Ok(rows) = t.embedding(m, [1, 1])
  // t.to_list(rows)
  // // -> [3.0, 4.0, 3.0, 4.0]
  let assert Ok(m) = t.matrix(2, 2, [1.0, 2.0, 3.0, 4.0])
  let assert Ok(rows) = t.embedding(m, [1, 1])
  let value = t.to_list(rows)
  assert value == [3.0, 4.0, 3.0, 4.0]
}

pub fn linear_test() {
  // let x = t.vector([1.0, 2.0])
  // let assert Ok(y) = t.linear(x, t.ones([1, 2]), t.vector([0.5]))
  // t.to_list(y)
  // // -> [3.5]
  let x = t.vector([1.0, 2.0])
  let assert Ok(y) = t.linear(x, t.ones([1, 2]), t.vector([0.5]))
  let value = t.to_list(y)
  assert value == [3.5]
}

pub fn to_list_test() {
  // t.to_list(t.ones([2, 1]))
  // // -> [1.0, 1.0]
  let value = t.to_list(t.ones([2, 1]))
  assert value == [1.0, 1.0]
}

pub fn try_to_list_test() {
  // t.try_to_list(t.log(t.vector([1.0, 0.0])))
  // // -> Error(t.NonFinite("to_list", 1))
  let value = t.try_to_list(t.log(t.vector([1.0, 0.0])))
  assert value == Error(t.NonFinite("to_list", 1))
}

pub fn dtype_test() {
  // t.dtype(t.zeros([1]))
  // // -> t.Float64
  let value = t.dtype(t.zeros([1]))
  assert value == t.Float64
}

pub fn cast_test() {
  // t.to_list(t.cast(t.vector([0.1]), t.Float16))
  // // -> [0.0999755859375]
  let value = t.to_list(t.cast(t.vector([0.1]), t.Float16))
  assert value == [0.0999755859375]
}

pub fn to_binary_test() {
  // t.to_binary(t.cast(t.vector([1.0]), t.Float32))
  // // -> <<1.0:float-size(32)-little>>
  let value = t.to_binary(t.cast(t.vector([1.0]), t.Float32))
  assert value == <<1.0:float-size(32)-little>>
}

pub fn from_binary_test() {
  // let bytes = <<1.0:float-size(32)-little>>
  // let assert Ok(v) = t.from_binary(bytes, [1], t.Float32)
  // t.to_list(v)
  // // -> [1.0]
  let bytes = <<1.0:float-size(32)-little>>
  let assert Ok(v) = t.from_binary(bytes, [1], t.Float32)
  let value = t.to_list(v)
  assert value == [1.0]
}

pub fn save_safetensors_test() {
  // let assert Ok(Nil) = t.save_safetensors(path, [#("v", t.vector([1.0]))])
  // t.load_safetensors(path)
  // // -> Ok([#("v", t.vector([1.0]))])
  let path = support.make_folder() <> "/tensors.safetensors"
  let assert Ok(Nil) = t.save_safetensors(path, [#("v", t.vector([1.0]))])
  let value = t.load_safetensors(path)
  assert value == Ok([#("v", t.vector([1.0]))])
}

pub fn load_safetensors_test() {
  // let assert Ok(Nil) = t.save_safetensors(path, [])
  // t.load_safetensors(path)
  // // -> Ok([])
  let path = support.make_folder() <> "/tensors.safetensors"
  let assert Ok(Nil) = t.save_safetensors(path, [])
  let value = t.load_safetensors(path)
  assert value == Ok([])
}

pub fn to_string_test() {
  // t.to_string(t.ones([2, 2]))
  // // -> "[[1. 1.]\n [1. 1.]]\nshape [2, 2], float64"
  let value = t.to_string(t.ones([2, 2]))
  assert value == "[[1. 1.]\n [1. 1.]]\nshape [2, 2], float64"
}

pub fn devices_test() {
  // let assert [beam, ..] = t.devices()
  // beam.availability
  // // -> t.Available
  let assert [beam, ..] = t.devices()
  let value = beam.availability
  assert value == t.Available
}

pub fn to_device_test() {
  // t.to_device(t.vector([1.0]), t.Cpu)
  // // -> Ok(t.vector([1.0]))
  let value = t.to_device(t.vector([1.0]), t.Cpu)
  assert value == Ok(t.vector([1.0]))
}

pub fn to_host_test() {
  // t.to_host(t.vector([1.0]))
  // // -> Ok(t.vector([1.0]))
  let value = t.to_host(t.vector([1.0]))
  assert value == Ok(t.vector([1.0]))
}

pub fn device_of_test() {
  // t.device_of(t.vector([1.0]))
  // // -> t.Auto
  let value = t.device_of(t.vector([1.0]))
  assert value == t.Auto
}

pub fn describe_tensor_error_test() {
  // t.describe_tensor_error(t.EmptyTensor("mean"))
  // // -> "mean: the tensor is empty"
  let value = t.describe_tensor_error(t.EmptyTensor("mean"))
  assert value == "mean: the tensor is empty"
}
