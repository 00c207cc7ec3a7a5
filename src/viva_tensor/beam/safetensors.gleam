//// The header of a safetensors file: 8 bytes of length, that many bytes of
//// JSON, then the data. Also the index of a checkpoint in several files.

import viva_tensor/beam/field
import viva_tensor/beam/source
import viva_tensor/beam/stored.{type Stored, Stored}
import viva_tensor/beam/table.{type Table}
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

const max_header_bytes = 100_000_000

pub fn read(path: String) -> Result(Table(String, Stored), Error) {
  use head <- otp.try(source.read(path, 0, 8))
  let length = case head {
    <<length:size(64)-unsigned-little>> -> length
    _ -> -1
  }
  let room = source.size(path) - 8
  case length >= 0 && length <= room && length <= max_header_bytes {
    False ->
      Error(error.Malformed(
        path <> ": header",
        "at most " <> otp.int_to_string(room) <> " bytes",
        "a length of " <> otp.int_to_string(length) <> " bytes",
      ))
    True -> {
      use header <- otp.try(source.read(path, 8, length))
      use fields <- otp.try(case json.decode(text(header)) {
        Ok(json.Object(fields)) -> Ok(fields)
        Ok(_) -> Error(error.Malformed(path, "a JSON object", "other JSON"))
        Error(reason) -> Error(error.Malformed(path, "JSON", reason))
      })
      let tensors = otp.filter(fields, fn(entry) { entry.0 != "__metadata__" })
      use entries <- otp.map_ok(
        otp.try_map(tensors, entry(path, 8 + length, room - length, _)),
      )
      table.from_list(entries)
    }
  }
}

@external(erlang, "viva_tensor_token_ffi", "as_text")
fn text(bytes: BitArray) -> String

fn entry(
  path: String,
  start: Int,
  room: Int,
  entry: #(String, Json),
) -> Result(#(String, Stored), Error) {
  let #(name, described) = entry
  let shape = field.ids(described, "shape")
  let format = case field.text(described, "dtype") {
    Ok("F32") -> stored.F32
    Ok("F16") -> stored.F16
    Ok("BF16") -> stored.Bf16
    Ok(other) -> stored.Other(other)
    Error(Nil) -> stored.Other("nothing")
  }
  let lies = fn(expected) {
    let at = path <> ": tensor " <> name
    Error(error.Malformed(at, expected, json.encode(described)))
  }
  case field.ids(described, "data_offsets"), format {
    [first, last], _ if first < 0 || last < first || last > room ->
      lies("a range of the " <> otp.int_to_string(room) <> " bytes of data")
    [first, last], stored.Other(_) ->
      Ok(#(name, Stored(path, format, shape, start + first, last - first)))
    [first, last], _ ->
      case stored.row_bytes(format, stored.product(shape)) == last - first {
        True ->
          Ok(#(name, Stored(path, format, shape, start + first, last - first)))
        False -> lies("a shape and dtype that take the bytes of its range")
      }
    _, _ -> lies("data_offsets, two integers")
  }
}

/// The tensors of all files that an index names.
pub fn read_index(
  path: String,
  folder: String,
) -> Result(Table(String, Stored), Error) {
  use index <- otp.try(source.json(path))
  use placed <- otp.try(case field.get(index, "weight_map") {
    json.Object([_, ..] as fields) -> Ok(fields)
    _ -> Error(error.Malformed(path, "a weight_map that names tensors", "none"))
  })
  let placed = {
    use #(name, file) <- otp.map(placed)
    case file {
      json.Text(file) -> #(name, file)
      _ -> #(name, "")
    }
  }
  let files = unique(otp.sort(otp.map(placed, fn(entry) { entry.1 })))
  use held <- otp.try({
    use file <- otp.try_map(files)
    case file == "" || file == ".." || leaves(file) {
      True ->
        Error(error.Malformed(
          path,
          "shards named as files of the index's own folder",
          file,
        ))
      False ->
        case source.kind(folder <> "/" <> file) {
          source.File ->
            otp.map_ok(read(folder <> "/" <> file), fn(read) { #(file, read) })
          _ ->
            Error(error.NotFound(
              folder <> "/" <> file,
              "a shard that " <> path <> " names",
            ))
        }
    }
  })
  let held = table.from_list(held)
  use tensors <- otp.map_ok({
    use #(name, file) <- otp.try_map(placed)
    let found = otp.try(table.get(held, file), table.get(_, name))
    case found {
      Ok(stored) -> Ok(#(name, stored))
      Error(Nil) ->
        Error(error.Malformed(
          path <> ": tensor " <> name,
          "this tensor in " <> file,
          "a shard without it",
        ))
    }
  })
  table.from_list(tensors)
}

fn leaves(file: String) -> Bool {
  case otp.split_once(file, at: "/"), otp.split_once(file, at: "\\") {
    Error(Nil), Error(Nil) -> False
    _, _ -> True
  }
}

fn unique(sorted: List(a)) -> List(a) {
  case sorted {
    [one, other, ..rest] if one == other -> unique([other, ..rest])
    [one, ..rest] -> [one, ..unique(rest)]
    [] -> []
  }
}
