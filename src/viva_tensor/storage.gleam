//// Where a tensor's elements are, and who computes on them there: a binary of
//// the VM (`kernel`), or a block of a GPU's memory, on which the native library
//// queues work that stays there. The VM frees a block with its last reference.
////
//// The surprise: what a GPU could not do is a value, too. It goes through
//// further operations as NaN does, so functions that return no `Result` stay
//// total, and the next one that returns a `Result` says what went wrong.

import viva_tensor/error.{type Error}
import viva_tensor/kernel.{type Binary, type Dtype, type Row, type Unary}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/tensor_error.{
  type TensorError, DeviceMismatch, DeviceOutOfMemory, DeviceUnavailable,
}

pub type Data {
  Host(BitArray)
  Device(Block)
  Failed(TensorError)
}

/// Bytes of a GPU's memory: the term that native/nif/src/device.rs reads and
/// makes.
pub type Block {
  Block(memory: Memory, device: Int, start: Int, bytes: Int)
}

pub type Memory

// Where it is.

/// "host" or "cuda:0".
pub fn place(data: Data) -> String {
  case data {
    Host(_) -> "host"
    Device(block) -> device_name(block.device)
    Failed(_) -> "nowhere"
  }
}

pub fn device_name(index: Int) -> String {
  "cuda:" <> otp.int_to_string(index)
}

pub fn check(data: Data) -> Result(Data, TensorError) {
  case data {
    Failed(error) -> Error(error)
    _ -> Ok(data)
  }
}

/// Both in one place: what there is to compute together.
pub fn check_together(a: Data, b: Data) -> Result(Nil, TensorError) {
  case a, b {
    Host(_), Host(_) -> Ok(Nil)
    Device(one), Device(other) if one.device == other.device -> Ok(Nil)
    Failed(error), _ | _, Failed(error) -> Error(error)
    _, _ -> Error(DeviceMismatch(place(a), place(b)))
  }
}

/// What the library answered, for a device.
pub fn made(result: Result(Block, Error), device: Int) -> Data {
  case result {
    Ok(block) -> Device(block)
    Error(error) -> Failed(refused(error, device))
  }
}

/// What the library refused, of a device.
pub fn refused(error: Error, device: Int) -> TensorError {
  let device = device_name(device)
  case error {
    error.OutOfMemory(wanted_bytes:, free_bytes:) ->
      DeviceOutOfMemory(device:, wanted_bytes:, free_bytes:)
    error.NotFound(path:, expected:) ->
      DeviceUnavailable(device, path <> ": not found; expected " <> expected)
    error.InvalidOption(option: at, expected:, found:)
    | error.Unsupported(at:, expected:, found:) ->
      DeviceUnavailable(
        device,
        at <> ": expected " <> expected <> ", found " <> found,
      )
    error.DeviceLost(reason:) ->
      DeviceUnavailable(device, "the GPU is lost to this VM: " <> reason)
    error.NifNotLoaded(reason:) | error.Internal(reason:) ->
      DeviceUnavailable(device, reason)
    _ -> DeviceUnavailable(device, "the native library refuses it")
  }
}

// From one place to the other.

pub fn to_device(data: Data, device: Int) -> Result(Data, TensorError) {
  case data {
    Device(block) if block.device == device -> Ok(data)
    _ -> {
      use bytes <- otp.try(fetch(data))
      check(made(nif_put(device, bytes), device))
    }
  }
}

/// The bytes, copied from a device.
pub fn fetch(data: Data) -> Result(BitArray, TensorError) {
  case data {
    Host(bytes) -> Ok(bytes)
    Device(block) ->
      nif_get(block) |> otp.map_error(refused(_, block.device))
    Failed(error) -> Error(error)
  }
}

/// The bytes, and how many there are: zeros where a device failed.
pub fn bytes(data: Data, count: Int) -> BitArray {
  case fetch(data) {
    Ok(bytes) -> bytes
    Error(_) -> kernel.repeat(<<0>>, count)
  }
}

/// In the place of another.
pub fn beside(data: Data, other: Data) -> Data {
  case data, other {
    Host(bytes), Device(block) ->
      made(nif_put(block.device, bytes), block.device)
    _, Failed(_) -> other
    _, _ -> data
  }
}

// Bytes.

pub fn byte_size(data: Data) -> Int {
  case data {
    Host(bytes) -> kernel.byte_size(bytes)
    Device(block) -> block.bytes
    Failed(_) -> 0
  }
}

/// No copy.
pub fn part(data: Data, start: Int, length: Int) -> Data {
  case data {
    Host(bytes) -> Host(kernel.part(bytes, start, length))
    Device(block) ->
      Device(Block(..block, start: block.start + start, bytes: length))
    Failed(_) -> data
  }
}

pub fn contiguous(
  width: Int,
  shape: List(Int),
  strides: List(Int),
  offset: Int,
  data: Data,
) -> Data {
  case data {
    Host(bytes) ->
      Host(kernel.contiguous(width, shape, strides, offset, bytes))
    Device(block) -> {
      let start = offset * width
      let from = Block(..block, start: block.start + start)
      nif_contiguous(
        width,
        shape,
        strides,
        Block(..from, bytes: block.bytes - start),
      )
      |> made(block.device)
    }
    Failed(_) -> data
  }
}

/// [outer][length] runs of bytes -> [outer][indices]
pub fn gather(
  outer: Int,
  length: Int,
  run: Int,
  indices: List(Int),
  data: Data,
) -> Data {
  case data {
    Host(bytes) -> {
      let parts = {
        use block <- otp.map(shape.range(outer))
        use index <- otp.map(indices)
        kernel.part(bytes, { block * length + index } * run, run)
      }
      Host(kernel.concat(otp.flatten(parts)))
    }
    Device(block) ->
      nif_gather(length, run, indices, block) |> made(block.device)
    Failed(_) -> data
  }
}

/// Lines, each a run of bytes of every part; all are in one place.
pub fn join(outer: Int, parts: List(#(Data, Int))) -> Data {
  case parts {
    [#(Device(first), _), ..] -> {
      let blocks = {
        use #(data, run) <- otp.try_map(parts)
        case data {
          Device(block) -> Ok(#(block, run))
          _ -> Error(DeviceMismatch(device_name(first.device), place(data)))
        }
      }
      case blocks {
        Ok(blocks) -> nif_join(outer, blocks) |> made(first.device)
        Error(error) -> Failed(error)
      }
    }
    _ -> {
      let binaries = {
        use #(data, run) <- otp.try_map(parts)
        case data {
          Host(bytes) -> Ok(#(bytes, run))
          Failed(error) -> Error(error)
          Device(_) -> Error(DeviceMismatch("host", place(data)))
        }
      }
      case binaries {
        Ok(binaries) -> {
          let lines = {
            use line <- otp.map(shape.range(outer))
            use #(bytes, run) <- otp.map(binaries)
            kernel.part(bytes, line * run, run)
          }
          Host(kernel.concat(otp.flatten(lines)))
        }
        Error(error) -> Failed(error)
      }
    }
  }
}

// Kernels: what `kernel` says of each holds on a device, too, but for the order
// of sums, which native/engine/src/tensor/device.rs states.

/// -1 without one.
pub fn first_non_finite(dtype: Dtype, data: Data) -> Result(Int, TensorError) {
  case data {
    Host(bytes) -> Ok(kernel.first_non_finite(dtype, bytes))
    Device(block) ->
      nif_first_non_finite(dtype, block)
      |> otp.map_error(refused(_, block.device))
    Failed(error) -> Error(error)
  }
}

pub fn cast(from: Dtype, to: Dtype, data: Data) -> Data {
  case data {
    Host(bytes) -> Host(kernel.cast(from, to, bytes))
    Device(block) -> nif_cast(from, to, block) |> made(block.device)
    Failed(_) -> data
  }
}

pub fn unary(op: Unary, dtype: Dtype, data: Data) -> Data {
  case data {
    Host(bytes) -> Host(kernel.unary(op, dtype, bytes))
    Device(block) -> nif_unary(op, dtype, block) |> made(block.device)
    Failed(_) -> data
  }
}

/// The function is the caller's, so elements of a device come to the host for
/// it and go back.
pub fn map(function: fn(Float) -> Float, dtype: Dtype, data: Data) -> Data {
  case fetch(data) {
    Ok(bytes) -> beside(Host(kernel.map(function, dtype, bytes)), data)
    Error(error) -> Failed(error)
  }
}

/// Elements from the first one on, to be walked by strides.
pub type View {
  View(data: Data, strides: List(Int))
}

/// Two views of one shape.
pub fn binary(
  op: Binary,
  dtype: Dtype,
  shape: List(Int),
  a: View,
  b: View,
) -> Data {
  case a.data, b.data {
    Host(left), Host(right) -> {
      let lay_out = fn(bytes, strides) {
        case shape.is_in_order(shape, strides) {
          True -> kernel.part(bytes, 0, shape.size(shape) * kernel.width(dtype))
          False ->
            kernel.contiguous(kernel.width(dtype), shape, strides, 0, bytes)
        }
      }
      let left = lay_out(left, a.strides)
      Host(kernel.binary(op, dtype, left, lay_out(right, b.strides)))
    }
    Device(left), Device(right) if left.device == right.device ->
      nif_binary(op, dtype, shape, left, a.strides, right, b.strides)
      |> made(left.device)
    Failed(_), _ -> a.data
    _, Failed(_) -> b.data
    _, _ -> Failed(DeviceMismatch(place(a.data), place(b.data)))
  }
}

pub fn rows(op: Row, from: Dtype, to: Dtype, data: Data, length: Int) -> Data {
  case data {
    Host(bytes) -> Host(kernel.rows(op, from, to, bytes, length))
    Device(block) -> nif_rows(op, from, to, block, length) |> made(block.device)
    Failed(_) -> data
  }
}

/// As many products [M, K] x [K, N] as `batch` says, on a device. Strides go from
/// matrix to matrix, from row to row, from column to column.
pub fn products(
  dtype: Dtype,
  sizes: #(Int, Int, Int, Int),
  a: Data,
  a_strides: #(Int, Int, Int),
  b: Data,
  b_strides: #(Int, Int, Int),
) -> Data {
  case a, b {
    Device(left), Device(right) ->
      nif_matmul(dtype, sizes, left, a_strides, right, b_strides)
      |> made(left.device)
    Failed(_), _ -> a
    _, Failed(_) -> b
    _, _ -> Failed(DeviceMismatch(place(a), place(b)))
  }
}

// The native library.

@external(erlang, "viva_tensor_nif", "device_put")
fn nif_put(device: Int, data: BitArray) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_get")
fn nif_get(block: Block) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "device_contiguous")
fn nif_contiguous(
  width: Int,
  shape: List(Int),
  strides: List(Int),
  block: Block,
) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_first_non_finite")
fn nif_first_non_finite(dtype: Dtype, block: Block) -> Result(Int, Error)

@external(erlang, "viva_tensor_nif", "device_cast")
fn nif_cast(from: Dtype, to: Dtype, block: Block) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_unary")
fn nif_unary(op: Unary, dtype: Dtype, block: Block) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_binary")
fn nif_binary(
  op: Binary,
  dtype: Dtype,
  shape: List(Int),
  a: Block,
  a_strides: List(Int),
  b: Block,
  b_strides: List(Int),
) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_rows")
fn nif_rows(
  op: Row,
  from: Dtype,
  to: Dtype,
  block: Block,
  length: Int,
) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_matmul")
fn nif_matmul(
  dtype: Dtype,
  sizes: #(Int, Int, Int, Int),
  a: Block,
  a_strides: #(Int, Int, Int),
  b: Block,
  b_strides: #(Int, Int, Int),
) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_gather")
fn nif_gather(
  length: Int,
  run: Int,
  indices: List(Int),
  block: Block,
) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_join")
fn nif_join(outer: Int, parts: List(#(Block, Int))) -> Result(Block, Error)
