//// Tensors in safetensors files: a length of 64 bits, a header of JSON, bytes.
////
//// A file is read whole and nothing it says is trusted: every tensor's type,
//// shape and place is checked, and the tensors must fill the bytes without gap
//// and overlap. The surprise: a loaded tensor is a view of the file's bytes,
//// so one tensor that is kept keeps them all.

import viva_tensor/json
import viva_tensor/kernel.{type Dtype}
import viva_tensor/otp
import viva_tensor/shape
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, InvalidArgument, MalformedTensorFile, TensorFile,
}

/// The format's limit for its header.
const max_header_bytes = 100_000_000

@external(erlang, "viva_tensor_ffi", "read_file")
fn read_file(path: String) -> Result(BitArray, String)

@external(erlang, "viva_tensor_ffi", "write_file")
fn write_file(path: String, parts: List(BitArray)) -> Result(Nil, String)

@external(erlang, "viva_tensor_ffi", "utf8")
fn utf8(bytes: BitArray) -> Result(String, Nil)

@external(erlang, "viva_tensor_ffi", "bytes")
fn bytes(text: String) -> BitArray

// Saving.

pub fn save(
  path: String,
  tensors: List(#(String, Tensor)),
) -> Result(Nil, TensorError) {
  use _ <- otp.try(check_names(otp.map(tensors, fn(entry) { entry.0 })))
  let #(fields, _) = {
    use #(fields, start), #(name, tensor) <- otp.fold(tensors, from: #([], 0))
    let end = start + tensor.size(tensor) * kernel.width(tensor.dtype(tensor))
    #([#(name, describe(tensor, start, end)), ..fields], end)
  }
  let header = bytes(json.encode(json.Object(otp.reverse(fields))))
  // The elements begin at a multiple of eight.
  let gap = { 8 - kernel.byte_size(header) % 8 } % 8
  let length = kernel.byte_size(header) + gap
  use tensors <- otp.try({
    use #(name, tensor) <- otp.try_map(tensors)
    use tensor <- otp.map_ok(tensor.to_host(tensor))
    #(name, tensor)
  })
  let data = otp.map(tensors, fn(entry) { tensor.bytes(entry.1) })
  [<<length:size(64)-little>>, header, kernel.repeat(<<" ">>, gap), ..data]
  |> write_file(path, _)
  |> otp.map_error(fn(reason) { TensorFile(path:, reason:) })
}

fn check_names(names: List(String)) -> Result(Nil, TensorError) {
  case repeated(otp.sort(names)), otp.contains(names, "__metadata__") {
    Error(Nil), False -> Ok(Nil)
    Ok(name), _ -> Error(bad_name("each name once", name <> " twice"))
    _, True ->
      Error(bad_name("a name that the format does not use", "__metadata__"))
  }
}

fn bad_name(expected: String, found: String) -> TensorError {
  InvalidArgument(argument: "tensors", expected:, found:)
}

fn repeated(sorted: List(String)) -> Result(String, Nil) {
  case sorted {
    [one, other, ..] if one == other -> Ok(one)
    [_, ..rest] -> repeated(rest)
    [] -> Error(Nil)
  }
}

fn describe(tensor: Tensor, start: Int, end: Int) -> json.Json {
  let lengths = otp.map(tensor.shape(tensor), json.Integer)
  json.Object([
    #("dtype", json.Text(dtype_name(tensor.dtype(tensor)))),
    #("shape", json.Array(lengths)),
    #("data_offsets", json.Array([json.Integer(start), json.Integer(end)])),
  ])
}

fn dtype_name(dtype: Dtype) -> String {
  case dtype {
    kernel.Float64 -> "F64"
    kernel.Float32 -> "F32"
    kernel.Float16 -> "F16"
    kernel.BFloat16 -> "BF16"
  }
}

// Loading.

/// In the order of the header.
pub fn load(path: String) -> Result(List(#(String, Tensor)), TensorError) {
  let wrong = fn(expected, found) {
    MalformedTensorFile(path:, expected:, found:)
  }
  use file <- otp.try(
    read_file(path)
    |> otp.map_error(fn(reason) { TensorFile(path:, reason:) }),
  )
  use #(header, data) <- otp.try(
    split(file) |> otp.map_error(as_error(wrong, _)),
  )
  let fields = {
    use #(name, _) <- otp.filter(header)
    name != "__metadata__"
  }
  let tensors = {
    use #(name, value) <- otp.try_map(fields)
    read_tensor(name, value, data) |> otp.map_error(as_error(wrong, _))
  }
  use tensors <- otp.try(tensors)
  use _ <- otp.map_ok(
    check_layout(otp.sort(otp.map(tensors, fn(read) { read.place })), data)
    |> otp.map_error(as_error(wrong, _)),
  )
  otp.map(tensors, fn(read) { #(read.name, read.tensor) })
}

type Read {
  Read(name: String, place: #(Int, Int), tensor: Tensor)
}

/// What was expected and what was found.
type Wrong =
  #(String, String)

fn as_error(
  wrong: fn(String, String) -> TensorError,
  found: Wrong,
) -> TensorError {
  wrong(found.0, found.1)
}

fn split(
  file: BitArray,
) -> Result(#(List(#(String, json.Json)), BitArray), Wrong) {
  let size = kernel.byte_size(file)
  let short = #("8 bytes or more", otp.int_to_string(size) <> " bytes")
  case file {
    <<length:size(64)-little, rest:bytes>> -> {
      let limit = otp.int_to_string(size - 8)
      case length <= size - 8 && length <= max_header_bytes {
        False ->
          Error(#(
            "a header of at most " <> limit <> " bytes",
            otp.int_to_string(length) <> " bytes",
          ))
        True -> {
          let data = kernel.part(rest, length, size - 8 - length)
          use header <- otp.map_ok(parse(kernel.part(rest, 0, length)))
          #(header, data)
        }
      }
    }
    _ -> Error(short)
  }
}

fn parse(header: BitArray) -> Result(List(#(String, json.Json)), Wrong) {
  use text <- otp.try(
    utf8(header)
    |> otp.map_error(fn(_) { #("a header in UTF-8", "other bytes") }),
  )
  case json.decode(text) {
    Ok(json.Object(fields)) ->
      case repeated(otp.sort(otp.map(fields, fn(field) { field.0 }))) {
        Error(Nil) -> Ok(fields)
        Ok(name) -> Error(#("each name once", name <> " twice"))
      }
    Ok(_) -> Error(#("an object as the header", "another JSON value"))
    Error(reason) -> Error(#("a header in JSON", reason))
  }
}

fn read_tensor(
  name: String,
  value: json.Json,
  data: BitArray,
) -> Result(Read, Wrong) {
  let wrong = fn(expected) { #(name <> ": " <> expected, json.encode(value)) }
  case value {
    json.Object(fields) -> {
      use dtype <- otp.try(case otp.find(fields, "dtype") {
        Ok(json.Text("F64")) -> Ok(kernel.Float64)
        Ok(json.Text("F32")) -> Ok(kernel.Float32)
        Ok(json.Text("F16")) -> Ok(kernel.Float16)
        Ok(json.Text("BF16")) -> Ok(kernel.BFloat16)
        _ -> Error(wrong("the dtype F64, F32, F16 or BF16"))
      })
      use shape <- otp.try(
        integers(fields, "shape")
        |> otp.try(fn(shape) { shape.check(shape) |> otp.map_error(ignore) })
        |> otp.map_error(fn(_) { wrong("a shape of lengths") }),
      )
      use place <- otp.try(case integers(fields, "data_offsets") {
        Ok([start, end]) if 0 <= start && start <= end -> Ok(#(start, end))
        _ -> Error(wrong("data_offsets of a start and an end"))
      })
      let #(start, end) = place
      let size = shape.size(shape) * kernel.width(dtype)
      case end - start == size, end <= kernel.byte_size(data) {
        True, True -> {
          let tensor = tensor.new(shape, dtype, kernel.part(data, start, size))
          Ok(Read(name:, place:, tensor:))
        }
        False, _ -> Error(wrong(otp.int_to_string(size) <> " bytes"))
        _, False -> Error(wrong("an end within the file"))
      }
    }
    _ -> Error(wrong("an object"))
  }
}

fn ignore(_error: a) -> Nil {
  Nil
}

fn integers(
  fields: List(#(String, json.Json)),
  name: String,
) -> Result(List(Int), Nil) {
  case otp.find(fields, name) {
    Ok(json.Array(values)) -> {
      use value <- otp.try_map(values)
      case value {
        json.Integer(integer) -> Ok(integer)
        _ -> Error(Nil)
      }
    }
    _ -> Error(Nil)
  }
}

/// Sorted places follow each other from the first byte to the last.
fn check_layout(
  places: List(#(Int, Int)),
  data: BitArray,
) -> Result(Nil, Wrong) {
  let end = {
    use end, #(start, next) <- otp.fold(places, from: Ok(0))
    case end == Ok(start) {
      True -> Ok(next)
      False -> Error(start)
    }
  }
  let size = kernel.byte_size(data)
  case end {
    Ok(end) if end == size -> Ok(Nil)
    Ok(end) ->
      Error(#(
        "tensors that end with the file, at byte " <> otp.int_to_string(size),
        "an end at byte " <> otp.int_to_string(end),
      ))
    Error(start) ->
      Error(#(
        "tensors without gap and overlap",
        "one at byte " <> otp.int_to_string(start),
      ))
  }
}
