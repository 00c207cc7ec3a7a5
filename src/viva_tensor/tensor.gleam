//// A tensor: a shape over elements in a binary, or in a GPU's memory.
////
//// Elements are little-endian floats of one type. Transposing, slicing and
//// reshaping make views: another shape, strides and offset over the same
//// elements. Operations take them in row-major order with `elements` and make a
//// new tensor of what comes back, in the same place. The surprise: the VM owns
//// binaries and blocks of a GPU's memory alike, so nothing has to be freed.

import viva_tensor/kernel.{type Dtype, type Number}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/storage.{type Data}
import viva_tensor/tensor_error.{
  type TensorError, DeviceMismatch, DimensionError, EmptyTensor, IndexOutOfBounds,
  InvalidArgument, InvalidShape, NonFinite, ShapeMismatch,
}

pub opaque type Tensor {
  Tensor(
    shape: List(Int),
    /// In elements, one an axis; none is negative.
    strides: List(Int),
    /// Of the first element, in elements.
    offset: Int,
    dtype: Dtype,
    data: Data,
  )
}

// Making tensors.

/// A tensor over elements in row-major order, as many as the shape has.
pub fn new(shape: List(Int), dtype: Dtype, data: BitArray) -> Tensor {
  made(shape, dtype, storage.Host(data))
}

/// The same over elements that lie anywhere.
pub fn made(shape: List(Int), dtype: Dtype, data: Data) -> Tensor {
  Tensor(shape:, strides: shape.strides(shape), offset: 0, dtype:, data:)
}

pub fn from_numbers(
  shape: List(Int),
  dtype: Dtype,
  numbers: List(Number),
) -> Tensor {
  new(shape, dtype, kernel.pack(dtype, numbers))
}

pub fn from_floats(shape: List(Int), floats: List(Float)) -> Tensor {
  new(shape, kernel.Float64, kernel.pack_floats(kernel.Float64, floats))
}

pub fn fill(shape: List(Int), value: Float) -> Tensor {
  let shape = shape.or_empty(shape)
  let one = kernel.pack_floats(kernel.Float64, [value])
  new(shape, kernel.Float64, kernel.repeat(one, shape.size(shape)))
}

pub fn try_fill(shape: List(Int), value: Float) -> Result(Tensor, TensorError) {
  use shape <- otp.map_ok(shape.check(shape))
  fill(shape, value)
}

pub fn vector(floats: List(Float)) -> Tensor {
  from_floats([otp.length(floats)], floats)
}

pub fn matrix(
  rows: Int,
  columns: Int,
  floats: List(Float),
) -> Result(Tensor, TensorError) {
  use shape <- otp.try(shape.check([rows, columns]))
  let count = otp.length(floats)
  case count == rows * columns {
    True -> Ok(from_floats(shape, floats))
    False ->
      Error(InvalidShape(
        shape.to_string(shape)
        <> " wants "
        <> otp.int_to_string(rows * columns)
        <> " elements, found "
        <> otp.int_to_string(count),
      ))
  }
}

pub fn from_rows(rows: List(List(Float))) -> Result(Tensor, TensorError) {
  let width = case rows {
    [first, ..] -> otp.length(first)
    [] -> 0
  }
  let other = otp.filter(rows, fn(row) { otp.length(row) != width })
  case other {
    [] -> Ok(from_floats([otp.length(rows), width], otp.flatten(rows)))
    [row, ..] ->
      Error(InvalidShape(
        "expected rows of one length, found "
        <> otp.int_to_string(width)
        <> " and "
        <> otp.int_to_string(otp.length(row)),
      ))
  }
}

/// Little-endian elements in row-major order.
pub fn from_binary(
  data: BitArray,
  shape: List(Int),
  dtype: Dtype,
) -> Result(Tensor, TensorError) {
  use shape <- otp.try(shape.check(shape))
  let expected = shape.size(shape) * kernel.width(dtype)
  let found = kernel.byte_size(data)
  case kernel.bit_size(data) == expected * 8 {
    True -> Ok(new(shape, dtype, data))
    False ->
      Error(InvalidArgument(
        argument: "data",
        expected: otp.int_to_string(expected)
          <> " bytes for the shape "
          <> shape.to_string(shape),
        found: otp.int_to_string(found) <> " bytes",
      ))
  }
}

// Looking at tensors.

pub fn shape(tensor: Tensor) -> List(Int) {
  tensor.shape
}

pub fn strides(tensor: Tensor) -> List(Int) {
  tensor.strides
}

pub fn dtype(tensor: Tensor) -> Dtype {
  tensor.dtype
}

pub fn size(tensor: Tensor) -> Int {
  shape.size(tensor.shape)
}

pub fn rank(tensor: Tensor) -> Int {
  otp.length(tensor.shape)
}

/// Whether the elements lie in row-major order with no gaps.
pub fn is_contiguous(tensor: Tensor) -> Bool {
  shape.is_in_order(tensor.shape, tensor.strides)
}

/// The elements in row-major order: no copy when they lie so.
pub fn elements(tensor: Tensor) -> Data {
  let Tensor(shape:, strides:, offset:, dtype:, data:) = tensor
  let width = kernel.width(dtype)
  case is_contiguous(tensor) {
    True -> storage.part(data, offset * width, size(tensor) * width)
    False -> storage.contiguous(width, shape, strides, offset, data)
  }
}

/// The same in the host's memory; zeros where a device failed.
pub fn bytes(tensor: Tensor) -> BitArray {
  let count = size(tensor) * kernel.width(tensor.dtype)
  storage.bytes(elements(tensor), count)
}

/// The same of a tensor in the host's memory: for what no device does.
pub fn host_bytes(tensor: Tensor) -> Result(BitArray, TensorError) {
  case storage.check(tensor.data) {
    Ok(storage.Host(_)) -> Ok(bytes(tensor))
    Ok(data) -> Error(DeviceMismatch("host", storage.place(data)))
    Error(error) -> Error(error)
  }
}

/// The data from the first element on, to be walked by `strides`.
pub fn from_first(tensor: Tensor) -> Data {
  let start = tensor.offset * kernel.width(tensor.dtype)
  storage.part(tensor.data, start, storage.byte_size(tensor.data) - start)
}

pub fn view(tensor: Tensor) -> storage.View {
  storage.View(data: from_first(tensor), strides: tensor.strides)
}

// Where the elements are.

pub fn data(tensor: Tensor) -> Data {
  tensor.data
}

/// The tensor, or what its device could not do.
pub fn check(tensor: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.map_ok(storage.check(tensor.data))
  tensor
}

/// In the tensor's place what a device could not do.
pub fn failed(tensor: Tensor, error: TensorError) -> Tensor {
  made(tensor.shape, tensor.dtype, storage.Failed(error))
}

/// Both in one place.
pub fn check_together(a: Tensor, b: Tensor) -> Result(Nil, TensorError) {
  storage.check_together(a.data, b.data)
}

/// In the place of another tensor.
pub fn beside(tensor: Tensor, other: Tensor) -> Tensor {
  Tensor(..tensor, data: storage.beside(tensor.data, other.data))
}

pub fn to_device(tensor: Tensor, device: Int) -> Result(Tensor, TensorError) {
  use data <- otp.map_ok(storage.to_device(elements(tensor), device))
  made(tensor.shape, tensor.dtype, data)
}

/// The tensor itself where it is in the host's memory.
pub fn to_host(tensor: Tensor) -> Result(Tensor, TensorError) {
  case tensor.data {
    storage.Host(_) -> Ok(tensor)
    _ -> {
      use data <- otp.map_ok(storage.fetch(elements(tensor)))
      new(tensor.shape, tensor.dtype, data)
    }
  }
}

pub fn numbers(tensor: Tensor) -> List(Number) {
  kernel.unpack(tensor.dtype, bytes(tensor))
}

/// A NaN is 0.0 and an infinity the largest float.
pub fn to_floats(tensor: Tensor) -> List(Float) {
  kernel.clean(numbers(tensor))
}

pub fn try_to_floats(
  tensor: Tensor,
  op: String,
) -> Result(List(Float), TensorError) {
  use _ <- otp.map_ok(check_finite(tensor, op))
  to_floats(tensor)
}

/// `NonFinite` with the index of the first NaN or infinity in row-major order.
pub fn check_finite(tensor: Tensor, op: String) -> Result(Nil, TensorError) {
  let elements = elements(tensor)
  use found <- otp.try(storage.first_non_finite(tensor.dtype, elements))
  case found {
    -1 -> Ok(Nil)
    index -> Error(NonFinite(op:, index:))
  }
}

pub fn check_some(tensor: Tensor, op: String) -> Result(Nil, TensorError) {
  case size(tensor) {
    0 -> Error(EmptyTensor(op))
    _ -> Ok(Nil)
  }
}

pub fn check_rank(
  tensor: Tensor,
  rank: Int,
  name: String,
) -> Result(Nil, TensorError) {
  case otp.length(tensor.shape) == rank {
    True -> Ok(Nil)
    False ->
      Error(DimensionError(
        name
        <> ": expected "
        <> otp.int_to_string(rank)
        <> " axes, found the shape "
        <> shape.to_string(tensor.shape),
      ))
  }
}

/// The element at one index an axis.
pub fn get(tensor: Tensor, index: List(Int)) -> Result(Float, TensorError) {
  use _ <- otp.try(check_rank(tensor, otp.length(index), "index"))
  use position <- otp.try(position(tensor.shape, tensor.strides, index, 0))
  let width = kernel.width(tensor.dtype)
  let start = { tensor.offset + position } * width
  use element <- otp.try(storage.fetch(storage.part(tensor.data, start, width)))
  case kernel.unpack(tensor.dtype, element) {
    [number] ->
      case kernel.is_finite(number) {
        True -> Ok(kernel.clean_number(number))
        False ->
          Error(NonFinite(op: "get", index: row_major(tensor.shape, index)))
      }
    _ -> Error(EmptyTensor("get"))
  }
}

fn position(
  shape: List(Int),
  strides: List(Int),
  index: List(Int),
  done: Int,
) -> Result(Int, TensorError) {
  case shape, strides, index {
    [length, ..shape], [stride, ..strides], [at, ..index] ->
      case shape.from_front(at, length) {
        Ok(at) -> position(shape, strides, index, done + at * stride)
        Error(error) -> Error(error)
      }
    _, _, _ -> Ok(done)
  }
}

fn row_major(shape: List(Int), index: List(Int)) -> Int {
  case position(shape, shape.strides(shape), index, 0) {
    Ok(position) -> position
    Error(_) -> 0
  }
}

// Other types.

pub fn cast(tensor: Tensor, to dtype: Dtype) -> Tensor {
  case tensor.dtype == dtype {
    True -> tensor
    False -> {
      let data = storage.cast(tensor.dtype, dtype, elements(tensor))
      made(tensor.shape, dtype, data)
    }
  }
}

/// The smallest type that holds the elements of both.
pub fn common_dtype(a: Tensor, b: Tensor) -> Dtype {
  kernel.common(a.dtype, b.dtype)
}

// Views.

pub fn contiguous(tensor: Tensor) -> Tensor {
  case is_contiguous(tensor) {
    True -> tensor
    False -> made(tensor.shape, tensor.dtype, elements(tensor))
  }
}

pub fn reshape(
  tensor: Tensor,
  to shape: List(Int),
) -> Result(Tensor, TensorError) {
  use checked <- otp.try(shape.check(shape))
  case shape.size(checked) == size(tensor) {
    True -> check(with_shape(tensor, checked))
    False ->
      Error(InvalidShape(
        "the "
        <> otp.int_to_string(size(tensor))
        <> " elements of "
        <> shape.to_string(tensor.shape)
        <> " do not make "
        <> shape.to_string(shape),
      ))
  }
}

/// For a shape of as many elements.
fn with_shape(tensor: Tensor, shape: List(Int)) -> Tensor {
  let tensor = contiguous(tensor)
  Tensor(..tensor, shape:, strides: shape.strides(shape))
}

pub fn flatten(tensor: Tensor) -> Tensor {
  with_shape(tensor, [size(tensor)])
}

/// Without the axes of length 1, but for the last one of a single element.
pub fn squeeze(tensor: Tensor) -> Tensor {
  case
    otp.filter(otp.zip(tensor.shape, tensor.strides), fn(axis) { axis.0 != 1 })
  {
    [] -> Tensor(..tensor, shape: [1], strides: [1])
    axes ->
      Tensor(
        ..tensor,
        shape: otp.map(axes, fn(axis) { axis.0 }),
        strides: otp.map(axes, fn(axis) { axis.1 }),
      )
  }
}

/// With an axis of length 1 in place `axis`.
pub fn unsqueeze(tensor: Tensor, axis: Int) -> Result(Tensor, TensorError) {
  use axis <- otp.map_ok(shape.axis([1, ..tensor.shape], axis))
  Tensor(
    ..tensor,
    shape: shape.insert(tensor.shape, axis, 1),
    strides: shape.insert(tensor.strides, axis, 0),
  )
}

/// The axes in another order.
pub fn permute(tensor: Tensor, axes: List(Int)) -> Result(Tensor, TensorError) {
  use axes <- otp.try(
    otp.try_map(axes, fn(axis) { shape.axis(tensor.shape, axis) }),
  )
  case otp.sort(axes) == shape.range(rank(tensor)) {
    True ->
      Ok(
        Tensor(
          ..tensor,
          shape: otp.map(axes, shape.length(tensor.shape, _)),
          strides: otp.map(axes, shape.length(tensor.strides, _)),
        ),
      )
    False ->
      Error(DimensionError(
        "expected each axis of "
        <> shape.to_string(tensor.shape)
        <> " once, found "
        <> shape.to_string(axes),
      ))
  }
}

/// Rows become columns.
pub fn transpose(tensor: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.try(check_rank(tensor, 2, "transpose"))
  permute(tensor, [1, 0])
}

/// The axis as the last one, and the order that puts it back.
pub fn with_last(tensor: Tensor, axis: Int) -> #(Tensor, List(Int)) {
  let rank = rank(tensor)
  let order = otp.append(shape.delete(shape.range(rank), axis), [axis])
  let back = shape.insert(shape.range(rank - 1), axis, rank - 1)
  case permute(tensor, order) {
    Ok(tensor) -> #(tensor, back)
    Error(_) -> #(tensor, shape.range(rank))
  }
}

/// Stretched to a shape that it broadcasts to: elements are seen many times.
pub fn broadcast(
  tensor: Tensor,
  to shape: List(Int),
) -> Result(Tensor, TensorError) {
  use wide <- otp.try(shape.broadcast(tensor.shape, shape))
  case wide == shape {
    True -> {
      let missing = otp.length(shape) - rank(tensor)
      let axes =
        otp.zip(
          otp.append(otp.repeat(1, times: missing), tensor.shape),
          otp.append(otp.repeat(0, times: missing), tensor.strides),
        )
      let strides = {
        use #(#(length, stride), wanted) <- otp.map(otp.zip(axes, shape))
        case length == wanted {
          True -> stride
          False -> 0
        }
      }
      Ok(Tensor(..tensor, shape:, strides:))
    }
    False -> Error(tensor_error.BroadcastError(tensor.shape, shape))
  }
}

/// From `start`, `length` elements along each axis.
pub fn slice(
  tensor: Tensor,
  from start: List(Int),
  length length: List(Int),
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(check_rank(tensor, otp.length(start), "start"))
  use _ <- otp.try(check_rank(tensor, otp.length(length), "length"))
  let wanted = otp.zip(tensor.shape, otp.zip(start, length))
  let outside =
    otp.filter(wanted, fn(axis) {
      let #(size, #(start, length)) = axis
      start < 0 || length < 0 || start + length > size
    })
  case outside {
    [] -> {
      let offset = {
        use offset, #(start, stride) <- otp.fold(
          otp.zip(start, tensor.strides),
          from: tensor.offset,
        )
        offset + start * stride
      }
      case shape.size(length) {
        0 -> Ok(made(length, tensor.dtype, storage.part(tensor.data, 0, 0)))
        _ -> Ok(Tensor(..tensor, shape: length, offset:))
      }
    }
    [#(size, #(start, length)), ..] -> {
      let index = case start < 0, length < 0 {
        True, _ -> start
        False, True -> length
        False, False -> start + length - 1
      }
      Error(IndexOutOfBounds(index:, size:))
    }
  }
}

/// A view of another shape at strides of its own, from the first element on: the
/// caller knows that its elements are there.
pub fn walk(tensor: Tensor, shape: List(Int), strides: List(Int)) -> Tensor {
  Tensor(..tensor, shape:, strides:)
}

// Putting tensors together.

/// The slices at these indices of an axis, in this order.
pub fn gather(
  tensor: Tensor,
  axis: Int,
  indices: List(Int),
) -> Result(Tensor, TensorError) {
  use axis <- otp.try(shape.axis(tensor.shape, axis))
  let length = shape.length(tensor.shape, axis)
  use indices <- otp.try(otp.try_map(indices, shape.from_front(_, length)))
  let shape = shape.replace(tensor.shape, axis, otp.length(indices))
  use shape <- otp.try(shape.check(shape))
  let run = shape.size(otp.drop(shape, axis + 1)) * kernel.width(tensor.dtype)
  let outer = shape.size(otp.take(shape, axis))
  storage.gather(outer, length, run, indices, elements(tensor))
  |> made(shape, tensor.dtype, _)
  |> check
}

/// One after the other along an axis; the other axes are alike.
pub fn concat(tensors: List(Tensor), axis: Int) -> Result(Tensor, TensorError) {
  case tensors {
    [] -> Error(EmptyTensor("concat"))
    [first, ..rest] -> {
      use axis <- otp.try(shape.axis(first.shape, axis))
      let other = fn(tensor: Tensor) { shape.delete(tensor.shape, axis) }
      let alike = fn(tensor: Tensor) {
        rank(tensor) == rank(first) && other(tensor) == other(first)
      }
      case otp.filter(rest, fn(tensor) { !alike(tensor) }) {
        [tensor, ..] ->
          Error(ShapeMismatch(expected: first.shape, got: tensor.shape))
        [] -> join(tensors, first, axis)
      }
    }
  }
}

fn join(
  tensors: List(Tensor),
  first: Tensor,
  axis: Int,
) -> Result(Tensor, TensorError) {
  let dtype = {
    use dtype, tensor <- otp.fold(tensors, from: first.dtype)
    kernel.common(dtype, tensor.dtype)
  }
  let lengths =
    otp.map(tensors, fn(tensor) { shape.length(tensor.shape, axis) })
  let length = otp.fold(lengths, from: 0, with: fn(sum, one) { sum + one })
  use shape <- otp.try(shape.check(shape.replace(first.shape, axis, length)))
  let outer = shape.size(otp.take(shape, axis))
  let inner = shape.size(otp.drop(shape, axis + 1)) * kernel.width(dtype)
  let parts = {
    use #(tensor, length) <- otp.map(otp.zip(tensors, lengths))
    #(elements(cast(tensor, dtype)), length * inner)
  }
  storage.join(outer, parts) |> made(shape, dtype, _) |> check
}

/// Side by side along a new axis; all of one shape.
pub fn stack(tensors: List(Tensor), axis: Int) -> Result(Tensor, TensorError) {
  use tensors <- otp.try(otp.try_map(tensors, unsqueeze(_, axis)))
  case tensors {
    [] -> Error(EmptyTensor("stack"))
    [first, ..] -> {
      use axis <- otp.try(shape.axis(first.shape, axis))
      concat(tensors, axis)
    }
  }
}
