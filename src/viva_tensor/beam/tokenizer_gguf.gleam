//// The tokenizer of a GGUF file's metadata.
////
//// The surprise: SentencePiece vocabularies come with scores instead of merges,
//// and every pair of tokens that makes a token is a merge.

import viva_tensor/beam/field
import viva_tensor/beam/table
import viva_tensor/beam/tokenizer.{type Tokenizer, Given}
import viva_tensor/beam/tokenizer_file
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

const control = 3

const user_defined = 4

/// As native/engine/src/tokenizer/gguf.rs has them.
const turn_ends = [
  "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endofturn|>",
  "<|end_of_turn|>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<EOT>", "_<EOT>",
]

pub fn from_metadata(metadata: Json) -> Result(Tokenizer, Error) {
  let key = fn(name) { "tokenizer.ggml." <> name }
  let tokens = field.texts(metadata, key("tokens"))
  let count = otp.length(tokens)
  let types = case field.ids(metadata, key("token_type")) {
    [] -> otp.repeat(1, count)
    types -> types
  }
  // What was not UTF-8.
  let is_whole = !otp.contains(field.list(metadata, key("tokens")), json.Null)
  use Nil <- otp.try(
    case is_whole && count > 0 && otp.length(types) == count {
      True -> Ok(Nil)
      False ->
        Error(error.Malformed(
          key("tokens"),
          "some tokens of UTF-8 text, and a type for each",
          otp.int_to_string(count) <> " tokens",
        ))
    },
  )
  let ids = number(tokens, 0)
  let texts = table.from_list(otp.map(ids, fn(pair) { #(pair.1, pair.0) }))
  let of_type = fn(wanted) {
    zip(ids, types)
    |> otp.filter(fn(pair) { pair.1 == wanted })
    |> otp.map(fn(pair) { pair.0 })
  }
  let id_of = fn(name) {
    case field.get(metadata, key(name)) {
      json.Integer(id) ->
        table.get(texts, id) |> otp.map_ok(fn(text) { #(text, id) })
      _ -> Error(Nil)
    }
  }
  let names = [
    #("bos_token", "bos_token_id"),
    #("eos_token", "eos_token_id"),
    #("unk_token", "unknown_token_id"),
    #("pad_token", "padding_token_id"),
  ]
  let named = {
    use #(name, key) <- field.filter_map(names)
    otp.map_ok(id_of(key), fn(found) { #(name, found) })
  }
  let turn_end_ids =
    otp.append(of_type(control), of_type(user_defined))
    |> otp.filter(fn(pair) { otp.contains(turn_ends, pair.0) })
    |> otp.map(fn(pair) { pair.1 })
  let eos_ids =
    ["eos_token_id", "eot_token_id", "eom_token_id"]
    |> field.filter_map(fn(name) {
      otp.map_ok(id_of(name), fn(found) { found.1 })
    })
    |> otp.append(turn_end_ids)
  use #(style, merges, ignore_merges, adds_bos) <- otp.map_ok(
    case field.text(metadata, key("model")) {
      Ok("gpt2") -> {
        use #(patterns, ignore_merges, adds_bos) <- otp.try(
          case field.text(metadata, key("pre")) {
            Ok(name) -> pre_tokenizer(name)
            Error(Nil) -> pre_tokenizer("default")
          },
        )
        use style <- otp.try(tokenizer_file.byte_level_style(patterns, False, False))
        use merges <- otp.map_ok(otp.try_map(
          field.list(metadata, key("merges")),
          tokenizer_file.merge,
        ))
        #(style, merges, ignore_merges, adds_bos)
      }
      Ok("llama") -> {
        let prefix = case field.bool(metadata, key("add_space_prefix"), True) {
          True -> tokenizer.Every
          False -> tokenizer.Never
        }
        let style =
          tokenizer.SentencePiece(prefix, False, prefix != tokenizer.Never)
        use merges <- otp.map_ok(case field.list(metadata, key("merges")) {
          [] -> merges_of_scores(metadata, ids, types)
          merges -> otp.try_map(merges, tokenizer_file.merge)
        })
        #(style, merges, False, True)
      }
      found ->
        Error(
          error.Unsupported(key("model"), "gpt2 or llama", case found {
            Ok(name) -> name
            Error(Nil) -> "nothing"
          }),
        )
    },
  )
  let wanted = fn(flag, otherwise, name) {
    case field.bool(metadata, key(flag), otherwise), otp.find(named, name) {
      True, Ok(#(_, id)) -> [id]
      _, _ -> []
    }
  }
  let unknown =
    otp.find(named, "unk_token") |> otp.map_ok(fn(found) { found.1 })
  tokenizer_file.build(
    Given(
      ids:,
      merges:,
      added: of_type(user_defined),
      special: otp.append(of_type(control), otp.map(named, fn(pair) { pair.1 })),
    ),
    style,
    ignore_merges,
    case style {
      tokenizer.SentencePiece(..) -> unknown
      tokenizer.ByteLevel(..) -> Error(Nil)
    },
    wanted("add_bos_token", adds_bos, "bos_token"),
    wanted("add_eos_token", False, "eos_token"),
    table.from_list(otp.map(named, fn(pair) { #(pair.0, pair.1.0) })),
    otp.sort(eos_ids),
  )
}

@external(erlang, "viva_tensor_token_ffi", "number")
fn number(list: List(a), first: Int) -> List(#(a, Int))

@external(erlang, "lists", "zip")
fn zip(ones: List(a), others: List(b)) -> List(#(a, b))

/// Patterns, whether whole words are tokens at once, whether a BOS goes before.
fn pre_tokenizer(name: String) -> Result(#(List(String), Bool, Bool), Error) {
  case name {
    "default" ->
      Ok(#(
        [
          "[\\p{P}\\$\\+<=>\\^~\\|]+", tokenizer.gpt2, "\\p{N}+",
          "[0-9][0-9][0-9]",
        ],
        False,
        False,
      ))
    "gpt-2" | "phi-2" | "mpt" | "olmo" -> Ok(#([tokenizer.gpt2], False, False))
    "smollm" | "starcoder" | "refact" | "command-r" ->
      Ok(#(["\\p{N}", tokenizer.gpt2], False, False))
    "llama3" | "llama-v3" | "llama-bpe" -> Ok(#([tokenizer.llama3], True, True))
    "qwen2" | "deepseek-r1-qwen" -> Ok(#([tokenizer.qwen2], False, False))
    other ->
      Error(error.Unsupported(
        "tokenizer.ggml.pre",
        "gpt-2, smollm, llama-bpe or qwen2 without the native library",
        other,
      ))
  }
}

@external(erlang, "viva_tensor_token_ffi", "merges_of_scores")
fn ffi_merges_of_scores(
  tokens: List(#(String, Float)),
) -> List(#(String, String))

/// Every pair of tokens that makes a token, best first.
fn merges_of_scores(
  metadata: Json,
  ids: List(#(String, Int)),
  types: List(Int),
) -> Result(List(#(String, String)), Error) {
  let scores =
    otp.map(field.list(metadata, "tokenizer.ggml.scores"), fn(score) {
      case score {
        json.Number(score) -> score
        _ -> -1.0e30
      }
    })
  case otp.length(scores) == otp.length(ids) {
    True ->
      zip(zip(ids, scores), types)
      |> otp.filter(fn(entry) { entry.1 == 1 || entry.1 == 4 })
      |> otp.map(fn(entry) { #(entry.0.0.0, entry.0.1) })
      |> ffi_merges_of_scores
      |> Ok
    False ->
      Error(error.Malformed(
        "tokenizer.ggml.scores",
        "one for each token",
        otp.int_to_string(otp.length(scores)),
      ))
  }
}
