//// From the path that a caller names to what lies there: descriptions and
//// where each tensor is. A folder is searched as the native library does it.

import viva_tensor/beam/field
import viva_tensor/beam/gguf
import viva_tensor/beam/safetensors
import viva_tensor/beam/source
import viva_tensor/beam/stored.{type Stored}
import viva_tensor/beam/table.{type Table}
import viva_tensor/beam/text
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

pub type Checkpoint {
  Checkpoint(
    path: String,
    tensors: Table(String, Stored),
    description: Description,
  )
}

pub type Description {
  HuggingFace(
    config: Json,
    generation: Json,
    tokenizer: Json,
    tokenizer_config: Json,
    template: Result(String, Nil),
  )
  Gguf(metadata: Json)
}

const expected =
  "a model: a safetensors or GGUF file, or a folder with model.safetensors and config.json, or with a .gguf"

const index = ".safetensors.index.json"

pub fn open(path: String) -> Result(Checkpoint, Error) {
  case source.kind(path) {
    source.Nothing -> Error(error.NotFound(path, expected))
    source.Folder -> otp.try(in_folder(path), open_file)
    source.File -> open_file(path)
  }
}

fn in_folder(folder: String) -> Result(String, Error) {
  use names <- otp.try(source.list_folder(folder))
  let standard =
    otp.filter(["model.safetensors", "model.safetensors.index.json"], {
      otp.contains(names, _)
    })
  let candidates =
    [index, ".safetensors", ".gguf"]
    |> otp.map(fn(suffix) { otp.filter(names, ends_with(_, suffix)) })
    |> otp.filter(fn(found) { found != [] })
  case standard, candidates {
    [first, ..], _ -> Ok(folder <> "/" <> first)
    [], [[name], ..] -> Ok(folder <> "/" <> name)
    [], [[first, ..] as several, ..] ->
      case one_set(several) {
        True -> Ok(folder <> "/" <> first)
        False ->
          Error(error.Malformed(
            folder,
            "one model file (name the one to load)",
            otp.join(otp.take(several, 4), ", "),
          ))
      }
    [], _ ->
      Error(
        error.Malformed(folder, expected, case names {
          [] -> "an empty folder"
          _ -> "a folder with " <> otp.join(otp.take(names, 4), ", ")
        }),
      )
  }
}

/// Whether all are the parts of one split GGUF model.
fn one_set(names: List(String)) -> Bool {
  let sets =
    otp.map(names, fn(name) {
      otp.map_ok(gguf_part(name), fn(part) { #(part.0, part.2) })
    })
  case sets {
    [Ok(_) as first, ..rest] ->
      otp.filter(rest, fn(set) { set != first }) == []
    _ -> False
  }
}

@external(erlang, "viva_tensor_beam_ffi", "ends_with")
fn ends_with(text: String, suffix: String) -> Bool

@external(erlang, "filename", "dirname")
fn folder_of(path: String) -> String

fn open_file(path: String) -> Result(Checkpoint, Error) {
  let size = source.size(path)
  let length = case size < 9 {
    True -> size
    False -> 9
  }
  use head <- otp.try(source.read(path, 0, length))
  let folder = folder_of(path)
  case head {
    <<"GGUF":utf8, _:bytes>> -> {
      use #(metadata, tensors) <- otp.try(gguf.read(path))
      use count <- otp.try(split_number(path, metadata, "split.count", 1))
      case count > 1 {
        True -> open_parts(path, metadata, count)
        False -> Ok(Checkpoint(path, tensors, Gguf(metadata)))
      }
    }
    <<_:size(64), "{":utf8>> ->
      case part_index(path) {
        Ok(index_path) -> open_index(index_path, folder)
        Error(Nil) -> {
          use tensors <- otp.try(safetensors.read(path))
          with_description(path, folder, tensors)
        }
      }
    <<"{":utf8, _:bytes>> -> open_index(path, folder)
    _ ->
      Error(error.Unsupported(
        path,
        expected,
        "a file of another kind, of " <> otp.int_to_string(size) <> " bytes",
      ))
  }
}

/// Each part is a whole GGUF file with tensors of its own; the first one has
/// the model's metadata, and the names say where the others lie.
fn open_parts(
  path: String,
  metadata: Json,
  count: Int,
) -> Result(Checkpoint, Error) {
  use number <- otp.try(split_number(path, metadata, "split.no", 0))
  use prefix <- otp.try(case gguf_part(path) {
    Ok(#(prefix, place, parts))
      if place == number + 1 && parts == count && count <= most_parts
    -> Ok(prefix)
    _ ->
      Error(error.Malformed(
        path,
        "a name that ends in its number and -of-"
          <> otp.int_to_string(count)
          <> ".gguf, as its metadata says",
        "another name",
      ))
  })
  use parts <- otp.try({
    use place <- otp.try_map(count_up(count, []))
    let part = gguf_part_path(prefix, place, count)
    use Nil <- otp.try(case source.kind(part) {
      source.File -> Ok(Nil)
      _ ->
        Error(error.NotFound(
          part,
          "part "
            <> otp.int_to_string(place)
            <> " of "
            <> otp.int_to_string(count)
            <> " of a split model",
        ))
    })
    use #(metadata, tensors) <- otp.try(gguf.read(part))
    use found <- otp.try(split_number(part, metadata, "split.count", 1))
    use own <- otp.try(split_number(part, metadata, "split.no", 0))
    case found == count, own == place - 1 {
      True, True -> Ok(#(metadata, tensors))
      False, _ -> other_split(part, "split.count", count, found)
      True, False -> other_split(part, "split.no", place - 1, own)
    }
  })
  let tensors =
    otp.fold(parts, table.from_list([]), fn(all, part) {
      table.merge(all, part.1)
    })
  let stored = otp.fold(parts, 0, fn(sum, part) { sum + table.size(part.1) })
  let first = case parts {
    [#(metadata, _), ..] -> metadata
    [] -> metadata
  }
  use wanted <- otp.try(split_number(
    path,
    first,
    "split.tensors.count",
    table.size(tensors),
  ))
  case stored == table.size(tensors), wanted == stored {
    True, True -> Ok(Checkpoint(path, tensors, Gguf(first)))
    False, _ ->
      Error(error.Malformed(path, "each tensor in one part", "one in several"))
    True, False -> other_split(path, "split.tensors.count", wanted, stored)
  }
}

const most_parts = 500

fn split_number(
  path: String,
  metadata: Json,
  key: String,
  otherwise: Int,
) -> Result(Int, Error) {
  use _ <- otp.map_error(field.count(metadata, key, otherwise))
  error.Malformed(
    path <> ": " <> key,
    "a non-negative integer",
    "another value",
  )
}

fn other_split(
  path: String,
  key: String,
  expected: Int,
  found: Int,
) -> Result(a, Error) {
  Error(error.Malformed(
    path <> ": " <> key,
    otp.int_to_string(expected),
    otp.int_to_string(found),
  ))
}

fn count_up(last: Int, done: List(Int)) -> List(Int) {
  case last {
    0 -> done
    _ -> count_up(last - 1, [last, ..done])
  }
}

/// What goes before the number, the number, and of how many.
@external(erlang, "viva_tensor_beam_ffi", "gguf_part")
fn gguf_part(path: String) -> Result(#(String, Int, Int), Nil)

@external(erlang, "viva_tensor_beam_ffi", "gguf_part_path")
fn gguf_part_path(prefix: String, place: Int, count: Int) -> String

fn open_index(path: String, folder: String) -> Result(Checkpoint, Error) {
  use tensors <- otp.try(safetensors.read_index(path, folder))
  with_description(path, folder, tensors)
}

/// The index beside a shard: model-00001-of-00003.safetensors.
@external(erlang, "viva_tensor_beam_ffi", "part_index")
fn part_index(path: String) -> Result(String, Nil)

fn with_description(
  path: String,
  folder: String,
  tensors: Table(String, Stored),
) -> Result(Checkpoint, Error) {
  let config_path = folder <> "/config.json"
  use config <- otp.try(case source.kind(config_path) {
    source.File -> source.json(config_path)
    _ -> Error(error.NotFound(config_path, "config.json beside the weights"))
  })
  use generation <- otp.try(source.optional_json(
    folder <> "/generation_config.json",
  ))
  use tokenizer <- otp.try(source.optional_json(folder <> "/tokenizer.json"))
  use tokenizer_config <- otp.try(source.optional_json(
    folder <> "/tokenizer_config.json",
  ))
  let template_path = folder <> "/chat_template.jinja"
  let template = case otp.read_file(template_path) {
    Ok(source) -> Ok(source)
    Error(_) -> template(field.get(tokenizer_config, "chat_template"))
  }
  use Nil <- otp.map_ok(case template {
    Ok(source) -> text.check_file(source, template_path)
    Error(Nil) -> Ok(Nil)
  })
  Checkpoint(
    path,
    tensors,
    HuggingFace(config:, generation:, tokenizer:, tokenizer_config:, template:),
  )
}

/// One template, or the one that is named default.
fn template(described: Json) -> Result(String, Nil) {
  case described {
    json.Text(text) -> Ok(text)
    json.Array(named) ->
      case
        otp.filter(named, fn(one) {
          field.get(one, "name") == json.Text("default")
        })
      {
        [one, ..] -> field.text(one, "template")
        [] -> Error(Nil)
      }
    _ -> Error(Nil)
  }
}
