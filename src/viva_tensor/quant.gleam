//// Linears with packed weights: packed once, multiplied many times.
////
//// The native library keeps a packed weight in few bits, in memory of its own,
//// as native/engine/src/quant/ describes each format. Without it the BEAM
//// computes what the packed weight means, to the same bits, and keeps that as
//// float32. A weight on a GPU is packed by the host and stays on the GPU, where
//// its products are queued. The surprise: on the host, inputs that a product
//// rounds to eight bits are multiplied as the float32 numbers that those eight
//// bits mean.

import viva_tensor/elementwise
import viva_tensor/error.{type Error}
import viva_tensor/kernel
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/storage.{type Block}
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, DeviceMismatch, InvalidArgument, NonFinite, ShapeMismatch,
}

pub type Format {
  Fp8
  Fp8Blocks(columns: Int)
  Int8
  Int4(group: Int)
  Int8Sparse24
  Int4Sparse24
}

pub type Order {
  InOut
  OutIn
}

pub type Pruning {
  Magnitude
  Exact
}

/// What the rows of an input are rounded to, with a scale each.
pub type Activations {
  Float
  RoundedFp8
  RoundedInt8
}

pub opaque type PackedWeight {
  PackedWeight(
    memory: Memory,
    format: Format,
    inputs: Int,
    outputs: Int,
    bytes: Int,
    relative_error: Float,
    largest_error: Float,
    pruned: Int,
  )
}

type Memory {
  Library(Resource)
  /// What the weight means: float32, [in, out].
  Beam(BitArray)
  /// On a GPU.
  Device(weight: DeviceResource, device: Int)
}

/// A packed weight of the native library.
type Resource

/// The same on a GPU.
type DeviceResource

/// The term that native/nif/src/linear.rs reads.
type DeviceBias {
  NoBias
  Bias(Block)
}

type Packed(memory) {
  Packed(
    memory: memory,
    bytes: Int,
    relative_error: Float,
    largest_error: Float,
    pruned: Int,
  )
}

/// Packs [in, out], or [out, in] where the order says so, for products where the
/// weight is.
pub fn pack(
  weight: Tensor,
  format: Format,
  order: Order,
  pruning: Pruning,
) -> Result(PackedWeight, TensorError) {
  use _ <- otp.try(tensor.check_rank(weight, 2, "prepack"))
  let #(rows, columns) = #(
    shape.length(tensor.shape(weight), 0),
    shape.length(tensor.shape(weight), 1),
  )
  let #(inputs, outputs) = case order {
    InOut -> #(rows, columns)
    OutIn -> #(columns, rows)
  }
  use _ <- otp.try(check_shape(format, inputs, outputs))
  let weight = tensor.cast(weight, to: kernel.Float32)
  use _ <- otp.try(tensor.check_finite(weight, "prepack"))
  use packed <- otp.try(case tensor.elements(weight) {
    storage.Failed(error) -> Error(error)
    storage.Host(data) ->
      Ok(host_pack(format, inputs, outputs, order == OutIn, data))
    storage.Device(block) ->
      case nif_device_pack(format, inputs, outputs, order == OutIn, block) {
        Ok(packed) -> Ok(in_memory(packed, Device(_, block.device)))
        Error(error) -> Error(storage.refused(error, block.device))
      }
  })
  let Packed(memory:, bytes:, relative_error:, largest_error:, pruned:) = packed
  case pruning {
    Exact if pruned > 0 ->
      Error(InvalidArgument(
        "weight",
        "two zeros in each four inputs",
        otp.int_to_string(pruned) <> " weights more than fit",
      ))
    _ ->
      Ok(PackedWeight(
        memory:,
        format:,
        inputs:,
        outputs:,
        bytes:,
        relative_error:,
        largest_error:,
        pruned:,
      ))
  }
}

fn host_pack(
  format: Format,
  inputs: Int,
  outputs: Int,
  transposed: Bool,
  data: BitArray,
) -> Packed(Memory) {
  let by_library = case kernel.library_may_work() {
    True -> nif_pack(format, inputs, outputs, transposed, data)
    False -> Error(error.NifNotLoaded("not asked for"))
  }
  case by_library {
    Ok(packed) -> in_memory(packed, Library)
    Error(_) ->
      beam_pack(format, inputs, outputs, transposed, data) |> in_memory(Beam)
  }
}

fn in_memory(packed: Packed(a), memory: fn(a) -> Memory) -> Packed(Memory) {
  Packed(
    memory: memory(packed.memory),
    bytes: packed.bytes,
    relative_error: packed.relative_error,
    largest_error: packed.largest_error,
    pruned: packed.pruned,
  )
}

fn check_shape(
  format: Format,
  inputs: Int,
  outputs: Int,
) -> Result(Nil, TensorError) {
  let multiple = case format {
    Fp8 | Int8 -> Ok(1)
    Fp8Blocks(columns:) if columns >= 1 -> Ok(columns)
    Fp8Blocks(columns:) -> Error(#("block", "1 or more", columns))
    Int4(group:) if group == 32 || group == 64 || group == 128 -> Ok(group)
    Int4(group:) -> Error(#("group", "32, 64 or 128", group))
    Int8Sparse24 | Int4Sparse24 -> Ok(8)
  }
  let found = otp.int_to_string
  case multiple {
    Error(#(name, expected, it)) ->
      Error(InvalidArgument(name, expected, found(it)))
    Ok(_) if inputs == 0 || outputs == 0 ->
      Error(InvalidArgument(
        "weight",
        "at least one input and one output",
        shape.to_string([inputs, outputs]),
      ))
    Ok(multiple) if inputs % multiple != 0 ->
      Error(InvalidArgument(
        "weight",
        "a number of inputs that is a multiple of " <> found(multiple),
        found(inputs),
      ))
    Ok(_) -> Ok(Nil)
  }
}

/// x W + b: [batch, in] -> [batch, out], float32, where all three are.
pub fn linear(
  input: Tensor,
  weight: PackedWeight,
  activations: Activations,
  bias: Result(Tensor, Nil),
) -> Result(Tensor, TensorError) {
  let PackedWeight(inputs:, outputs:, ..) = weight
  use _ <- otp.try(tensor.check_rank(input, 2, "linear"))
  let batch = shape.length(tensor.shape(input), 0)
  let expected = [batch, inputs]
  use _ <- otp.try(case tensor.shape(input) == expected {
    True -> Ok(Nil)
    False -> Error(ShapeMismatch(expected:, got: tensor.shape(input)))
  })
  use _ <- otp.try(check_place(weight, input))
  let input = case tensor.dtype(input), weight.memory {
    // A GPU reads these as they are.
    kernel.BFloat16, Device(..) -> input
    _, _ -> tensor.cast(input, to: kernel.Float32)
  }
  use _ <- otp.try(tensor.check_finite(input, "linear"))
  let shape = [batch, outputs]
  use bias <- otp.try(check_bias(bias, weight))
  case weight.memory {
    Device(weight:, device:) -> {
      use input_block <- otp.try(device_block(input))
      use bias <- otp.try(case bias {
        Error(Nil) -> Ok(NoBias)
        Ok(bias) -> otp.map_ok(device_block(bias), Bias)
      })
      nif_device_linear(
        weight,
        activations,
        tensor.dtype(input),
        input_block,
        bias,
      )
      |> storage.made(device)
      |> tensor.made(shape, kernel.Float32, _)
      |> tensor.check
    }
    Library(resource) -> {
      use #(data, bias) <- otp.try(host_operands(input, bias))
      case nif_linear(resource, activations, data, bias) {
        Ok(product) -> Ok(tensor.new(shape, kernel.Float32, product))
        Error(error) -> Error(refused(error))
      }
    }
    Beam(meaning) -> {
      use #(data, bias) <- otp.try(host_operands(input, bias))
      let data = beam_round(activations, inputs, data)
      let product =
        kernel.matmul(
          kernel.Float32,
          batch,
          inputs,
          outputs,
          data,
          #(inputs, 1),
          meaning,
          #(outputs, 1),
        )
      let product = tensor.new(shape, kernel.Float32, product)
      case kernel.byte_size(bias) {
        0 -> Ok(product)
        _ ->
          tensor.new([outputs], kernel.Float32, bias)
          |> elementwise.binary_broadcast(kernel.Add, product, _)
      }
    }
  }
}

/// The bytes of an input and of its bias, none where there is none.
fn host_operands(
  input: Tensor,
  bias: Result(Tensor, Nil),
) -> Result(#(BitArray, BitArray), TensorError) {
  use data <- otp.try(tensor.host_bytes(input))
  case bias {
    Error(Nil) -> Ok(#(data, <<>>))
    Ok(bias) -> {
      use bias <- otp.map_ok(tensor.host_bytes(bias))
      #(data, bias)
    }
  }
}

/// A bias of the product's width, as float32, beside the weight; if there is one.
fn check_bias(
  bias: Result(Tensor, Nil),
  weight: PackedWeight,
) -> Result(Result(Tensor, Nil), TensorError) {
  case bias {
    Error(Nil) -> Ok(Error(Nil))
    Ok(bias) ->
      case tensor.shape(bias) == [weight.outputs] {
        False ->
          Error(ShapeMismatch(
            expected: [weight.outputs],
            got: tensor.shape(bias),
          ))
        True -> {
          use _ <- otp.try(check_place(weight, bias))
          let bias = tensor.cast(bias, to: kernel.Float32)
          use _ <- otp.map_ok(tensor.check_finite(bias, "linear"))
          Ok(bias)
        }
      }
  }
}

/// A tensor where the weight is.
fn check_place(
  weight: PackedWeight,
  tensor: Tensor,
) -> Result(Nil, TensorError) {
  case weight.memory, tensor.data(tensor) {
    _, storage.Failed(error) -> Error(error)
    Device(device:, ..), storage.Device(block) if device == block.device ->
      Ok(Nil)
    Device(device:, ..), other ->
      Error(DeviceMismatch(storage.place(other), storage.device_name(device)))
    _, storage.Host(_) -> Ok(Nil)
    _, other -> Error(DeviceMismatch(storage.place(other), "host"))
  }
}

fn device_block(tensor: Tensor) -> Result(Block, TensorError) {
  case tensor.elements(tensor) {
    storage.Device(block) -> Ok(block)
    storage.Failed(error) -> Error(error)
    storage.Host(_) -> Error(DeviceMismatch("host", "cuda"))
  }
}

/// What the library refuses although it was checked here: memory is short.
fn refused(error: Error) -> TensorError {
  case error {
    error.OutOfMemory(wanted_bytes:, free_bytes:) ->
      InvalidArgument(
        "memory",
        otp.int_to_string(wanted_bytes) <> " bytes",
        otp.int_to_string(free_bytes) <> " free",
      )
    error.InvalidOption(option:, expected:, found:) ->
      InvalidArgument(option, expected, found)
    _ -> NonFinite("linear", 0)
  }
}

/// What the packed weight means: float32, [in, out], where the weight is.
pub fn unpack(weight: PackedWeight) -> Result(Tensor, TensorError) {
  let PackedWeight(memory:, inputs:, outputs:, ..) = weight
  let shape = [inputs, outputs]
  case memory {
    Beam(meaning) -> Ok(tensor.new(shape, kernel.Float32, meaning))
    Library(resource) ->
      case nif_unpack(resource) {
        Ok(meaning) -> Ok(tensor.new(shape, kernel.Float32, meaning))
        Error(error) -> Error(refused(error))
      }
    Device(weight:, device:) ->
      nif_device_unpack(weight)
      |> storage.made(device)
      |> tensor.made(shape, kernel.Float32, _)
      |> tensor.check
  }
}

/// Who multiplies with it.
pub fn products(weight: PackedWeight) -> String {
  case weight.memory {
    Beam(_) -> "Erlang"
    Library(_) -> "own kernels"
    Device(weight:, ..) ->
      case nif_device_products(weight) {
        Ok(products) -> products
        Error(_) -> "own kernels"
      }
  }
}

/// The GPU that it is on.
pub fn device(weight: PackedWeight) -> Result(Int, Nil) {
  case weight.memory {
    Device(device:, ..) -> Ok(device)
    _ -> Error(Nil)
  }
}

pub fn format(weight: PackedWeight) -> Format {
  weight.format
}

pub fn inputs(weight: PackedWeight) -> Int {
  weight.inputs
}

pub fn outputs(weight: PackedWeight) -> Int {
  weight.outputs
}

/// Bytes that it takes in memory.
pub fn bytes(weight: PackedWeight) -> Int {
  weight.bytes
}

/// Of the difference to the weight, its norm over the weight's.
pub fn relative_error(weight: PackedWeight) -> Float {
  weight.relative_error
}

pub fn largest_error(weight: PackedWeight) -> Float {
  weight.largest_error
}

/// Weights other than 0 that were pruned.
pub fn pruned(weight: PackedWeight) -> Int {
  weight.pruned
}

@external(erlang, "viva_tensor_nif", "packed_pack")
fn nif_pack(
  format: Format,
  inputs: Int,
  outputs: Int,
  transposed: Bool,
  data: BitArray,
) -> Result(Packed(Resource), Error)

@external(erlang, "viva_tensor_nif", "packed_unpack")
fn nif_unpack(weight: Resource) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "packed_linear")
fn nif_linear(
  weight: Resource,
  activations: Activations,
  input: BitArray,
  bias: BitArray,
) -> Result(BitArray, Error)

@external(erlang, "viva_tensor_nif", "device_pack")
fn nif_device_pack(
  format: Format,
  inputs: Int,
  outputs: Int,
  transposed: Bool,
  weight: Block,
) -> Result(Packed(DeviceResource), Error)

@external(erlang, "viva_tensor_nif", "device_unpack")
fn nif_device_unpack(weight: DeviceResource) -> Result(Block, Error)

@external(erlang, "viva_tensor_nif", "device_products")
fn nif_device_products(weight: DeviceResource) -> Result(String, Error)

@external(erlang, "viva_tensor_nif", "device_linear")
fn nif_device_linear(
  weight: DeviceResource,
  activations: Activations,
  dtype: kernel.Dtype,
  input: Block,
  bias: DeviceBias,
) -> Result(Block, Error)

@external(erlang, "viva_tensor_packed", "pack")
fn beam_pack(
  format: Format,
  inputs: Int,
  outputs: Int,
  transposed: Bool,
  data: BitArray,
) -> Packed(BitArray)

@external(erlang, "viva_tensor_packed", "round_rows")
fn beam_round(
  activations: Activations,
  length: Int,
  data: BitArray,
) -> BitArray
