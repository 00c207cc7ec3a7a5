//// Tensors at their edges: NaN and infinities, empty tensors, bad axes,
//// rounding, text; everything on both paths.

import support
import tensor_support as paths
import viva_tensor as t
import viva_tensor/otp

const nan = <<1, 0, 0, 0, 0, 0, 0xF8, 0x7F>>

/// The same one, not quiet.
const signalling = <<1, 0, 0, 0, 0, 0, 0xF0, 0x7F>>

const default_nan = <<0, 0, 0, 0, 0, 0, 0xF8, 0x7F>>

const infinity = <<0, 0, 0, 0, 0, 0, 0xF0, 0x7F>>

const minus_infinity = <<0, 0, 0, 0, 0, 0, 0xF0, 0xFF>>

const largest = 1.7976931348623157e308

fn float(x: Float) -> BitArray {
  <<x:float-size(64)-little>>
}

fn tensor(elements: List(BitArray)) -> t.Tensor {
  let assert Ok(tensor) =
    t.from_binary(join(elements), [otp.length(elements)], t.Float64)
  tensor
}

@external(erlang, "erlang", "iolist_to_binary")
fn join(parts: List(BitArray)) -> BitArray

// IEEE 754.

pub fn two_operands_table_test() {
  use <- paths.everywhere
  let one = float(1.0)
  let zero = float(0.0)
  let minus_zero = float(-0.0)
  let big = float(largest)
  use #(op, a, b, expected) <- support.each([
    #(t.add, big, big, infinity),
    #(t.add, infinity, minus_infinity, default_nan),
    #(t.add, infinity, one, infinity),
    #(t.add, nan, minus_infinity, nan),
    #(t.add, one, signalling, nan),
    #(t.sub, infinity, infinity, default_nan),
    #(t.sub, float(0.0 -. largest), big, minus_infinity),
    #(t.sub, one, nan, nan),
    #(t.mul, zero, infinity, default_nan),
    #(t.mul, big, float(-2.0), minus_infinity),
    #(t.mul, minus_infinity, float(-1.0), infinity),
    #(t.mul, signalling, zero, nan),
    #(t.div, one, zero, infinity),
    #(t.div, one, minus_zero, minus_infinity),
    #(t.div, zero, zero, default_nan),
    #(t.div, one, minus_infinity, minus_zero),
    #(t.div, infinity, infinity, default_nan),
    #(t.div, big, float(0.5), infinity),
    #(t.div, zero, nan, nan),
  ])
  let assert Ok(result) = op(tensor([a, one]), tensor([b, one]))
  let assert <<found:bytes-size(8), _:bytes>> = t.to_binary(result)
  assert #(a, b, found) == #(a, b, expected)
}

pub fn one_operand_table_test() {
  use <- paths.everywhere
  use #(name, op, x, expected) <- support.each([
    #("exp", t.exp, float(1000.0), infinity),
    #("exp", t.exp, float(-1000.0), float(0.0)),
    #("exp", t.exp, minus_infinity, float(0.0)),
    #("exp", t.exp, signalling, nan),
    #("log", t.log, float(0.0), minus_infinity),
    #("log", t.log, float(-1.0), default_nan),
    #("log", t.log, infinity, infinity),
    #("sqrt", t.sqrt, float(-1.0), default_nan),
    #("tanh", t.tanh, minus_infinity, float(-1.0)),
    #("sigmoid", t.sigmoid, float(-1000.0), float(0.0)),
    #("sigmoid", t.sigmoid, infinity, float(1.0)),
    #("silu", t.silu, float(-1000.0), float(-0.0)),
    #("relu", t.relu, nan, nan),
    #("relu", t.relu, minus_infinity, float(0.0)),
    #("gelu", t.gelu, infinity, infinity),
    #("gelu_tanh", t.gelu_tanh, float(1.0e200), float(1.0e200)),
    #("absolute", t.absolute, minus_infinity, infinity),
    #("scale", t.scale(_, 10.0), float(largest), infinity),
    #("scale", t.scale(_, 0.0), infinity, default_nan),
    #("clamp", t.clamp(_, -1.0, 1.0), minus_infinity, float(-1.0)),
    #("clamp", t.clamp(_, -1.0, 1.0), nan, nan),
    #("map", t.map(_, fn(x) { x +. 1.0 }), nan, nan),
  ])
  let result = t.to_binary(op(tensor([x])))
  assert #(name, x, result) == #(name, x, expected)
}

/// A hundred random pairs for each operation, among them what is special.
pub fn special_numbers_on_both_paths_test() {
  let special = [
    nan,
    signalling,
    infinity,
    minus_infinity,
    float(0.0),
    float(-0.0),
    float(largest),
    float(5.0e-324),
    float(-1.0),
    float(709.9),
    float(1.0e160),
  ]
  let pairs = {
    use a <- otp.map(special)
    use b <- otp.map(special)
    #(a, b)
  }
  let pairs = otp.flatten(pairs)
  let a = tensor(otp.map(pairs, fn(pair) { pair.0 }))
  let b = tensor(otp.map(pairs, fn(pair) { pair.1 }))
  use dtype <- support.each([t.Float64, t.Float32, t.Float16, t.BFloat16])
  let all = fn() {
    let #(a, b) = #(t.cast(a, dtype), t.cast(b, dtype))
    let assert Ok(sum) = t.add(a, b)
    let assert Ok(difference) = t.sub(a, b)
    let assert Ok(product) = t.mul(a, b)
    let assert Ok(quotient) = t.div(a, b)
    let assert Ok(matrix) = t.reshape(a, [11, 11])
    let assert Ok(maxima) = t.max_axis(matrix, 1)
    let assert Ok(indices) = t.argmax_axis(matrix, 1)
    let assert Ok(weights) = t.softmax(matrix, 1)
    let unary = [
      t.exp,
      t.log,
      t.sqrt,
      t.tanh,
      t.sigmoid,
      t.relu,
      t.silu,
      t.gelu,
      t.gelu_tanh,
      t.negate,
      t.absolute,
      t.scale(_, 3.0),
      t.clamp(_, -1.0, 2.0),
    ]
    otp.append(
      [sum, difference, product, quotient, maxima, indices, weights],
      otp.map(unary, fn(op) { op(a) }),
    )
    |> otp.map(t.to_binary)
  }
  let results = otp.map(paths.paths(), paths.on(_, all))
  let assert [first, ..others] = results
  use other <- support.each(others)
  assert #(dtype, other) == #(dtype, first)
}

pub fn scalars_are_finite_test() {
  use <- paths.everywhere
  let v = tensor([float(1.0), infinity, nan])
  assert t.to_list(v) == [1.0, largest, 0.0]
  assert t.try_to_list(v) == Error(t.NonFinite("to_list", 1))
  assert t.get(v, [2]) == Error(t.NonFinite("get", 2))
  assert t.get(v, [0]) == Ok(1.0)
  assert t.sum(v) == 0.0
  assert t.try_sum(v) == Error(t.NonFinite("sum", 1))
  assert t.max(tensor([infinity, float(1.0)])) == largest
  assert t.try_max(v) == Error(t.NonFinite("max", 1))
  assert t.argmax(v) == 2
  assert t.try_argmin(v) == Error(t.NonFinite("argmin", 1))
  assert t.dot(v, v) == Error(t.NonFinite("dot", 1))
  assert t.try_map(v, fn(x) { x }) == Error(t.NonFinite("map", 1))
  let big = t.vector([largest, largest])
  assert t.sum(big) == largest
  assert t.try_sum(big) == Error(t.Overflow("sum"))
  assert t.try_norm(big) == Error(t.Overflow("norm"))
  assert t.norm(big) == largest
  assert t.dot(big, big) == Error(t.Overflow("dot"))
  // From left to right this stays finite.
  assert t.try_sum(t.vector([largest, 0.0 -. largest, largest])) == Ok(largest)
}

// Totality.

pub fn empty_tensors_test() {
  use <- paths.everywhere
  use empty <- support.each([t.vector([]), t.zeros([0, 3]), t.zeros([2, 0])])
  assert t.to_list(empty) == []
  assert #(t.sum(empty), t.try_sum(empty)) == #(0.0, Ok(0.0))
  assert #(t.mean(empty), t.try_mean(empty))
    == #(0.0, Error(t.EmptyTensor("mean")))
  assert #(t.max(empty), t.try_max(empty))
    == #(0.0, Error(t.EmptyTensor("max")))
  assert #(t.std(empty), t.norm(empty)) == #(0.0, 0.0)
  assert #(t.argmax(empty), t.try_argmax(empty))
    == #(0, Error(t.EmptyTensor("argmax")))
  assert t.normalize(empty) == empty
  assert t.size(t.exp(t.scale(empty, 2.0))) == 0
  let assert Ok(both) = t.add(empty, empty)
  assert t.shape(both) == t.shape(empty)
  assert t.shape(t.flatten(empty)) == [0]
  let assert Ok(_) = t.softmax(empty, -1)
}

pub fn empty_axes_test() {
  use <- paths.everywhere
  let assert Ok(sums) = t.sum_axis(t.zeros([2, 0]), 1)
  assert t.to_list(sums) == [0.0, 0.0]
  assert t.max_axis(t.zeros([2, 0]), 1) == Error(t.EmptyTensor("max_axis"))
  let assert Ok(none) = t.max_axis(t.zeros([2, 0]), 0)
  assert t.shape(none) == [0]
  let assert Ok(product) = t.matmul(t.zeros([2, 0]), t.zeros([0, 3]))
  assert t.to_list(product) == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
  let assert Ok(product) = t.matmul(t.zeros([0, 2]), t.zeros([2, 3]))
  assert t.shape(product) == [0, 3]
  assert t.dot(t.vector([]), t.vector([])) == Ok(0.0)
  let assert Ok(part) = t.slice(t.ones([2, 3]), start: [2, 3], length: [0, 0])
  assert t.to_list(part) == []
}

pub fn shapes_that_cannot_be_test() {
  assert t.shape(t.zeros([2, -1])) == [2, 0]
  assert t.shape(t.ones([1_000_000_000, 1_000_000_000])) == [0]
  let assert Error(t.InvalidShape(_)) = t.try_zeros([1_000_000_000_000])
  // 480 GB, within the limit of elements and beyond this machine.
  assert t.shape(t.zeros([60, 1_000_000_000])) == [0]
  let assert Error(t.InvalidShape(_)) = t.try_ones([60, 1_000_000_000])
  let assert Error(t.InvalidShape(_)) =
    t.broadcast_to(t.ones([1]), [1_000_000_000_000])
  assert t.shape(t.xavier_init(-1, 3)) == [3, 0]
  assert t.shape(t.he_init(0, 3)) == [3, 0]
  assert t.matrix(2, 2, [1.0, 2.0, 3.0])
    == Error(t.InvalidShape("[2, 2] wants 4 elements, found 3"))
  assert t.from_list2d([[1.0], [1.0, 2.0]])
    == Error(t.InvalidShape("expected rows of one length, found 1 and 2"))
  assert t.reshape(t.ones([2, 3]), [5])
    == Error(t.InvalidShape("the 6 elements of [2, 3] do not make [5]"))
  let assert Ok(none) = t.from_list2d([])
  assert t.shape(none) == [0, 0]
  let assert Error(t.InvalidArgument(..)) =
    t.from_binary(<<1, 2, 3>>, [1], t.Float16)
}

/// Code for the earlier package counts on these.
pub fn as_the_earlier_package_test() {
  assert t.shape(t.xavier_init(128, 64)) == [64, 128]
  assert t.shape(t.he_init(3, 2)) == [2, 3]
  assert t.shape(t.squeeze(t.ones([1, 1]))) == [1]
  assert t.shape(t.squeeze(t.ones([]))) == [1]
  let assert Ok(image) = t.reshape(t.vector(one_to(8)), [2, 2, 2])
  let assert Ok(kernel) = t.reshape(t.vector(one_to(4)), [2, 1, 2])
  let assert Ok(sums) =
    t.conv2d(image, kernel, t.Conv2dConfig(1, 2, 1, 1, 0, 0))
  assert t.shape(sums) == [2, 1]
  // 1·1 + 2·2 + 3·5 + 4·6 and 1·3 + 2·4 + 3·7 + 4·8
  assert t.to_list(sums) == [44.0, 64.0]
  let assert Error(t.ShapeMismatch([2], [1, 2])) =
    t.dot(t.ones([2]), t.ones([1, 2]))
}

fn one_to(last: Int) -> List(Float) {
  case last {
    0 -> []
    _ -> otp.append(one_to(last - 1), [otp.int_to_float(last)])
  }
}

pub fn bad_axes_and_shapes_test() {
  let m = t.ones([2, 3])
  assert t.unsqueeze(m, 5) == m
  let assert Error(t.DimensionError(_)) = t.try_unsqueeze(m, -4)
  let assert Error(t.DimensionError(_)) = t.sum_axis(m, 2)
  let assert Error(t.DimensionError(_)) = t.softmax(m, -3)
  let assert Error(t.DimensionError(_)) = t.permute(m, [0, 0])
  let assert Error(t.DimensionError(_)) = t.transpose(t.ones([3]))
  let assert Error(t.DimensionError(_)) = t.matmul(m, t.ones([3]))
  let assert Error(t.ShapeMismatch([3, 3], [2, 3])) = t.matmul(m, m)
  let assert Error(t.ShapeMismatch([3], [2])) = t.matmul_vec(m, t.ones([2]))
  let assert Error(t.ShapeMismatch(..)) = t.add(m, t.ones([3]))
  let assert Error(t.BroadcastError(..)) = t.add_broadcast(m, t.ones([2]))
  let assert Error(t.IndexOutOfBounds(2, 2)) = t.get(m, [2, 0])
  let assert Error(t.DimensionError(_)) = t.get(m, [0])
  let assert Error(t.IndexOutOfBounds(3, 3)) =
    t.slice(m, start: [0, 1], length: [1, 3])
  let assert Error(t.IndexOutOfBounds(-1, 2)) =
    t.slice(m, start: [-1, 0], length: [1, 1])
  let assert Error(t.IndexOutOfBounds(7, 2)) = t.gather(m, 0, [7])
  let assert Error(t.IndexOutOfBounds(-1, 2)) = t.embedding(m, [-1])
  let assert Error(t.ShapeMismatch(..)) = t.concat([m, t.ones([3, 3])], 1)
  let assert Error(t.EmptyTensor("concat")) = t.concat([], 0)
  let assert Error(t.ShapeMismatch(..)) = t.conv2d(m, m, t.conv2d_config())
  let assert Error(t.ShapeMismatch(..)) = t.max_pool2d(m, 3, 3, 1, 1)
  let assert Error(t.InvalidArgument(..)) = t.avg_pool2d(m, 1, 1, 0, 1)
  let assert Error(t.InvalidArgument(..)) = t.pad2d(m, -1, 0)
  let assert Error(t.InvalidArgument(..)) = t.try_clamp(m, 1.0, 0.0)
  let assert Error(t.InvalidArgument(..)) = t.rms_norm(m, t.ones([3]), -1.0)
  let assert Error(t.ShapeMismatch([3], [2])) =
    t.layer_norm(m, t.ones([2]), t.ones([3]), 0.1)
}

pub fn every_tensor_error_in_words_test() {
  use #(error, words) <- support.each([
    #(t.ShapeMismatch([2], [3]), ["[2]", "[3]"]),
    #(t.InvalidShape("the reason"), ["the reason"]),
    #(t.DimensionError("the reason"), ["the reason"]),
    #(t.BroadcastError([2], [3]), ["[2]", "[3]"]),
    #(t.IndexOutOfBounds(7, 5), ["7", "5"]),
    #(t.EmptyTensor("mean"), ["mean", "empty"]),
    #(t.NonFinite("sum", 7), ["sum", "7"]),
    #(t.Overflow("sum"), ["sum", "range"]),
    #(t.InvalidArgument("name", "this", "that"), ["name", "this", "that"]),
    #(t.TensorFile("a/path", "no permission"), ["a/path", "no permission"]),
    #(t.DeviceUnavailable("cuda:1", "the reason"), ["cuda:1", "the reason"]),
    #(t.DeviceOutOfMemory("cuda:1", 77, 66), ["cuda:1", "77", "66"]),
    #(t.DeviceMismatch("host", "cuda:1"), ["host", "cuda:1", "to_device"]),
    #(t.MalformedTensorFile("a/path", "this", "that"), ["a/path", "this"]),
  ])
  let text = t.describe_tensor_error(error)
  use word <- support.each(words)
  let assert #(_, Ok(_)) = #(text, otp.split_once(text, at: word))
}

// Views.

pub fn views_share_their_elements_test() {
  let m = t.random_uniform_seeded([40, 50], 1)
  let assert Ok(turned) = t.transpose_strided(m)
  assert #(t.is_contiguous(m), t.is_contiguous(turned)) == #(True, False)
  let assert Ok(back) = t.transpose_strided(turned)
  assert back == m
  assert t.to_contiguous(turned) |> t.is_contiguous
  let assert Ok(copy) = t.transpose(m)
  assert t.to_list(copy) == t.to_list(turned)
  assert copy == t.to_contiguous(turned)
  assert t.to_strided(m) == m
}

// Large operands, which go over many threads and blocks.

pub fn large_operands_on_both_paths_test() {
  let a = t.random_uniform_seeded([150, 301], 1)
  let b = t.random_normal_seeded([301, 130], 0.0, 1.0, 2)
  let image = t.random_uniform_seeded([2, 3, 40, 33], 3)
  let kernel = t.random_uniform_seeded([5, 3, 3, 3], 4)
  let all = fn() {
    let assert Ok(product) = t.matmul(a, b)
    let assert Ok(turned) = t.transpose_strided(b)
    let assert Ok(left) = t.transpose_strided(a)
    let assert Ok(other) = t.matmul(turned, left)
    let assert Ok(convolved) = t.conv2d(image, kernel, t.conv2d_same(3, 3))
    let assert Ok(sums) = t.sum_axis(a, 0)
    let assert Ok(weights) = t.softmax(b, 0)
    let assert Ok(norms) = t.rms_norm(b, t.ones([130]), 1.0e-6)
    let assert Ok(pooled) = t.max_pool2d(image, 3, 2, 2, 1)
    [
      product,
      other,
      convolved,
      sums,
      weights,
      norms,
      pooled,
      t.gelu(a),
      t.vector([t.sum(a), t.mean(b), t.variance(a), t.norm(b)]),
      t.vector([t.max(a), otp.int_to_float(t.argmin(b))]),
    ]
  }
  let assert [first, ..others] = otp.map(paths.paths(), paths.on(_, all))
  use other <- support.each(others)
  use #(expected, actual) <- support.each(otp.zip(first, other))
  assert t.shape(actual) == t.shape(expected)
  // Sums of 301 products of about one, of 45150 terms below one.
  assert paths.first_far(expected, actual, 1.0e-13) == -1
}

// Element types.

/// To nearest even: ties, the border to subnormal numbers, overflow.
pub fn narrowing_test() {
  use <- paths.everywhere
  use #(x, dtype, bits) <- support.each([
    #(1.0, t.Float16, 0x3C00),
    #(1.00048828125, t.Float16, 0x3C00),
    #(1.00146484375, t.Float16, 0x3C02),
    // Just above a tie: rounding to float32 first would lose that.
    #(1.0004882812500002, t.Float16, 0x3C01),
    #(65_519.999, t.Float16, 0x7BFF),
    #(65_520.0, t.Float16, 0x7C00),
    #(5.960464477539063e-8, t.Float16, 0x0001),
    #(2.9802322387695312e-8, t.Float16, 0x0000),
    #(2.980232238769532e-8, t.Float16, 0x0001),
    #(6.097555160522461e-5, t.Float16, 0x03FF),
    #(6.103515625e-5, t.Float16, 0x0400),
    #(6.100535392761231e-5, t.Float16, 0x0400),
    #(-1.0e-300, t.Float16, 0x8000),
    #(1.00390625, t.BFloat16, 0x3F80),
    #(1.01171875, t.BFloat16, 0x3F82),
    #(1.0039062500000002, t.BFloat16, 0x3F81),
    #(3.4e38, t.BFloat16, 0x7F80),
    #(-3.38e38, t.BFloat16, 0xFF7E),
  ])
  let narrow = t.cast(t.vector([x]), dtype)
  assert #(x, t.to_binary(narrow)) == #(x, <<bits:size(16)-little>>)
}

pub fn narrowing_to_float32_test() {
  use <- paths.everywhere
  let narrow = t.cast(t.vector([1.0e300, -1.0e300, 0.1, 1.0e-46]), t.Float32)
  let expected = <<
    0x7F800000:size(32)-little,
    0xFF800000:size(32)-little,
    0x3DCCCCCD:size(32)-little,
    0:size(32)-little,
  >>
  assert t.to_binary(narrow) == expected
}

/// Every bit pattern of the narrow types, there and back.
pub fn every_half_test() {
  use <- paths.everywhere
  use dtype <- support.each([t.Float16, t.BFloat16])
  let assert Ok(all) = t.from_binary(all_halves(0, <<>>), [65_536], dtype)
  let back = t.cast(t.cast(all, t.Float64), dtype)
  // A NaN comes back quiet; it is the only thing that changes.
  let assert Ok(#(_, changed)) =
    count_changes(t.to_binary(all), t.to_binary(back))
  assert changed
    == case dtype {
      t.Float16 -> 2 * 511
      _ -> 2 * 63
    }
}

fn all_halves(next: Int, done: BitArray) -> BitArray {
  case next {
    65_536 -> done
    _ -> all_halves(next + 1, <<done:bits, next:size(16)-little>>)
  }
}

fn count_changes(a: BitArray, b: BitArray) -> Result(#(Int, Int), Nil) {
  count_changes_loop(a, b, 0, 0)
}

fn count_changes_loop(
  a: BitArray,
  b: BitArray,
  all: Int,
  changed: Int,
) -> Result(#(Int, Int), Nil) {
  case a, b {
    <<one:size(16)-little, a:bytes>>, <<other:size(16)-little, b:bytes>> ->
      case one == other {
        True -> count_changes_loop(a, b, all + 1, changed)
        False -> count_changes_loop(a, b, all + 1, changed + 1)
      }
    <<>>, <<>> -> Ok(#(all, changed))
    _, _ -> Error(Nil)
  }
}

pub fn mixed_types_test() {
  use <- paths.everywhere
  let of = fn(dtype) { t.cast(t.ones([2]), dtype) }
  use #(a, b, expected) <- support.each([
    #(t.Float16, t.Float16, t.Float16),
    #(t.Float16, t.BFloat16, t.Float32),
    #(t.BFloat16, t.Float32, t.Float32),
    #(t.Float16, t.Float64, t.Float64),
  ])
  let assert Ok(sum) = t.add(of(a), of(b))
  assert #(t.dtype(sum), t.to_list(sum)) == #(expected, [2.0, 2.0])
  let assert Ok(joined) = t.concat([of(a), of(b)], 0)
  assert t.dtype(joined) == expected
}

// Random numbers.

/// The first words of ChaCha20 with a key of zeros, as in RFC 8439, A.1.
pub fn random_numbers_test() {
  let first = <<0x76, 0xB8, 0xE0, 0xAD, 0xA0, 0xF1, 0x3D, 0x90>>
  let assert <<word:size(64)-little>> = first
  let expected = otp.int_to_float(word / 2048) /. 9_007_199_254_740_992.0
  assert t.to_list(t.random_uniform_seeded([1], 0)) == [expected]
  let some = t.random_uniform_seeded([100_000], 42)
  assert t.min(some) >=. 0.0 && t.max(some) <. 1.0
  assert near(t.mean(some), 0.5, 0.01)
    && near(t.variance(some), 1.0 /. 12.0, 0.01)
  let normal = t.random_normal_seeded([100_001], 3.0, 2.0, 42)
  assert near(t.mean(normal), 3.0, 0.05) && near(t.std(normal), 2.0, 0.05)
  assert t.random_uniform([4]) != t.random_uniform([4])
  let bound = 0.8660254037844387
  let weights = t.xavier_init_seeded(4, 4, 1)
  assert t.max(weights) <=. bound && t.min(weights) >=. 0.0 -. bound
}

fn near(x: Float, y: Float, by: Float) -> Bool {
  x -. y <. by && y -. x <. by
}

// Text.

/// What NumPy 2.4 prints.
pub fn text_test() {
  use #(tensor, expected) <- support.each([
    #(
      count([3, 4], fn(x) { x /. 7.0 }),
      "[[0.         0.14285714 0.28571429 0.42857143]\n"
        <> " [0.57142857 0.71428571 0.85714286 1.        ]\n"
        <> " [1.14285714 1.28571429 1.42857143 1.57142857]]",
    ),
    #(t.vector([1.0e10, 1.0, -2.5e-7]), "[ 1.0e+10  1.0e+00 -2.5e-07]"),
    #(
      count([2, 1000], fn(x) { x }),
      "[[0.000e+00 1.000e+00 2.000e+00 ... 9.970e+02 9.980e+02 9.990e+02]\n"
        <> " [1.000e+03 1.001e+03 1.002e+03 ... 1.997e+03 1.998e+03 1.999e+03]]",
    ),
    #(
      count([2, 2, 2], fn(x) { x }),
      "[[[0. 1.]\n  [2. 3.]]\n\n [[4. 5.]\n  [6. 7.]]]",
    ),
    #(
      tensor([nan, infinity, minus_infinity, float(1.5)]),
      "[ nan  inf -inf  1.5]",
    ),
    #(t.fill([], 3.25), "3.25"),
    #(
      count([30], fn(x) { x *. 1.125 -. 7.0 }),
      "[-7.    -5.875 -4.75  -3.625 -2.5   -1.375 -0.25   0.875  2.     3.125\n"
        <> "  4.25   5.375  6.5    7.625  8.75   9.875 11.    12.125 13.25  14.375\n"
        <> " 15.5   16.625 17.75  18.875 20.    21.125 22.25  23.375 24.5   25.625]",
    ),
    #(t.cast(t.vector([0.1, 0.2]), t.Float32), "[0.1 0.2]"),
  ])
  let text = t.to_string(tensor)
  let assert Ok(#(body, _)) = otp.split_once(text, at: "\nshape ")
  assert body == expected
}

fn count(shape: List(Int), function: fn(Float) -> Float) -> t.Tensor {
  let size = otp.fold(shape, from: 1, with: fn(size, n) { size * n })
  let assert Ok(tensor) = t.reshape(t.vector(count_down(size - 1, [])), shape)
  t.map(tensor, function)
}

fn count_down(next: Int, done: List(Float)) -> List(Float) {
  case next < 0 {
    True -> done
    False -> count_down(next - 1, [otp.int_to_float(next), ..done])
  }
}

// The machine.

pub fn tensors_stay_with_the_host_test() {
  let v = t.vector([1.0, 2.0])
  support.each([t.Auto, t.Cpu, t.Beam], fn(device) {
    assert t.to_device(v, device) == Ok(v)
  })
  assert t.to_host(v) == Ok(v)
  let assert Error(t.DeviceUnavailable("cuda:3", reason)) =
    t.to_device(v, t.Cuda(3))
  let assert [_, _, cuda] = t.devices()
  // Where there are GPUs, the reason is that there is no fourth one.
  let advice = case otp.split_once(reason, at: "; ") {
    Ok(#(note, advice)) if note == cuda.note -> Ok(advice)
    _ -> Error(Nil)
  }
  assert { cuda.availability == t.Missing } == { advice != Error(Nil) }
  // Who only looks is told without advice.
  assert otp.split_once(cuda.note, at: "Auto") == Error(Nil)
}

pub fn devices_test() {
  let assert [beam, cpu, cuda] = t.devices()
  assert #(beam.name, cpu.name, cuda.name) == #("beam", "cpu", "cuda")
  assert cpu.availability
    == case support.library_loaded() {
      True -> t.Available
      False -> t.Missing
    }
  // Without the library the note says how to get it.
  let says = otp.split_once(cpu.note, at: "make build") != Error(Nil)
  assert says != support.library_loaded()
}
