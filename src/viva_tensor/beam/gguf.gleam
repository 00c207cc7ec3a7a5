//// A GGUF file: metadata, which becomes a JSON object here, and where its
//// tensors lie. The surprise: how long the header is nobody says, so more is
//// read until it is whole.

import viva_tensor/beam/source
import viva_tensor/beam/stored.{type Stored, Stored}
import viva_tensor/beam/table.{type Table}
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

const first_bytes = 8_388_608

type Failure {
  /// The bytes end here; there may be more in the file.
  TooShort
  Wrong(expected: String, found: String)
}

pub fn read(path: String) -> Result(#(Json, Table(String, Stored)), Error) {
  attempt(path, first_bytes)
}

fn attempt(
  path: String,
  bytes: Int,
) -> Result(#(Json, Table(String, Stored)), Error) {
  let size = source.size(path)
  let take = case bytes < size {
    True -> bytes
    False -> size
  }
  use head <- otp.try(source.read(path, 0, take))
  case header(path, size, head) {
    Ok(read) -> Ok(read)
    Error(TooShort) if take < size -> attempt(path, bytes * 4)
    Error(TooShort) ->
      Error(error.Malformed(path, "a whole GGUF header", "the end of the file"))
    Error(Wrong(expected:, found:)) ->
      Error(error.Malformed(path, expected, found))
  }
}

fn header(
  path: String,
  size: Int,
  bytes: BitArray,
) -> Result(#(Json, Table(String, Stored)), Failure) {
  case bytes {
    <<
      "GGUF":utf8,
      version:size(32)-unsigned-little,
      tensors:size(64)-unsigned-little,
      pairs:size(64)-unsigned-little,
      rest:bytes,
    >>
      if version == 2 || version == 3
    -> {
      use #(fields, rest) <- otp.try(read_pairs(rest, pairs, []))
      use #(infos, rest) <- otp.try(read_infos(rest, tensors, []))
      let alignment = case otp.find(fields, "general.alignment") {
        Ok(json.Integer(alignment)) if alignment > 0 -> alignment
        _ -> 32
      }
      let header_bytes = byte_size(bytes) - byte_size(rest)
      let start = { header_bytes + alignment - 1 } / alignment * alignment
      use infos <- otp.map_ok({
        use #(name, shape, kind, offset) <- otp.try_map(infos)
        let format = format(kind)
        let count = stored.product(shape)
        let columns = otp.fold(shape, 1, fn(_, length) { length })
        let taken = stored.row_bytes(format, count)
        let whole = case format {
          stored.Q80 | stored.Q40 | stored.Q41 -> columns % 32 == 0
          _ -> True
        }
        case whole && start + offset + taken <= size {
          True ->
            Ok(#(name, Stored(path, format, shape, start + offset, taken)))
          False ->
            Error(Wrong(
              "tensor " <> name <> " inside the file, in whole blocks",
              "one that is not",
            ))
        }
      })
      #(json.Object(fields), table.from_list(infos))
    }
    <<"GGUF":utf8, _:size(32), _:size(64), _:size(64), _:bytes>> ->
      Error(Wrong("GGUF version 2 or 3, little-endian", "another version"))
    _ -> Error(TooShort)
  }
}

@external(erlang, "erlang", "byte_size")
fn byte_size(bytes: BitArray) -> Int

fn format(kind: Int) -> stored.Format {
  case kind {
    0 -> stored.F32
    1 -> stored.F16
    2 -> stored.Q40
    3 -> stored.Q41
    8 -> stored.Q80
    30 -> stored.Bf16
    6 -> stored.Other("Q5_0")
    7 -> stored.Other("Q5_1")
    10 -> stored.Other("Q2_K")
    11 -> stored.Other("Q3_K")
    12 -> stored.Other("Q4_K")
    13 -> stored.Other("Q5_K")
    14 -> stored.Other("Q6_K")
    other -> stored.Other("ggml type " <> otp.int_to_string(other))
  }
}

@external(erlang, "viva_tensor_ffi", "utf8")
fn utf8(bytes: BitArray) -> Result(String, Nil)

/// A key or a tensor's name.
fn read_name(bytes: BitArray) -> Result(#(String, BitArray), Failure) {
  use #(name, rest) <- otp.try(read_bytes(bytes))
  case utf8(name) {
    Ok(name) -> Ok(#(name, rest))
    Error(Nil) -> Error(Wrong("UTF-8 text", "bytes that are none"))
  }
}

fn read_bytes(bytes: BitArray) -> Result(#(BitArray, BitArray), Failure) {
  case bytes {
    <<length:size(64)-unsigned-little, rest:bytes>> ->
      case length <= byte_size(rest) {
        True ->
          case rest {
            <<text:bytes-size(length), rest:bytes>> -> Ok(#(text, rest))
            _ -> Error(TooShort)
          }
        False -> Error(TooShort)
      }
    _ -> Error(TooShort)
  }
}

fn read_pairs(
  bytes: BitArray,
  left: Int,
  done: List(#(String, Json)),
) -> Result(#(List(#(String, Json)), BitArray), Failure) {
  case left {
    0 -> Ok(#(otp.reverse(done), bytes))
    _ -> {
      use #(key, rest) <- otp.try(read_name(bytes))
      case rest {
        <<kind:size(32)-unsigned-little, rest:bytes>> -> {
          use #(value, rest) <- otp.try(read_value(rest, kind, 4))
          read_pairs(rest, left - 1, [#(key, value), ..done])
        }
        _ -> Error(TooShort)
      }
    }
  }
}

fn read_value(
  bytes: BitArray,
  kind: Int,
  nesting: Int,
) -> Result(#(Json, BitArray), Failure) {
  case kind, bytes {
    0, <<value:size(8)-unsigned, rest:bytes>>
    | 1, <<value:size(8)-signed, rest:bytes>>
    | 2, <<value:size(16)-unsigned-little, rest:bytes>>
    | 3, <<value:size(16)-signed-little, rest:bytes>>
    | 4, <<value:size(32)-unsigned-little, rest:bytes>>
    | 5, <<value:size(32)-signed-little, rest:bytes>>
    | 10, <<value:size(64)-unsigned-little, rest:bytes>>
    | 11, <<value:size(64)-signed-little, rest:bytes>>
    -> Ok(#(json.Integer(value), rest))
    6, <<value:size(32)-float-little, rest:bytes>>
    | 12, <<value:size(64)-float-little, rest:bytes>>
    -> Ok(#(json.Number(value), rest))
    // A number that is not finite.
    6, <<_:size(32), rest:bytes>> | 12, <<_:size(64), rest:bytes>> ->
      Ok(#(json.Text("a number that is not finite"), rest))
    7, <<0, rest:bytes>> -> Ok(#(json.Boolean(False), rest))
    7, <<1, rest:bytes>> -> Ok(#(json.Boolean(True), rest))
    8, _ -> {
      use #(text, rest) <- otp.map_ok(read_bytes(bytes))
      case utf8(text) {
        Ok(text) -> #(json.Text(text), rest)
        // A comment in Latin-1 must not make a model unreadable.
        Error(Nil) -> #(json.Null, rest)
      }
    }
    9,
      <<
        kind:size(32)-unsigned-little,
        count:size(64)-unsigned-little,
        rest:bytes,
      >>
      if nesting > 0
    ->
      case count <= byte_size(rest) {
        True -> read_values(rest, kind, count, nesting - 1, [])
        False -> Error(TooShort)
      }
    _, _ if kind > 12 || nesting == 0 ->
      Error(Wrong("a value type from 0 to 12", otp.int_to_string(kind)))
    _, _ -> Error(TooShort)
  }
}

fn read_values(
  bytes: BitArray,
  kind: Int,
  left: Int,
  nesting: Int,
  done: List(Json),
) -> Result(#(Json, BitArray), Failure) {
  case left {
    0 -> Ok(#(json.Array(otp.reverse(done)), bytes))
    _ -> {
      use #(value, rest) <- otp.try(read_value(bytes, kind, nesting))
      read_values(rest, kind, left - 1, nesting, [value, ..done])
    }
  }
}

fn read_infos(
  bytes: BitArray,
  left: Int,
  done: List(#(String, List(Int), Int, Int)),
) -> Result(#(List(#(String, List(Int), Int, Int)), BitArray), Failure) {
  case left {
    0 -> Ok(#(otp.reverse(done), bytes))
    _ -> {
      use #(name, rest) <- otp.try(read_name(bytes))
      case rest {
        <<dimensions:size(32)-unsigned-little, rest:bytes>> if dimensions <= 4 -> {
          use #(shape, rest) <- otp.try(read_lengths(rest, dimensions, []))
          case rest {
            <<
              kind:size(32)-unsigned-little,
              offset:size(64)-unsigned-little,
              rest:bytes,
            >> ->
              read_infos(rest, left - 1, [#(name, shape, kind, offset), ..done])
            _ -> Error(TooShort)
          }
        }
        <<dimensions:size(32)-unsigned-little, _:bytes>> ->
          Error(Wrong("at most 4 dimensions", otp.int_to_string(dimensions)))
        _ -> Error(TooShort)
      }
    }
  }
}

/// GGUF writes the innermost length first.
fn read_lengths(
  bytes: BitArray,
  left: Int,
  done: List(Int),
) -> Result(#(List(Int), BitArray), Failure) {
  case left, bytes {
    0, _ -> Ok(#(done, bytes))
    _, <<length:size(64)-unsigned-little, rest:bytes>> ->
      read_lengths(rest, left - 1, [length, ..done])
    _, _ -> Error(TooShort)
  }
}
