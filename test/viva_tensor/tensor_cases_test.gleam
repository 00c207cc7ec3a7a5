//// One table of random cases, views among them: each path against NumPy's
//// stored answers, and the paths against each other.

import support
import tensor_support as paths
import viva_tensor as t
import viva_tensor/json.{type Json}
import viva_tensor/otp

type Case {
  Case(
    number: Int,
    op: String,
    dtype: t.Dtype,
    inputs: List(#(List(Int), String)),
    parameters: List(Int),
    expected: t.Tensor,
  )
}

pub fn numpy_test() {
  use case_ <- support.each(cases())
  use path <- support.each(paths.paths())
  let assert Ok(actual) = paths.on(path, fn() { run(case_) })
  // NumPy's answers are stored in float32.
  let tolerance = rounds(case_.op) *. epsilon(case_.dtype)
  assert t.shape(actual) == t.shape(case_.expected)
  let far = paths.first_far(case_.expected, actual, tolerance)
  assert #(case_, path, far, actual) == #(case_, path, -1, actual)
}

pub fn paths_agree_test() {
  use case_ <- support.each(cases())
  case paths.paths() {
    ["beam", "cpu"] -> {
      let assert Ok(beam) = paths.on("beam", fn() { run(case_) })
      let assert Ok(cpu) = paths.on("cpu", fn() { run(case_) })
      assert t.dtype(beam) == t.dtype(cpu)
      case sums(case_.op) {
        False -> {
          assert #(case_, t.to_binary(cpu)) == #(case_, t.to_binary(beam))
        }
        True -> {
          let far = paths.first_far(beam, cpu, agreement(case_))
          assert #(case_, far, cpu) == #(case_, -1, cpu)
        }
      }
    }
    _ -> Nil
  }
}

/// Whether a result depends on the order of a sum.
fn sums(op: String) -> Bool {
  otp.contains(
    [
      "normalize", "sum", "mean", "variance", "std", "norm", "sum_axis",
      "mean_axis", "variance_axis", "dot", "matmul", "matmul_vec",
      "batch_matmul", "conv2d", "avg_pool2d", "global_avg_pool2d", "softmax",
      "log_softmax", "layer_norm", "rms_norm", "attention", "linear",
    ],
    op,
  )
}

/// Sums of some ten terms of some tens: in float64 where it is the element type
/// (and there is only the order), in float32 and rounded once more else.
fn agreement(case_: Case) -> Float {
  case case_.dtype {
    t.Float64 -> 1.0e-14
    dtype -> rounds(case_.op) *. epsilon(dtype)
  }
}

/// How many units of precision a result may be off, relative to one and itself:
/// the rounding of the result and of NumPy's, or also those of intermediate
/// results, at most sixteen times as large.
fn rounds(op: String) -> Float {
  case op {
    "layer_norm" | "rms_norm" | "linear" | "attention" -> 16.0
    _ -> 2.0
  }
}

fn epsilon(dtype: t.Dtype) -> Float {
  case dtype {
    t.Float64 | t.Float32 -> 1.1920929e-7
    t.Float16 -> 0.0009765625
    t.BFloat16 -> 0.0078125
  }
}

/// What NumPy's default is called here.
fn run(case_: Case) -> Result(t.Tensor, t.TensorError) {
  case case_.op, inputs(case_), case_.parameters {
    "add", [a, b], _ -> t.add(a, b)
    "sub", [a, b], _ -> t.sub(a, b)
    "mul", [a, b], _ -> t.mul(a, b)
    "div", [a, b], _ -> t.div(a, b)
    "add_broadcast", [a, b], _ -> t.add_broadcast(a, b)
    "sub_broadcast", [a, b], _ -> t.sub_broadcast(a, b)
    "mul_broadcast", [a, b], _ -> t.mul_broadcast(a, b)
    "div_broadcast", [a, b], _ -> t.div_broadcast(a, b)
    "scale", [a], [s] -> Ok(t.scale(a, otp.int_to_float(s) /. 4.0))
    "clamp", [a], [low, high] ->
      t.try_clamp(
        a,
        otp.int_to_float(low) /. 4.0,
        otp.int_to_float(high) /. 4.0,
      )
    "negate", [a], _ -> Ok(t.negate(a))
    "absolute", [a], _ -> Ok(t.absolute(a))
    "exp", [a], _ -> Ok(t.exp(a))
    "log", [a], _ -> Ok(t.log(t.map(t.absolute(a), fn(x) { x +. 0.5 })))
    "sqrt", [a], _ -> Ok(t.sqrt(t.absolute(a)))
    "tanh", [a], _ -> Ok(t.tanh(a))
    "sigmoid", [a], _ -> Ok(t.sigmoid(a))
    "relu", [a], _ -> Ok(t.relu(a))
    "silu", [a], _ -> Ok(t.silu(a))
    "gelu", [a], _ -> Ok(t.gelu(a))
    "gelu_tanh", [a], _ -> Ok(t.gelu_tanh(a))
    "normalize", [a], _ -> Ok(t.normalize(a))
    "sum", [a], _ -> number(t.try_sum(a), t.sum(a))
    "mean", [a], _ -> number(t.try_mean(a), t.mean(a))
    "max", [a], _ -> number(t.try_max(a), t.max(a))
    "min", [a], _ -> number(t.try_min(a), t.min(a))
    "variance", [a], _ -> number(t.try_variance(a), t.variance(a))
    "std", [a], _ -> number(t.try_std(a), t.std(a))
    "norm", [a], _ -> number(t.try_norm(a), t.norm(a))
    "argmax", [a], _ -> index(t.try_argmax(a), t.argmax(a))
    "argmin", [a], _ -> index(t.try_argmin(a), t.argmin(a))
    "sum_axis", [a], [axis] -> t.sum_axis(a, axis)
    "mean_axis", [a], [axis] -> t.mean_axis(a, axis)
    "variance_axis", [a], [axis] -> t.variance_axis(a, axis)
    "max_axis", [a], [axis] -> t.max_axis(a, axis)
    "min_axis", [a], [axis] -> t.min_axis(a, axis)
    "argmax_axis", [a], [axis] -> t.argmax_axis(a, axis)
    "argmin_axis", [a], [axis] -> t.argmin_axis(a, axis)
    "dot", [a, b], _ -> t.dot(a, b) |> otp.map_ok(t.fill([], _))
    "matmul", [a, b], _ -> t.matmul(a, b)
    "matmul_vec", [a, b], _ -> t.matmul_vec(a, b)
    "batch_matmul", [a, b], _ -> t.batch_matmul(a, b)
    "outer", [a, b], _ -> t.outer(a, b)
    "transpose", [a], _ -> t.transpose(a)
    "permute", [a], axes -> t.permute(a, axes)
    "flatten", [a], _ -> Ok(t.flatten(a))
    "slice", [a], numbers -> {
      let start = otp.take(numbers, t.rank(a))
      t.slice(a, start:, length: otp.drop(numbers, t.rank(a)))
    }
    "gather", [a], [axis, ..indices] -> t.gather(a, axis, indices)
    "concat", tensors, [axis] -> t.concat(tensors, axis)
    "stack", tensors, [axis] -> t.stack(tensors, axis)
    "conv2d", [a, b], [kh, kw, sh, sw, ph, pw] ->
      t.conv2d(a, b, t.Conv2dConfig(kh, kw, sh, sw, ph, pw))
    "max_pool2d", [a], [ph, pw, sh, sw] -> t.max_pool2d(a, ph, pw, sh, sw)
    "avg_pool2d", [a], [ph, pw, sh, sw] -> t.avg_pool2d(a, ph, pw, sh, sw)
    "global_avg_pool2d", [a], _ -> t.global_avg_pool2d(a)
    "pad2d", [a], [h, w] -> t.pad2d(a, h, w)
    "pad4d", [a], [h, w] -> t.pad4d(a, h, w)
    "softmax", [a], [axis] -> t.softmax(a, axis)
    "log_softmax", [a], [axis] -> t.log_softmax(a, axis)
    "layer_norm", [a, w, b], _ -> t.layer_norm(a, w, b, 0.125)
    "rms_norm", [a, w], _ -> t.rms_norm(a, w, 0.125)
    "attention", [q, k, v, m], _ ->
      t.scaled_dot_product_attention(q, k, v, t.AddMask(m))
    "linear", [a, w, b], _ -> t.linear(a, w, b)
    "embedding", [a], ids -> t.embedding(a, ids)
    "cast", [a], _ -> Ok(a)
    op, _, _ -> Error(t.InvalidArgument("op", "one of the table's", op))
  }
}

/// Both twins, which say the same.
fn number(
  checked: Result(Float, t.TensorError),
  plain: Float,
) -> Result(t.Tensor, t.TensorError) {
  assert checked == Ok(plain)
  Ok(t.fill([], plain))
}

fn index(
  checked: Result(Int, t.TensorError),
  plain: Int,
) -> Result(t.Tensor, t.TensorError) {
  assert checked == Ok(plain)
  Ok(t.fill([], otp.int_to_float(plain)))
}

// The table.

fn cases() -> List(Case) {
  let text = paths.gunzip("test/fixtures/tensor/cases.json.gz")
  let assert Ok(json.Array(cases)) = json.decode(text)
  number_from(cases, 0)
}

fn number_from(cases: List(Json), number: Int) -> List(Case) {
  case cases {
    [] -> []
    [first, ..rest] -> [read(first, number), ..number_from(rest, number + 1)]
  }
}

fn read(case_: Json, number: Int) -> Case {
  let assert json.Array([
    json.Text(op),
    json.Text(dtype),
    json.Array(inputs),
    parameters,
    shape,
    json.Text(hex),
  ]) = case_
  let inputs = {
    use input <- otp.map(inputs)
    let assert json.Array([shape, json.Text(view)]) = input
    #(integers(shape), view)
  }
  let assert Ok(expected) =
    t.from_binary(paths.unhex(hex), integers(shape), t.Float32)
  let parameters = integers(parameters)
  let dtype = case dtype {
    "float64" -> t.Float64
    "float32" -> t.Float32
    "float16" -> t.Float16
    _ -> t.BFloat16
  }
  Case(number:, op:, dtype:, inputs:, parameters:, expected:)
}

fn integers(array: Json) -> List(Int) {
  let assert json.Array(values) = array
  use value <- otp.map(values)
  let assert json.Integer(integer) = value
  integer
}

fn inputs(case_: Case) -> List(t.Tensor) {
  build_from(case_.inputs, case_.dtype, 16 * case_.number)
}

fn build_from(
  inputs: List(#(List(Int), String)),
  dtype: t.Dtype,
  seed: Int,
) -> List(t.Tensor) {
  case inputs {
    [] -> []
    [#(shape, view), ..rest] -> [
      build(shape, view, dtype, seed),
      ..build_from(rest, dtype, seed + 1)
    ]
  }
}

fn build(
  shape: List(Int),
  view: String,
  dtype: t.Dtype,
  seed: Int,
) -> t.Tensor {
  case view {
    "transposed" -> {
      let axes = otp.reverse(count_up(otp.length(shape)))
      let turned = filled(otp.reverse(shape), dtype, seed)
      let assert Ok(view) = t.permute(turned, axes)
      view
    }
    "sliced" -> {
      let large = filled(otp.map(shape, fn(n) { n + 2 }), dtype, seed)
      let start = otp.map(shape, fn(_) { 1 })
      let assert Ok(view) = t.slice(large, start:, length: shape)
      view
    }
    "stretched" -> {
      let small = filled(otp.drop(shape, 1), dtype, seed)
      let assert Ok(view) = t.broadcast_to(small, shape)
      view
    }
    _ -> filled(shape, dtype, seed)
  }
}

fn filled(shape: List(Int), dtype: t.Dtype, seed: Int) -> t.Tensor {
  let size = otp.fold(shape, from: 1, with: fn(size, n) { size * n })
  let numbers = t.vector(paths.generated(seed, size))
  let assert Ok(tensor) = t.reshape(t.cast(numbers, dtype), shape)
  tensor
}

fn count_up(count: Int) -> List(Int) {
  case count {
    0 -> []
    _ -> otp.append(count_up(count - 1), [count - 1])
  }
}
