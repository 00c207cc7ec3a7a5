//// Tensors on a GPU: every function of the facade there and on the host, from
//// the same operands. Without a GPU: the error that says why.

import support
import tensor_support.{on_a_gpu}
import viva_tensor as t
import viva_tensor/otp

fn there(tensor: t.Tensor) -> t.Tensor {
  let assert Ok(tensor) = t.to_device(tensor, t.Cuda(0))
  tensor
}

fn here(tensor: t.Tensor) -> t.Tensor {
  tensor
}

type Made =
  Result(t.Tensor, t.TensorError)

/// Every function that makes a tensor of tensors, and its errors.
fn tensors(move: fn(t.Tensor) -> t.Tensor) -> List(#(String, Made)) {
  let random = fn(shape, seed) { move(t.random_uniform_seeded(shape, seed)) }
  let a = random([4, 6], 1)
  let b = random([4, 6], 2)
  let row = random([6], 3)
  let image = random([2, 3, 8, 9], 4)
  let kernels = random([5, 3, 3, 3], 5)
  let q = random([2, 3, 5, 8], 6)
  let keys = random([2, 3, 7, 8], 7)
  let mask = random([5, 7], 8)
  let half = t.cast(a, t.Float16)
  let strange = t.log(t.sub_broadcast(a, row) |> otp_ok)
  let empty = move(t.zeros([0, 3]))
  let turned = t.transpose(a) |> otp_ok
  let config = t.Conv2dConfig(3, 3, 2, 1, 1, 0)
  [
    #("add", t.add(a, b)),
    #("sub", t.sub(a, b)),
    #("mul", t.mul(a, b)),
    #("div", t.div(a, b)),
    #("add of types", t.add(half, b)),
    #("add of shapes", t.add(a, row)),
    #("add of views", t.add(turned, t.transpose(b) |> otp_ok)),
    #("scale", Ok(t.scale(a, 2.5))),
    #("try_scale", t.try_scale(a, 1.0e308)),
    #("try_scale too far", t.try_scale(t.exp(t.scale(a, 700.0)), 1.0e308)),
    #("try_finite", t.try_finite(strange)),
    #("map", Ok(t.map(a, fn(x) { x *. x }))),
    #("try_map", t.try_map(strange, fn(x) { x })),
    #("normalize", Ok(t.normalize(a))),
    #("normalize half", Ok(t.normalize(half))),
    #("try_normalize", t.try_normalize(strange)),
    #("clamp", Ok(t.clamp(a, 0.3, 0.6))),
    #("try_clamp", t.try_clamp(a, 0.6, 0.3)),
    #("negate", Ok(t.negate(a))),
    #("absolute", Ok(t.absolute(strange))),
    #("exp", Ok(t.exp(a))),
    #("log", Ok(strange)),
    #("sqrt", Ok(t.sqrt(a))),
    #("tanh", Ok(t.tanh(a))),
    #("sigmoid", Ok(t.sigmoid(a))),
    #("relu", Ok(t.relu(strange))),
    #("silu", Ok(t.silu(a))),
    #("gelu", Ok(t.gelu(a))),
    #("gelu_tanh", Ok(t.gelu_tanh(half))),
    #("add_broadcast", t.add_broadcast(a, row)),
    #("sub_broadcast", t.sub_broadcast(a, row)),
    #("mul_broadcast", t.mul_broadcast(random([4, 1], 9), row)),
    #("div_broadcast", t.div_broadcast(a, move(t.vector([1.0, 2.0])))),
    #("sum_axis", t.sum_axis(image, 1)),
    #("sum_axis of none", t.sum_axis(empty, 0)),
    #("sum_axis to none", t.sum_axis(empty, 1)),
    #("mean_axis", t.mean_axis(a, 0)),
    #("mean_axis of none", t.mean_axis(empty, 0)),
    #("variance_axis", t.variance_axis(image, -2)),
    #("max_axis", t.max_axis(strange, 1)),
    #("min_axis", t.min_axis(half, 0)),
    #("argmax_axis", t.argmax_axis(image, 3)),
    #("argmin_axis", t.argmin_axis(image, 0)),
    #("no axis", t.sum_axis(a, 2)),
    #("matmul", t.matmul(a, turned)),
    #("matmul of views", t.matmul(turned, b)),
    #("matmul of half", t.matmul(half, turned)),
    #("matmul of shapes", t.matmul(a, b)),
    #("matmul of none", t.matmul(move(t.zeros([2, 0])), empty)),
    #("matmul_vec", t.matmul_vec(a, row)),
    #("batch_matmul", t.batch_matmul(image, random([9, 2], 10))),
    #("batch_matmul of views", {
      use permuted <- otp.try(t.permute(image, [1, 0, 3, 2]))
      t.batch_matmul(permuted, random([2, 8, 4], 11))
    }),
    #("outer", t.outer(row, row)),
    #("transpose", t.transpose(a)),
    #("reshape", t.reshape(turned, [3, 8])),
    #("reshape wrongly", t.reshape(a, [5])),
    #("flatten", Ok(t.flatten(turned))),
    #("squeeze", Ok(t.squeeze(random([1, 3, 1], 12)))),
    #("unsqueeze", Ok(t.unsqueeze(a, 1))),
    #("permute", t.permute(image, [3, 1, 0, 2])),
    #("broadcast_to", t.broadcast_to(row, [3, 6])),
    #("to_contiguous", Ok(t.to_contiguous(turned))),
    #("transpose_strided", t.transpose_strided(a)),
    #("slice", t.slice(image, [1, 0, 2, 3], [1, 3, 4, 2])),
    #("slice of none", t.slice(image, [0, 0, 0, 0], [2, 0, 4, 2])),
    #("slice beyond", t.slice(a, [0, 5], [1, 2])),
    #("gather", t.gather(image, 2, [7, 0, 0, -1])),
    #("gather beyond", t.gather(a, 0, [4])),
    #("concat", t.concat([a, half, b], 1)),
    #("stack", t.stack([a, b], 2)),
    #("conv2d", t.conv2d(image, kernels, config)),
    #("conv2d of a plane", t.conv2d(
      random([6, 7], 13),
      random([3, 3], 14),
      t.conv2d_same(3, 3),
    )),
    #("pad2d", t.pad2d(a, 1, 2)),
    #("pad4d", t.pad4d(image, 2, 1)),
    #("max_pool2d", t.max_pool2d(image, 2, 3, 2, 1)),
    #("avg_pool2d", t.avg_pool2d(image, 3, 2, 1, 2)),
    #("global_avg_pool2d", t.global_avg_pool2d(image)),
    #("softmax", t.softmax(image, 1)),
    #("softmax of what is none", t.softmax(strange, 1)),
    #("log_softmax", t.log_softmax(half, -1)),
    #("layer_norm", t.layer_norm(a, row, row, 1.0e-5)),
    #("rms_norm", t.rms_norm(a, row, 1.0e-6)),
    #("attention", t.scaled_dot_product_attention(q, keys, keys, t.NoMask)),
    #("attention behind a mask", t.scaled_dot_product_attention(
      q,
      keys,
      keys,
      t.AddMask(mask),
    )),
    #("embedding", t.embedding(a, [3, 0, 3])),
    #("embedding beyond", t.embedding(a, [4])),
    #("linear", t.linear(random([2, 3, 6], 15), b, random([4], 16))),
    #("cast", Ok(t.cast(half, t.BFloat16))),
    #("cast of a view", Ok(t.cast(turned, t.Float32))),
  ]
}

fn otp_ok(result: Made) -> t.Tensor {
  let assert Ok(tensor) = result
  tensor
}

/// What a sum of so few numbers, and functions that differ by a few last bits,
/// may come to: float64 has 2.2e-16, float16, one of whose steps may be between
/// two roundings, 9.8e-4, bfloat16 7.8e-3.
fn tolerance(tensor: t.Tensor) -> Float {
  case t.dtype(tensor) {
    t.Float64 -> 1.0e-13
    t.Float32 -> 1.0e-6
    t.Float16 -> 1.0e-3
    t.BFloat16 -> 8.0e-3
  }
}

pub fn operations_stay_on_the_gpu_and_are_those_of_the_host_test() {
  use <- on_a_gpu
  use #(#(name, expected), #(_, found)) <- support.each(otp.zip(
    tensors(here),
    tensors(there),
  ))
  case expected, found {
    Ok(expected), Ok(found) -> {
      assert #(name, t.device_of(found)) == #(name, t.Cuda(0))
      assert #(name, t.shape(found), t.dtype(found))
        == #(name, t.shape(expected), t.dtype(expected))
      let assert Ok(host) = t.to_host(found)
      let far = tensor_support.first_far(expected, host, tolerance(expected))
      assert #(name, far) == #(name, -1)
      // The same without going over the host by name.
      assert #(name, t.to_binary(found)) == #(name, t.to_binary(host))
      Nil
    }
    _, _ -> {
      assert #(name, found) == #(name, expected)
    }
  }
}

/// Functions that give numbers.
fn numbers(tensor: t.Tensor) -> List(#(String, Result(Float, t.TensorError))) {
  [
    #("sum", Ok(t.sum(tensor))),
    #("try_sum", t.try_sum(tensor)),
    #("mean", Ok(t.mean(tensor))),
    #("try_mean", t.try_mean(tensor)),
    #("max", Ok(t.max(tensor))),
    #("try_max", t.try_max(tensor)),
    #("min", Ok(t.min(tensor))),
    #("try_min", t.try_min(tensor)),
    #("variance", Ok(t.variance(tensor))),
    #("try_variance", t.try_variance(tensor)),
    #("std", Ok(t.std(tensor))),
    #("try_std", t.try_std(tensor)),
    #("norm", Ok(t.norm(tensor))),
    #("try_norm", t.try_norm(tensor)),
    #("dot", t.dot(t.flatten(tensor), t.flatten(tensor))),
    #("get", t.get(tensor, [1, 2])),
    #("get from the end", t.get(tensor, [-1, -1])),
    #("argmax", Ok(otp.int_to_float(t.argmax(tensor)))),
    #("try_argmax", t.try_argmax(tensor) |> otp.map_ok(otp.int_to_float)),
    #("argmin", Ok(otp.int_to_float(t.argmin(tensor)))),
    #("try_argmin", t.try_argmin(tensor) |> otp.map_ok(otp.int_to_float)),
    #("size", Ok(otp.int_to_float(t.size(tensor)))),
    #("rank", Ok(otp.int_to_float(t.rank(tensor)))),
  ]
}

pub fn numbers_of_tensors_on_the_gpu_are_those_of_the_host_test() {
  use <- on_a_gpu
  let a = t.random_uniform_seeded([40, 60], 21)
  let strange = t.log(t.sub_broadcast(a, t.vector([0.001])) |> otp_ok)
  use operand <- support.each([
    a,
    t.transpose(a) |> otp_ok,
    t.cast(a, t.Float32),
    strange,
    t.scale(a, 1.0e308),
    t.zeros([0, 3]),
  ])
  use #(#(name, expected), #(_, found)) <- support.each(otp.zip(
    numbers(operand),
    numbers(there(operand)),
  ))
  case expected, found {
    Ok(expected), Ok(found) -> {
      let most = 1.0e-12 *. { 1.0 +. t.norm(t.vector([expected])) }
      let off = t.norm(t.vector([expected -. found]))
      assert #(name, off <=. most) == #(name, True)
    }
    _, _ -> {
      assert #(name, found) == #(name, expected)
    }
  }
}

pub fn what_is_looked_at_comes_to_the_host_test() {
  use <- on_a_gpu
  let a = t.random_uniform_seeded([2, 3], 31)
  let gpu = there(a)
  assert t.to_list(gpu) == t.to_list(a)
  assert t.try_to_list(gpu) == t.try_to_list(a)
  assert t.to_binary(gpu) == t.to_binary(a)
  assert t.to_string(gpu) == t.to_string(a) <> ", cuda:0"
  assert t.to_host(gpu) == Ok(a)
  assert t.device_of(gpu) == t.Cuda(0)
  assert t.to_device(gpu, t.Cuda(0)) |> otp.map_ok(t.device_of)
    == Ok(t.Cuda(0))
  assert t.to_device(gpu, t.Auto) == Ok(a)
  let large = t.random_uniform_seeded([60, 70], 32)
  assert t.to_string(there(large)) == t.to_string(large) <> ", cuda:0"
}

pub fn operands_are_in_one_place_test() {
  use <- on_a_gpu
  let a = t.random_uniform_seeded([3, 3], 41)
  let gpu = there(a)
  let mismatch = Error(t.DeviceMismatch("host", "cuda:0"))
  assert t.add(a, gpu) == mismatch
  assert t.add(gpu, a) == Error(t.DeviceMismatch("cuda:0", "host"))
  assert t.mul_broadcast(t.vector([2.0]), gpu) == mismatch
  assert t.matmul(a, gpu) == mismatch
  let apart = t.DeviceMismatch("host", "cuda:0")
  assert t.dot(t.flatten(a), t.flatten(gpu)) == Error(apart)
  assert t.concat([a, gpu], 0) == mismatch
  assert t.conv2d(a, gpu, t.conv2d_config()) == mismatch
  let v = t.vector([1.0, 1.0, 1.0])
  assert t.rms_norm(gpu, v, 0.0) == Error(t.DeviceMismatch("cuda:0", "host"))
  let assert Ok(packed) = t.prepack_int8_weight(a)
  let refused = Error(t.DeviceMismatch("cuda:0", "host"))
  assert t.linear_int8(gpu, packed, t.NoBias) == refused
  assert t.linear_int8(a, packed, t.Bias(there(v))) == refused
  let assert Ok(packed) = t.prepack_int8_weight(gpu)
  assert t.linear_int8(a, packed, t.NoBias) == mismatch
  assert t.linear_int8(gpu, packed, t.Bias(v)) == mismatch
}

pub fn memory_that_is_short_is_an_error_test() {
  use <- on_a_gpu
  // 16 GiB each, of views that take nothing.
  let column = there(t.zeros([65_536, 1]))
  let row = there(t.zeros([1, 32_768]))
  fill(column, row, [])
}

/// Until there is no more, and then all that is not kept comes back.
fn fill(column: t.Tensor, row: t.Tensor, kept: List(t.Tensor)) -> Nil {
  case t.add_broadcast(column, row), kept {
    Ok(tensor), _ -> fill(column, row, [tensor, ..kept])
    Error(t.DeviceOutOfMemory("cuda:0", wanted, free)), _ -> {
      assert wanted == 65_536 * 32_768 * 8
      assert free < wanted
      // What returns no Result counts as zeros; the next Result says it.
      case kept {
        [] -> Nil
        [large, ..] -> {
          let failed = t.scale(large, 2.0)
          assert t.sum(failed) == 0.0
          let assert Error(t.DeviceOutOfMemory("cuda:0", _, _)) =
            t.try_sum(failed)
          let assert Error(t.DeviceOutOfMemory("cuda:0", _, _)) =
            t.add(failed, failed)
          Nil
        }
      }
    }
    Error(error), _ -> panic as t.describe_tensor_error(error)
  }
}
