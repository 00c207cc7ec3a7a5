//// Text to token ids and back: byte-pair merges over GPT-2's byte alphabet, or
//// over characters with byte fallback (SentencePiece).
////
//// Text is cut at added tokens, then into words, then into symbols, and the
//// best merges apply first. The surprise: added tokens that take white space
//// around them are refused, not approximated.

import viva_tensor/beam/table.{type Table}
import viva_tensor/error.{type Error}
import viva_tensor/otp

pub type Tokenizer {
  Tokenizer(
    ids: Table(String, Int),
    texts: Table(Int, String),
    ranks: Table(#(String, String), Int),
    style: Style,
    /// A word that is a token is taken whole.
    ignore_merges: Bool,
    unknown: Result(Int, Nil),
    added: Table(String, Int),
    /// Ids that decoding can leave out, and that content never becomes.
    special: Table(Int, String),
    before: List(Int),
    after: List(Int),
    /// "bos_token", "eos_token", … with their text.
    named: Table(String, String),
    eos_ids: List(Int),
  )
}

pub type Style {
  /// Words are what the patterns cut.
  ByteLevel(patterns: List(Pattern), space_before: Bool, compose: Bool)
  SentencePiece(prefix: Prefix, words: Bool, strips_space: Bool)
}

/// Where a "▁" goes before the text.
pub type Prefix {
  Never
  /// Before each stretch between added tokens.
  Every
  /// The same, unless one is there.
  Always
  /// Before the text alone, unless one is there.
  First
}

pub type Pattern

pub type Given {
  Given(
    ids: List(#(String, Int)),
    merges: List(#(String, String)),
    added: List(#(String, Int)),
    special: List(#(String, Int)),
  )
}

pub const gpt2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

pub const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

pub const qwen2 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

@external(erlang, "viva_tensor_token_ffi", "compile_pattern")
fn ffi_compile(pattern: String) -> Result(Pattern, String)

pub fn compile(pattern: String) -> Result(Pattern, Error) {
  ffi_compile(pattern)
  |> otp.map_error(error.Unsupported(
    "tokenizer: pattern",
    "a pattern that PCRE reads",
    _,
  ))
}

/// The tables of a tokenizer, from lists.
pub fn tables(
  given: Given,
) -> #(
  Table(String, Int),
  Table(Int, String),
  Table(#(String, String), Int),
  Table(String, Int),
  Table(Int, String),
) {
  let turned = fn(pairs) {
    otp.map(pairs, fn(pair: #(String, Int)) { #(pair.1, pair.0) })
  }
  let added = table.from_list(otp.append(given.added, given.special))
  #(
    table.from_list(given.ids),
    table.merge(
      table.from_list(turned(given.ids)),
      table.from_list(turned(table.to_list(added))),
    ),
    // Of two of the same, the first counts.
    table.from_list(otp.reverse(number(given.merges, 0))),
    added,
    table.from_list(turned(given.special)),
  )
}

@external(erlang, "viva_tensor_token_ffi", "number")
fn number(list: List(a), first: Int) -> List(#(a, Int))

// Encoding.

/// Marks characters of content that would make a special token.
const guard = "\u{10FFFE}"

const max_text_bytes = 16_777_216

@external(erlang, "erlang", "byte_size")
fn byte_size(text: String) -> Int

pub fn encode(
  tokenizer: Tokenizer,
  text: String,
  add_special: Bool,
) -> Result(List(Int), Error) {
  case byte_size(text) <= max_text_bytes {
    False ->
      Error(error.InvalidOption(
        "text",
        "at most " <> otp.int_to_string(max_text_bytes) <> " bytes",
        otp.int_to_string(byte_size(text)) <> " bytes",
      ))
    True -> {
      let ids = stretches(tokenizer, text)
      Ok(case add_special {
        True -> otp.flatten([tokenizer.before, ids, tokenizer.after])
        False -> ids
      })
    }
  }
}

/// Content whose special tokens are none any more, for `encode_guarded`.
pub fn guard_content(tokenizer: Tokenizer, content: String) -> String {
  let texts = otp.map(table.to_list(tokenizer.special), fn(pair) { pair.1 })
  otp.concat(
    otp.map(cut(content, texts), fn(piece) {
      case otp.contains(texts, piece) {
        True -> split_first(piece, guard)
        False -> piece
      }
    }),
  )
}

/// The special tokens in a text, in their order.
pub fn special_texts(tokenizer: Tokenizer, text: String) -> List(String) {
  let texts = otp.map(table.to_list(tokenizer.special), fn(pair) { pair.1 })
  otp.filter(cut(text, texts), otp.contains(texts, _))
}

/// Every character but spaces moved to a plane that no token has one of.
@external(erlang, "viva_tensor_token_ffi", "veil")
pub fn veil(text: String) -> String

pub fn encode_guarded(
  tokenizer: Tokenizer,
  text: String,
) -> Result(List(Int), Error) {
  encode(tokenizer, text, False)
}

/// The text with something behind its first character.
@external(erlang, "viva_tensor_token_ffi", "split_first")
fn split_first(text: String, with: String) -> String

/// The pieces of a text that are one of these, and those between; the longest
/// counts where several begin.
@external(erlang, "viva_tensor_token_ffi", "cut_at")
fn cut(text: String, at: List(String)) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "replace")
fn replace(text: String, each: String, with: String) -> String

fn stretches(tokenizer: Tokenizer, text: String) -> List(Int) {
  let texts = otp.map(table.to_list(tokenizer.added), fn(pair) { pair.0 })
  stretches_loop(tokenizer, cut(text, texts), True, [])
}

fn stretches_loop(
  tokenizer: Tokenizer,
  pieces: List(String),
  first: Bool,
  done: List(List(Int)),
) -> List(Int) {
  case pieces {
    [] -> otp.flatten(otp.reverse(done))
    [piece, ..rest] -> {
      let ids = case table.get(tokenizer.added, piece) {
        Ok(id) -> [id]
        Error(Nil) -> plain(tokenizer, replace(piece, guard, ""), first)
      }
      stretches_loop(tokenizer, rest, False, [ids, ..done])
    }
  }
}

fn plain(tokenizer: Tokenizer, text: String, first: Bool) -> List(Int) {
  case tokenizer.style, text {
    _, "" -> []
    ByteLevel(patterns:, space_before:, compose:), _ -> {
      let text = case compose {
        True -> composed(text)
        False -> text
      }
      let text = case space_before, text {
        True, " " <> _ -> text
        True, _ -> " " <> text
        False, _ -> text
      }
      words(patterns, [text])
      |> otp.map(fn(word) { word_ids(tokenizer, byte_symbols(word)) })
      |> otp.flatten
    }
    SentencePiece(prefix:, words:, ..), _ -> {
      let text = replace(text, " ", "▁")
      let text = case prefix, first, text {
        Every, _, _ -> "▁" <> text
        Always, _, "▁" <> _ | First, True, "▁" <> _ -> text
        Always, _, _ | First, True, _ -> "▁" <> text
        _, _, _ -> text
      }
      let texts = case words {
        True -> before_each(text, "▁")
        False -> [text]
      }
      texts
      |> otp.map(fn(text) { word_ids(tokenizer, characters(text)) })
      |> otp.flatten
    }
  }
}

@external(erlang, "unicode", "characters_to_nfc_binary")
fn composed(text: String) -> String

@external(erlang, "viva_tensor_token_ffi", "byte_symbols")
fn byte_symbols(word: String) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "characters")
fn characters(text: String) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "before_each")
fn before_each(text: String, mark: String) -> List(String)

@external(erlang, "viva_tensor_token_ffi", "find_pieces")
fn find_pieces(pattern: Pattern, text: String) -> List(String)

fn words(patterns: List(Pattern), pieces: List(String)) -> List(String) {
  case patterns {
    [] -> pieces
    [pattern, ..rest] ->
      words(rest, otp.flatten(otp.map(pieces, find_pieces(pattern, _))))
  }
}

fn word_ids(tokenizer: Tokenizer, symbols: List(String)) -> List(Int) {
  let whole = otp.concat(symbols)
  case tokenizer.ignore_merges, table.get(tokenizer.ids, whole) {
    True, Ok(id) -> [id]
    _, _ -> {
      let symbols = otp.flatten(otp.map(symbols, known(tokenizer, _)))
      ids_of(tokenizer, merge(tokenizer.ranks, symbols), False)
    }
  }
}

/// A symbol that is no token falls back to its bytes, where those are tokens.
fn known(tokenizer: Tokenizer, symbol: String) -> List(String) {
  case tokenizer.style, table.get(tokenizer.ids, symbol) {
    SentencePiece(..), Error(Nil) -> {
      let bytes = byte_tokens(symbol)
      let is_missing = fn(token) {
        table.get(tokenizer.ids, token) == Error(Nil)
      }
      case otp.filter(bytes, is_missing) {
        [] -> bytes
        _ -> [symbol]
      }
    }
    _, _ -> [symbol]
  }
}

/// "<0x0A>" and the like.
@external(erlang, "viva_tensor_token_ffi", "byte_tokens")
fn byte_tokens(text: String) -> List(String)

/// Unknown symbols in a row are one unknown token.
fn ids_of(
  tokenizer: Tokenizer,
  symbols: List(String),
  after_unknown: Bool,
) -> List(Int) {
  case symbols {
    [] -> []
    [symbol, ..rest] ->
      case table.get(tokenizer.ids, symbol), tokenizer.unknown {
        Ok(id), _ -> [id, ..ids_of(tokenizer, rest, False)]
        Error(Nil), Ok(unknown) if !after_unknown -> [
          unknown,
          ..ids_of(tokenizer, rest, True)
        ]
        Error(Nil), _ -> ids_of(tokenizer, rest, after_unknown)
      }
  }
}

/// Applies the best merge wherever it is found, until there is none.
@external(erlang, "viva_tensor_token_ffi", "merge")
fn merge(
  ranks: Table(#(String, String), Int),
  symbols: List(String),
) -> List(String)

// Decoding.

/// What a stream of tokens has not given out yet.
pub opaque type Decoding {
  Decoding(pending: BitArray, at_start: Bool)
}

pub fn decoding() -> Decoding {
  Decoding(<<>>, True)
}

type Piece {
  Bytes(BitArray)
  Characters(String)
}

@external(erlang, "viva_tensor_token_ffi", "bytes_of_symbols")
fn bytes_of_symbols(text: String) -> BitArray

@external(erlang, "viva_tensor_token_ffi", "byte_of_token")
fn byte_of_token(token: String) -> Result(BitArray, Nil)

@external(erlang, "viva_tensor_token_ffi", "utf8_prefix")
fn utf8_prefix(bytes: BitArray) -> #(String, BitArray)

/// The text of bytes, if they are UTF-8; otherwise U+FFFD for each.
@external(erlang, "viva_tensor_token_ffi", "utf8_or_marks")
fn utf8_or_marks(bytes: BitArray) -> String

fn piece(tokenizer: Tokenizer, text: String) -> Piece {
  case tokenizer.style {
    ByteLevel(..) -> Bytes(bytes_of_symbols(text))
    SentencePiece(..) ->
      case byte_of_token(text) {
        Ok(byte) -> Bytes(byte)
        Error(Nil) -> Characters(replace(text, "▁", " "))
      }
  }
}

/// Text that is certain with one more token.
pub fn push(
  tokenizer: Tokenizer,
  state: Decoding,
  id: Int,
  skip_special: Bool,
) -> #(Decoding, String) {
  case table.get(tokenizer.special, id), table.get(tokenizer.texts, id) {
    Ok(_), _ if skip_special -> #(state, "")
    _, Error(Nil) -> #(state, "")
    _, Ok(text) ->
      case tokenizer.style, piece(tokenizer, text) {
        ByteLevel(..), Bytes(bytes) -> {
          let #(text, pending) = utf8_prefix(<<state.pending:bits, bytes:bits>>)
          #(Decoding(..state, pending:), text)
        }
        _, Bytes(bytes) -> #(
          Decoding(..state, pending: <<state.pending:bits, bytes:bits>>),
          "",
        )
        _, Characters(text) ->
          strip(tokenizer, state, utf8_or_marks(state.pending) <> text)
      }
  }
}

fn strip(
  tokenizer: Tokenizer,
  state: Decoding,
  text: String,
) -> #(Decoding, String) {
  case state.at_start, tokenizer.style, text {
    _, _, "" -> #(Decoding(..state, pending: <<>>), "")
    True, SentencePiece(strips_space: True, ..), " " <> rest -> #(
      Decoding(<<>>, False),
      rest,
    )
    _, _, _ -> #(Decoding(<<>>, False), text)
  }
}

/// The text of a special token, which decoding leaves out.
pub fn special_text(tokenizer: Tokenizer, id: Int) -> Result(String, Nil) {
  table.get(tokenizer.special, id)
}

/// What was held back.
pub fn finish(tokenizer: Tokenizer, state: Decoding) -> String {
  case tokenizer.style, state.pending {
    _, <<>> -> ""
    // What is left is one character that never became whole.
    ByteLevel(..), _ -> "\u{FFFD}"
    SentencePiece(..), pending ->
      strip(tokenizer, state, utf8_or_marks(pending)).1
  }
}

pub fn decode(
  tokenizer: Tokenizer,
  ids: List(Int),
  skip_special: Bool,
) -> Result(String, Error) {
  case otp.filter(ids, fn(id) { id < 0 }) {
    [id, ..] ->
      Error(error.InvalidOption(
        "token ids",
        "token ids, each an integer from 0 to 4294967295",
        otp.int_to_string(id),
      ))
    [] -> {
      let #(state, texts) =
        otp.fold(ids, #(decoding(), []), fn(so_far, id) {
          let #(state, text) = push(tokenizer, so_far.0, id, skip_special)
          #(state, [text, ..so_far.1])
        })
      Ok(otp.concat(otp.reverse([finish(tokenizer, state), ..texts])))
    }
  }
}
