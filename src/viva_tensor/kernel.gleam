//// The work on elements in the host's memory: binaries in, binaries out, by the native library or
//// by viva_tensor_beam.erl.
////
//// Large operands go to the native library when it is loaded; both give the
//// same, but for the order of sums (see `rows` and `matmul`). The environment
//// decides otherwise: VIVA_TENSOR_DEVICE=beam leaves the library out,
//// VIVA_TENSOR_DEVICE=cpu uses it for small operands, too. The surprise: when
//// the library refuses, for want of memory say, the BEAM does the work.

import viva_tensor/error.{type Error}
import viva_tensor/native
import viva_tensor/otp

pub type Dtype {
  Float64
  Float32
  Float16
  BFloat16
}

/// An element on the BEAM: a float, or the bits of a NaN or an infinity.
pub type Number

pub type Binary {
  Add
  Subtract
  Multiply
  Divide
  Larger
  Smaller
}

pub type Unary {
  Scale(Float)
  Clamp(low: Float, high: Float)
  Exp
  Log
  Sqrt
  Tanh
  Negate
  Absolute
  Sigmoid
  Relu
  Silu
  Gelu
  GeluTanh
}

/// What is done with a row: a number of it, or as many numbers.
pub type Row {
  Sum
  SumOfSquares
  Mean
  Variance
  Max
  Min
  Argmax
  Argmin
  Softmax
  LogSoftmax
  LayerNorm(epsilon: Float)
  RmsNorm(epsilon: Float)
}

pub fn width(dtype: Dtype) -> Int {
  case dtype {
    Float64 -> 8
    Float32 -> 4
    Float16 | BFloat16 -> 2
  }
}

/// The smallest type that holds the elements of both.
pub fn common(one: Dtype, other: Dtype) -> Dtype {
  case one, other {
    _, _ if one == other -> one
    Float64, _ | _, Float64 -> Float64
    _, _ -> Float32
  }
}

// Which path.

type Path {
  Auto
  Beam
  Cpu
}

@external(erlang, "viva_tensor_beam", "device")
fn asked_path() -> Path

fn elements(data: BitArray, dtype: Dtype) -> Int {
  quotient(byte_size(data), width(dtype))
}

/// Not `/`, which makes a case of a width of 0: there is none, and Dialyzer
/// says so.
@external(erlang, "erlang", "div")
fn quotient(a: Int, b: Int) -> Int

/// Elements from which on a call of the library is the faster way.
const enough_elements = 256

/// Multiply-adds from which on it is.
const enough_products = 2048

fn choose(
  work: Int,
  enough: Int,
  by_library: fn() -> Result(a, Error),
  by_beam: fn() -> a,
) -> a {
  case uses_library(work, enough) {
    True ->
      case by_library() {
        Ok(value) -> value
        Error(_) -> by_beam()
      }
    False -> by_beam()
  }
}

/// Whether the native library is there and not left out.
pub fn library_may_work() -> Bool {
  native.loaded() && asked_path() != Beam
}

fn uses_library(work: Int, enough: Int) -> Bool {
  native.loaded()
  && case asked_path() {
    Beam -> False
    Cpu -> work > 0
    Auto -> work >= enough
  }
}

// Elements in and out.

@external(erlang, "viva_tensor_beam", "unpack")
pub fn unpack(dtype: Dtype, data: BitArray) -> List(Number)

@external(erlang, "viva_tensor_beam", "pack")
pub fn pack(dtype: Dtype, numbers: List(Number)) -> BitArray

@external(erlang, "viva_tensor_beam", "pack")
pub fn pack_floats(dtype: Dtype, floats: List(Float)) -> BitArray

/// A NaN becomes 0.0 and an infinity the largest float.
@external(erlang, "viva_tensor_beam", "clean")
pub fn clean(numbers: List(Number)) -> List(Float)

@external(erlang, "viva_tensor_beam", "clean_number")
pub fn clean_number(number: Number) -> Float

@external(erlang, "erlang", "is_float")
pub fn is_finite(number: Number) -> Bool

// Bytes.

@external(erlang, "erlang", "byte_size")
pub fn byte_size(data: BitArray) -> Int

@external(erlang, "erlang", "bit_size")
pub fn bit_size(data: BitArray) -> Int

/// No copy.
@external(erlang, "binary", "part")
pub fn part(data: BitArray, start: Int, length: Int) -> BitArray

@external(erlang, "binary", "copy")
pub fn repeat(data: BitArray, times: Int) -> BitArray

@external(erlang, "erlang", "iolist_to_binary")
pub fn concat(parts: List(BitArray)) -> BitArray

// Kernels.

/// A view's elements in row-major order.
pub fn contiguous(
  width: Int,
  shape: List(Int),
  strides: List(Int),
  offset: Int,
  data: BitArray,
) -> BitArray {
  use <- choose(
    otp.fold(shape, from: 1, with: fn(size, length) { size * length }),
    enough_elements,
    fn() { nif_contiguous(width, shape, strides, offset, data) },
  )
  beam_contiguous(width, shape, strides, offset, data)
}

/// The index of the first NaN or infinity, -1 without one.
pub fn first_non_finite(dtype: Dtype, data: BitArray) -> Int {
  use <- choose(elements(data, dtype), enough_elements, fn() {
    nif_first_non_finite(dtype, data)
  })
  beam_first_non_finite(dtype, data)
}

pub fn cast(from: Dtype, to: Dtype, data: BitArray) -> BitArray {
  use <- choose(elements(data, from), enough_elements, fn() {
    nif_cast(from, to, data)
  })
  beam_cast(from, to, data)
}

/// As many elements of one type on both sides.
pub fn binary(op: Binary, dtype: Dtype, a: BitArray, b: BitArray) -> BitArray {
  use <- choose(elements(a, dtype), enough_elements, fn() {
    nif_binary(op, dtype, a, b)
  })
  beam_binary(op, dtype, a, b)
}

pub fn unary(op: Unary, dtype: Dtype, a: BitArray) -> BitArray {
  use <- choose(elements(a, dtype), enough_elements, fn() {
    nif_unary(op, dtype, a)
  })
  beam_unary(op, dtype, a)
}

/// Never by the library: the function is the caller's.
@external(erlang, "viva_tensor_beam", "map")
pub fn map(function: fn(Float) -> Float, dtype: Dtype, a: BitArray) -> BitArray

/// Rows of `length` elements of type `from`, at least one; results of type
/// `to`. The BEAM sums from left to right; the library in eight partial sums,
/// of the elements whose index leaves the same rest by eight, block by block
/// of 4096 elements, all in float64.
pub fn rows(
  op: Row,
  from: Dtype,
  to: Dtype,
  a: BitArray,
  length: Int,
) -> BitArray {
  use <- choose(elements(a, from), enough_elements, fn() {
    nif_rows(op, from, to, a, length)
  })
  beam_rows(op, from, to, a, length)
}

/// [M, K] x [K, N] -> [M, N]. An operand starts with its first element; its
/// strides are those of rows and columns, in elements. The BEAM sums from left
/// to right in float64; the library in an order of its own, in float64 for
/// float64 and in float32 for the other types.
pub fn matmul(
  dtype: Dtype,
  m: Int,
  k: Int,
  n: Int,
  a: BitArray,
  a_strides: #(Int, Int),
  b: BitArray,
  b_strides: #(Int, Int),
) -> BitArray {
  use <- choose(m * k * n, enough_products, fn() {
    nif_matmul(dtype, m, k, n, a, a_strides, b, b_strides)
  })
  beam_matmul(dtype, m, k, n, a, a_strides, b, b_strides)
}

pub type ConvolutionSize {
  ConvolutionSize(
    images: Int,
    channels: Int,
    height: Int,
    width: Int,
    outputs: Int,
    kernel_height: Int,
    kernel_width: Int,
    stride_height: Int,
    stride_width: Int,
    pad_height: Int,
    pad_width: Int,
  )
}

/// [N, C, H, W] * [O, C, KH, KW] -> [N, O, OH, OW], zeros around each plane.
/// Sums as `matmul`.
pub fn conv2d(
  dtype: Dtype,
  input: BitArray,
  kernel: BitArray,
  size: ConvolutionSize,
) -> BitArray {
  let work = elements(input, dtype) * byte_size(kernel)
  use <- choose(work, enough_products, fn() {
    nif_conv2d(dtype, input, kernel, size)
  })
  beam_conv2d(dtype, input, kernel, size)
}

pub type PoolSize {
  PoolSize(
    planes: Int,
    height: Int,
    width: Int,
    pool_height: Int,
    pool_width: Int,
    stride_height: Int,
    stride_width: Int,
  )
}

/// Planes of [H, W] -> [OH, OW], by `Max` or `Mean`.
pub fn pool2d(
  op: Row,
  dtype: Dtype,
  input: BitArray,
  size: PoolSize,
) -> BitArray {
  use <- choose(elements(input, dtype), enough_elements, fn() {
    nif_pool2d(op, dtype, input, size)
  })
  beam_pool2d(op, dtype, input, size)
}

@external(erlang, "viva_tensor_beam", "contiguous")
fn beam_contiguous(
  width: Int,
  shape: List(Int),
  strides: List(Int),
  offset: Int,
  data: BitArray,
) -> BitArray

@external(erlang, "viva_tensor_beam", "first_non_finite")
fn beam_first_non_finite(dtype: Dtype, data: BitArray) -> Int

@external(erlang, "viva_tensor_beam", "cast")
fn beam_cast(from: Dtype, to: Dtype, data: BitArray) -> BitArray

@external(erlang, "viva_tensor_beam", "binary")
fn beam_binary(op: Binary, dtype: Dtype, a: BitArray, b: BitArray) -> BitArray

@external(erlang, "viva_tensor_beam", "unary")
fn beam_unary(op: Unary, dtype: Dtype, a: BitArray) -> BitArray

@external(erlang, "viva_tensor_beam", "rows")
fn beam_rows(
  op: Row,
  from: Dtype,
  to: Dtype,
  a: BitArray,
  length: Int,
) -> BitArray

@external(erlang, "viva_tensor_beam", "matmul")
fn beam_matmul(
  dtype: Dtype,
  m: Int,
  k: Int,
  n: Int,
  a: BitArray,
  a_strides: #(Int, Int),
  b: BitArray,
  b_strides: #(Int, Int),
) -> BitArray

@external(erlang, "viva_tensor_beam", "conv2d")
fn beam_conv2d(
  dtype: Dtype,
  input: BitArray,
  kernel: BitArray,
  size: ConvolutionSize,
) -> BitArray

@external(erlang, "viva_tensor_beam", "pool2d")
fn beam_pool2d(
  op: Row,
  dtype: Dtype,
  input: BitArray,
  size: PoolSize,
) -> BitArray

@external(erlang, "viva_tensor_nif", "tensor_contiguous")
fn nif_contiguous(
  width: Int,
  shape: List(Int),
  strides: List(Int),
  offset: Int,
  data: BitArray,
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_first_non_finite")
fn nif_first_non_finite(dtype: Dtype, data: BitArray) -> Result(Int, Error)

@external(erlang, "viva_tensor_nif", "tensor_cast")
fn nif_cast(from: Dtype, to: Dtype, data: BitArray) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_binary")
fn nif_binary(
  op: Binary,
  dtype: Dtype,
  a: BitArray,
  b: BitArray,
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_unary")
fn nif_unary(op: Unary, dtype: Dtype, a: BitArray) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_rows")
fn nif_rows(
  op: Row,
  from: Dtype,
  to: Dtype,
  a: BitArray,
  length: Int,
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_matmul")
fn nif_matmul(
  dtype: Dtype,
  m: Int,
  k: Int,
  n: Int,
  a: BitArray,
  a_strides: #(Int, Int),
  b: BitArray,
  b_strides: #(Int, Int),
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_conv2d")
fn nif_conv2d(
  dtype: Dtype,
  input: BitArray,
  kernel: BitArray,
  size: ConvolutionSize,
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "tensor_pool2d")
fn nif_pool2d(
  op: Row,
  dtype: Dtype,
  input: BitArray,
  size: PoolSize,
) -> Result(BitArray, Error)
