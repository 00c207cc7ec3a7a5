//// tokenizer.json (with tokenizer_config.json) to a tokenizer. What is not read alike here is `Unsupported`, never a guess.
////
//// The surprise: for some families transformers builds the tokenizer by itself
//// and takes no more than vocabulary and merges from the file.

import viva_tensor/beam/field
import viva_tensor/beam/table.{type Table}
import viva_tensor/beam/tokenizer.{type Tokenizer, Given, Tokenizer}
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

fn unsupported(
  at: String,
  expected: String,
  found: String,
) -> Result(a, Error) {
  Error(error.Unsupported("tokenizer.json: " <> at, expected, found))
}

pub fn from_hugging_face(
  model_config: Json,
  file: Json,
  config: Json,
) -> Result(Tokenizer, Error) {
  let model = field.get(file, "model")
  use Nil <- otp.try(case file, field.text(model, "type") {
    json.Null, _ ->
      Error(error.NotFound("tokenizer.json", "a tokenizer beside the weights"))
    _, Ok("BPE") -> Ok(Nil)
    _, Error(Nil) ->
      case field.get(model, "merges") {
        json.Array(_) -> Ok(Nil)
        _ -> unsupported("model.type", "BPE", "nothing")
      }
    _, Ok(other) ->
      unsupported("model.type", "BPE without the native library", other)
  })
  use ids <- otp.try(ids(field.get(model, "vocab")))
  use merges <- otp.try(otp.try_map(field.list(model, "merges"), merge))
  let steps = steps(field.get(file, "pre_tokenizer"), "pretokenizers")
  let byte_level =
    otp.filter(steps, fn(step) {
      field.get(step, "type") == json.Text("ByteLevel")
    })
    != []
  use style <- otp.try(case family(model_config, config), byte_level {
    "Qwen2Tokenizer", True -> byte_level_style([tokenizer.qwen2], False, True)
    "GPT2Tokenizer", True -> byte_level_style([tokenizer.gpt2], False, False)
    "LlamaTokenizer", False -> {
      let prefix = case
        field.bool(config, "add_prefix_space", True),
        field.bool(config, "legacy", False)
      {
        False, _ -> tokenizer.Never
        True, True -> tokenizer.Always
        True, False -> tokenizer.First
      }
      Ok(tokenizer.SentencePiece(prefix, False, prefix != tokenizer.Never))
    }
    _, True -> byte_level_of(file, steps)
    _, False -> sentence_piece_of(file, steps)
  })
  let known = table.from_list(ids)
  use described <- otp.try(otp.try_map(field.list(file, "added_tokens"), added))
  use from_config <- otp.try(case field.get(config, "added_tokens_decoder") {
    json.Object(entries) -> {
      use #(id, token) <- otp.try_map(entries)
      case otp.parse_int(id), token {
        Ok(id), json.Object(fields) ->
          added(json.Object([#("id", json.Integer(id)), ..fields]))
        _, _ -> unsupported("added_tokens_decoder", "ids and tokens", id)
      }
    }
    _ -> Ok([])
  })
  let all = otp.append(described, from_config)
  let named = named(config)
  let places =
    table.merge(
      known,
      table.from_list(otp.map(all, fn(token) { #(token.0, token.1) })),
    )
  let named_special =
    field.filter_map(table.to_list(named), fn(pair) {
      table.get(places, pair.1) |> otp.map_ok(fn(id) { #(pair.1, id) })
    })
  let special =
    otp.filter(all, fn(token) { token.2 })
    |> otp.map(fn(token) { #(token.0, token.1) })
    |> otp.append(named_special)
  let given =
    Given(
      ids:,
      merges:,
      added: otp.map(all, fn(token) { #(token.0, token.1) }),
      special:,
    )
  use #(before, after) <- otp.map_ok(around(field.get(file, "post_processor")))
  let unknown = case field.text(model, "unk_token") {
    Ok(text) -> table.get(known, text)
    Error(Nil) -> Error(Nil)
  }
  build(
    given,
    style,
    field.bool(model, "ignore_merges", False),
    unknown,
    before,
    after,
    named,
    eos(places, named),
  )
}

fn eos(places: Table(String, Int), named: Table(String, String)) -> List(Int) {
  case otp.try(table.get(named, "eos_token"), table.get(places, _)) {
    Ok(id) -> [id]
    Error(Nil) -> []
  }
}

pub fn build(
  given: tokenizer.Given,
  style: tokenizer.Style,
  ignore_merges: Bool,
  unknown: Result(Int, Nil),
  before: List(Int),
  after: List(Int),
  named: Table(String, String),
  eos_ids: List(Int),
) -> Tokenizer {
  let #(ids, texts, ranks, added, special) = tokenizer.tables(given)
  Tokenizer(
    ids:,
    texts:,
    ranks:,
    style:,
    ignore_merges:,
    unknown:,
    added:,
    special:,
    before:,
    after:,
    named:,
    eos_ids:,
  )
}

fn ids(vocabulary: Json) -> Result(List(#(String, Int)), Error) {
  case vocabulary {
    json.Object(entries) -> {
      use #(token, id) <- otp.try_map(entries)
      case id {
        json.Integer(id) if id >= 0 -> Ok(#(token, id))
        _ -> unsupported("model.vocab", "an id for each token", token)
      }
    }
    _ -> unsupported("model.vocab", "an object from token to id", "none")
  }
}

pub fn merge(described: Json) -> Result(#(String, String), Error) {
  let parts = case described {
    json.Text(text) -> otp.split_once(text, at: " ")
    json.Array([json.Text(left), json.Text(right)]) -> Ok(#(left, right))
    _ -> Error(Nil)
  }
  case parts {
    Ok(parts) -> Ok(parts)
    Error(Nil) ->
      Error(error.Malformed(
        "tokenizer.json: model.merges",
        "two parts of a token",
        json.encode(described),
      ))
  }
}

fn added(described: Json) -> Result(#(String, Int, Bool), Error) {
  let flags =
    otp.filter(["lstrip", "rstrip", "single_word"], {
      field.bool(described, _, False)
    })
  case flags, field.text(described, "content"), field.get(described, "id") {
    [], Ok(content), json.Integer(id) ->
      Ok(#(content, id, field.bool(described, "special", False)))
    [flag, ..], Ok(content), _ ->
      unsupported(
        "added token " <> content,
        "no " <> flag <> " without the native library",
        flag,
      )
    _, _, _ ->
      unsupported("added_tokens", "a content and an id", json.encode(described))
  }
}

/// A step, or the steps of a sequence.
fn steps(described: Json, name: String) -> List(Json) {
  case described, field.list(described, name) {
    json.Null, _ -> []
    _, [] -> [described]
    _, steps -> otp.flatten(otp.map(steps, steps_of(_, name)))
  }
}

fn steps_of(described: Json, name: String) -> List(Json) {
  steps(described, name)
}

pub fn byte_level_style(
  patterns: List(String),
  space_before: Bool,
  compose: Bool,
) -> Result(tokenizer.Style, Error) {
  use patterns <- otp.map_ok(otp.try_map(patterns, tokenizer.compile))
  tokenizer.ByteLevel(patterns:, space_before:, compose:)
}

fn byte_level_of(
  file: Json,
  steps: List(Json),
) -> Result(tokenizer.Style, Error) {
  use patterns <- otp.try(
    otp.try_map(steps, fn(step) {
      case field.text(step, "type") {
        Ok("ByteLevel") ->
          Ok(case field.bool(step, "use_regex", True) {
            True -> [tokenizer.gpt2]
            False -> []
          })
        Ok("Digits") ->
          Ok(case field.bool(step, "individual_digits", False) {
            True -> ["\\p{N}"]
            False -> ["\\p{N}+"]
          })
        Ok("Split") ->
          case
            field.text(field.get(step, "pattern"), "Regex"),
            field.text(step, "behavior"),
            field.bool(step, "invert", False)
          {
            Ok(pattern), Ok("Isolated"), False -> Ok([pattern])
            Ok(pattern), Ok("Removed"), True -> Ok([pattern])
            _, _, _ ->
              unsupported(
                "pre_tokenizer",
                "a pattern whose matches are isolated",
                json.encode(step),
              )
          }
        _ ->
          unsupported(
            "pre_tokenizer",
            "ByteLevel, Digits or Split",
            json.encode(step),
          )
      }
    }),
  )
  let space_before =
    otp.filter(steps, fn(step) {
      field.get(step, "type") == json.Text("ByteLevel")
      && field.bool(step, "add_prefix_space", False)
    })
    != []
  use compose <- otp.try(
    case steps_of(field.get(file, "normalizer"), "normalizers") {
      [] -> Ok(False)
      [step] ->
        case field.text(step, "type") {
          Ok("NFC") -> Ok(True)
          _ -> unsupported("normalizer", "NFC or none", json.encode(step))
        }
      _ -> unsupported("normalizer", "NFC or none", "several")
    },
  )
  byte_level_style(otp.flatten(patterns), space_before, compose)
}

fn sentence_piece_of(
  file: Json,
  steps: List(Json),
) -> Result(tokenizer.Style, Error) {
  let normalizers = steps_of(field.get(file, "normalizer"), "normalizers")
  let decoders = steps_of(field.get(file, "decoder"), "decoders")
  let is = fn(step, name) { field.get(step, "type") == json.Text(name) }
  let strips =
    otp.filter(decoders, fn(step) { is(step, "Strip") || is(step, "Metaspace") })
    != []
  let is_known = fn(step) {
    is(step, "Prepend")
    && field.text(step, "prepend") == Ok("▁")
    || is(step, "Replace")
    && field.text(step, "content") == Ok("▁")
  }
  let unknown = otp.filter(normalizers, fn(step) { !is_known(step) })
  let prepends = otp.filter(normalizers, is(_, "Prepend")) != []
  case unknown, steps {
    [], [] ->
      Ok(tokenizer.SentencePiece(
        case prepends {
          True -> tokenizer.Every
          False -> tokenizer.Never
        },
        False,
        strips,
      ))
    [], [step] ->
      case
        is(step, "Metaspace"),
        field.text(step, "prepend_scheme"),
        field.bool(step, "add_prefix_space", True)
      {
        True, Ok("first"), _ -> Ok(metaspace(tokenizer.First, step, strips))
        True, Ok("always"), _ -> Ok(metaspace(tokenizer.Always, step, strips))
        True, Ok("never"), _ -> Ok(metaspace(tokenizer.Never, step, strips))
        True, Error(Nil), True -> Ok(metaspace(tokenizer.Always, step, strips))
        True, Error(Nil), False -> Ok(metaspace(tokenizer.Never, step, strips))
        _, _, _ ->
          unsupported("pre_tokenizer", "Metaspace or none", json.encode(step))
      }
    [step, ..], _ ->
      unsupported("normalizer", "Prepend and Replace of ▁", json.encode(step))
    _, _ -> unsupported("pre_tokenizer", "Metaspace or none", "several")
  }
}

fn metaspace(
  prefix: tokenizer.Prefix,
  step: Json,
  strips: Bool,
) -> tokenizer.Style {
  tokenizer.SentencePiece(prefix, field.bool(step, "split", True), strips)
}

/// The class that transformers' AutoTokenizer would choose.
fn family(model_config: Json, config: Json) -> String {
  let class = case
    field.text(config, "tokenizer_class"),
    field.text(model_config, "tokenizer_class")
  {
    Ok(class), _ | Error(Nil), Ok(class) ->
      Ok(case otp.split_once(class, at: "Fast") {
        Ok(#(class, "")) -> class
        _ -> class
      })
    _, _ -> Error(Nil)
  }
  case field.text(model_config, "model_type"), class {
    Ok("qwen2"), _ -> "Qwen2Tokenizer"
    Ok("qwen3"), Error(Nil) -> "Qwen2Tokenizer"
    Ok("mistral"), _ -> ""
    _, Ok("CodeGenTokenizer") -> "GPT2Tokenizer"
    _, Ok(class) -> class
    _, Error(Nil) -> ""
  }
}

/// Special tokens that a text begins and ends with.
fn around(processor: Json) -> Result(#(List(Int), List(Int)), Error) {
  case field.text(processor, "type") {
    Error(Nil) | Ok("ByteLevel") -> Ok(#([], []))
    Ok("Sequence") -> {
      use found <- otp.map_ok(otp.try_map(
        field.list(processor, "processors"),
        around,
      ))
      #(
        otp.flatten(otp.reverse(otp.map(found, fn(one) { one.0 }))),
        otp.flatten(otp.map(found, fn(one) { one.1 })),
      )
    }
    Ok("TemplateProcessing") -> {
      let special = field.get(processor, "special_tokens")
      let ids = fn(pieces) {
        use piece <- otp.map(pieces)
        case field.text(field.get(piece, "SpecialToken"), "id") {
          Ok(name) -> field.ids(field.get(special, name), "ids")
          Error(Nil) -> []
        }
      }
      let is_text = fn(piece) { field.has(piece, "Sequence") }
      let single = field.list(processor, "single")
      let before = until(single, is_text)
      let after = otp.drop(single, otp.length(before) + 1)
      Ok(#(otp.flatten(ids(before)), otp.flatten(ids(after))))
    }
    Ok(other) ->
      unsupported("post_processor", "TemplateProcessing or ByteLevel", other)
  }
}

fn until(list: List(a), is_end: fn(a) -> Bool) -> List(a) {
  case list {
    [] -> []
    [first, ..rest] ->
      case is_end(first) {
        True -> []
        False -> [first, ..until(rest, is_end)]
      }
  }
}

fn named(config: Json) -> Table(String, String) {
  ["bos_token", "eos_token", "unk_token", "pad_token"]
  |> field.filter_map(fn(name) {
    case field.get(config, name) {
      json.Text(text) -> Ok(#(name, text))
      described ->
        field.text(described, "content")
        |> otp.map_ok(fn(text) { #(name, text) })
    }
  })
  |> table.from_list
}
