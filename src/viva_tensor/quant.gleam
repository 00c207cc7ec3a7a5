//// Linears with packed weights: packed once, multiplied many times.
////
//// The native library keeps a packed weight in few bits, in memory of its own,
//// as native/engine/src/quant/ describes each format. Without it the BEAM
//// computes what the packed weight means, to the same bits, and keeps that as
//// float32. The surprise: inputs that a product rounds to eight bits are
//// multiplied as the float32 numbers that those eight bits mean.

import viva_tensor/elementwise
import viva_tensor/error.{type Error}
import viva_tensor/kernel
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, InvalidArgument, NonFinite, ShapeMismatch,
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
}

/// A packed weight of the native library.
type Resource

type Packed(memory) {
  Packed(
    memory: memory,
    bytes: Int,
    relative_error: Float,
    largest_error: Float,
    pruned: Int,
  )
}

/// Packs [in, out], or [out, in] where the order says so.
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
  use data <- otp.try(tensor.host_bytes(weight))
  let by_library = case kernel.library_may_work() {
    True -> nif_pack(format, inputs, outputs, order == OutIn, data)
    False -> Error(error.NifNotLoaded("not asked for"))
  }
  let packed = case by_library {
    Ok(packed) -> in_memory(packed, Library)
    Error(_) ->
      beam_pack(format, inputs, outputs, order == OutIn, data)
      |> in_memory(Beam)
  }
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

/// x W + b: [batch, in] -> [batch, out], float32.
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
  let input = tensor.cast(input, to: kernel.Float32)
  use _ <- otp.try(tensor.check_finite(input, "linear"))
  use bias <- otp.try(check_bias(bias, outputs))
  let shape = [batch, outputs]
  use data <- otp.try(tensor.host_bytes(input))
  case weight.memory {
    Library(resource) ->
      case nif_linear(resource, activations, data, bias) {
        Ok(product) -> Ok(tensor.new(shape, kernel.Float32, product))
        Error(error) -> Error(refused(error))
      }
    Beam(meaning) -> {
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

/// The elements of a bias, none where there is none.
fn check_bias(
  bias: Result(Tensor, Nil),
  outputs: Int,
) -> Result(BitArray, TensorError) {
  case bias {
    Error(Nil) -> Ok(<<>>)
    Ok(bias) ->
      case tensor.shape(bias) == [outputs] {
        False ->
          Error(ShapeMismatch(expected: [outputs], got: tensor.shape(bias)))
        True -> {
          let bias = tensor.cast(bias, to: kernel.Float32)
          use _ <- otp.try(tensor.check_finite(bias, "linear"))
          tensor.host_bytes(bias)
        }
      }
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

/// What the packed weight means: float32, [in, out].
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
