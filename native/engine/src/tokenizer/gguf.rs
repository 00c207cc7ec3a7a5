//! GGUF metadata to a tokenizer, through the object model of the tokenizers crate.
//!
//! "gpt2" is byte-level BPE: the file has its merges, and names how text is cut into words. "llama" is
//! SentencePiece: merges are what the scores say, every way to put a token together from two others, best first.
//! The surprise: control tokens take no part in those merges, or plain text could spell one.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokenizers::{
    AddedToken,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::{Around, Parts, decoder::failed, family::Shape, pre_tokenizer};
use crate::{
    checkpoint::metadata::Metadata,
    error::{Error, Result},
};

/// llama.cpp's token types.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// A longer token is never built by merges: its cuts would cost the square of its length.
const MAX_MERGED_CHARS: usize = 256;

/// Tokens that end a turn by their name alone: a file names one EOS, and a chat model often ends its turns with another.
/// The end of a text (`<|endoftext|>`) is not among them: transformers goes on after it unless a config says otherwise.
const TURN_ENDS: [&str; 10] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endofturn|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<EOT>",
    "_<EOT>",
];

struct Vocabulary<'m> {
    tokens: &'m [String],
    types: Option<&'m [i64]>,
    metadata: &'m Metadata,
}

pub(super) fn parts(metadata: &Metadata) -> Result<Parts> {
    let vocabulary = Vocabulary::new(metadata)?;
    let kind = metadata.str("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model", "a name"))?;
    let (mut inner, adds_bos) = match kind {
        "gpt2" => byte_level(&vocabulary)?,
        "llama" => (sentence_piece(&vocabulary)?, true),
        other => return Err(Error::unsupported("tokenizer.ggml.model", "gpt2 or llama", other)),
    };

    let mut named = BTreeMap::new();
    let mut ids = HashMap::new();
    for (name, key) in [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ] {
        if let Some((id, text)) = vocabulary.named(key)? {
            named.insert(name.to_owned(), text.to_owned());
            ids.insert(name, id);
        }
    }
    let special = vocabulary.of_type(CONTROL).chain(named.values().map(String::as_str));
    let special = special.map(|text| AddedToken::from(text, true));
    let plain = vocabulary.of_type(USER_DEFINED).map(|text| AddedToken::from(text, false).normalized(false));
    let added: Vec<AddedToken> = plain.chain(special).filter(|token| !token.content.is_empty()).collect();
    inner.add_tokens(added).map_err(|error| failed("added tokens", error))?;

    let flag = |key: &str, otherwise: bool| metadata.bool(key).unwrap_or(otherwise);
    let wanted = |wanted: bool, name: &str| if wanted { ids.get(name).copied() } else { None };
    Ok(Parts {
        around: Some(Around {
            before: wanted(flag("tokenizer.ggml.add_bos_token", adds_bos), "bos_token"),
            after: wanted(flag("tokenizer.ggml.add_eos_token", false), "eos_token"),
        }),
        more_eos_ids: vocabulary.turn_ends()?,
        inner,
        named,
        clean_up: false,
    })
}

fn missing(key: &str, expected: &str) -> Error {
    Error::malformed(key, expected, "nothing of that kind")
}

impl<'m> Vocabulary<'m> {
    fn new(metadata: &'m Metadata) -> Result<Self> {
        let tokens =
            metadata.strings("tokenizer.ggml.tokens").ok_or_else(|| missing("tokenizer.ggml.tokens", "strings"))?;
        let types = metadata.integers("tokenizer.ggml.token_type");
        if let Some(types) = types
            && types.len() != tokens.len()
        {
            let expected = format!("one for each of {} tokens", tokens.len());
            return Err(Error::malformed("tokenizer.ggml.token_type", expected, types.len().to_string()));
        }
        if tokens.is_empty() || u32::try_from(tokens.len()).is_err() {
            return Err(Error::malformed("tokenizer.ggml.tokens", "some tokens", tokens.len().to_string()));
        }
        Ok(Vocabulary { tokens, types, metadata })
    }

    fn type_of(&self, at: usize) -> Option<i64> {
        self.types?.get(at).copied()
    }

    fn of_type(&self, wanted: i64) -> impl Iterator<Item = &'m str> {
        let types = self.types.unwrap_or_default();
        let tokens = self.tokens;
        tokens.iter().zip(types).filter(move |(_, kind)| **kind == wanted).map(|(token, _)| token.as_str())
    }

    fn ids(&self) -> Vocab {
        self.tokens.iter().zip(0u32..).map(|(token, id)| (token.clone(), id)).collect()
    }

    /// The token that a key of the file names by its id.
    fn named(&self, key: &str) -> Result<Option<(u32, &'m str)>> {
        let key = format!("tokenizer.ggml.{key}");
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        let id = self.metadata.uint(&key).ok_or_else(|| Error::malformed(key.as_str(), "a token id", value.kind()))?;
        let token = usize::try_from(id).ok().and_then(|at| self.tokens.get(at));
        match (token, u32::try_from(id)) {
            (Some(text), Ok(id)) => Ok(Some((id, text))),
            _ => Err(Error::malformed(key, format!("an id below {}", self.tokens.len()), id.to_string())),
        }
    }

    /// Ids beside the EOS that end a turn: those the file names, and those known by their text. Converters mark these as
    /// control tokens or as the user's own; an ordinary word of that spelling ends nothing.
    fn turn_ends(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for key in ["eot_token_id", "eom_token_id"] {
            ids.extend(self.named(key)?.map(|(id, _)| id));
        }
        for ((at, token), id) in self.tokens.iter().enumerate().zip(0u32..) {
            if TURN_ENDS.contains(&token.as_str()) && matches!(self.type_of(at), Some(CONTROL | USER_DEFINED)) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

/// Byte-level BPE, and whether its family puts a BOS before the text.
fn byte_level(vocabulary: &Vocabulary) -> Result<(tokenizers::Tokenizer, bool)> {
    let metadata = vocabulary.metadata;
    let style = pre_tokenizer::style(metadata.str("tokenizer.ggml.pre").unwrap_or("default"))?;
    let given = metadata
        .strings("tokenizer.ggml.merges")
        .ok_or_else(|| missing("tokenizer.ggml.merges", "pairs of tokens with a space between"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), split_merges(vocabulary, given)?)
        .ignore_merges(style.ignore_merges)
        .cache_capacity(0)
        .build()
        .map_err(|error| failed("tokenizer.ggml.merges", error))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(style.pre_tokenizer()?));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok((inner, style.add_bos))
}

fn split_merges(vocabulary: &Vocabulary, given: &[String]) -> Result<Vec<(String, String)>> {
    let longest = vocabulary.tokens.iter().map(String::len).max().unwrap_or(0);
    given
        .iter()
        .map(|merge| {
            // The left part may itself begin with a space.
            let at = merge.char_indices().skip(1).find(|(_, character)| *character == ' ').map(|(at, _)| at);
            at.and_then(|at| Some((merge.get(..at)?.to_owned(), merge.get(at + 1..)?.to_owned())))
                // The model's builder relies on this.
                .filter(|(left, right)| left.len() + right.len() <= longest)
                .ok_or_else(|| Error::malformed("tokenizer.ggml.merges", "two parts of a token", merge.as_str()))
        })
        .collect()
}

fn sentence_piece(vocabulary: &Vocabulary) -> Result<tokenizers::Tokenizer> {
    let metadata = vocabulary.metadata;
    let architecture = metadata.str("general.architecture").unwrap_or_default();
    let gemma = architecture.starts_with("gemma");
    let prefix = metadata.bool("tokenizer.ggml.add_space_prefix").unwrap_or(!gemma);
    // The space goes before every stretch between added tokens, as SentencePiece and llama.cpp have it.
    let shape = if prefix { Shape::prepending() } else { Shape::gemma() };

    let tokens: Vec<String> = vocabulary.tokens.iter().map(|token| respelled(token, gemma)).collect();
    let merges = match metadata.strings("tokenizer.ggml.merges") {
        Some(given) => split_merges(vocabulary, given)?,
        None => merges_of_scores(vocabulary, &tokens, gemma)?,
    };
    let ids: Vocab = tokens.into_iter().zip(0u32..).collect();
    let mut builder = BPE::builder().vocab_and_merges(ids, merges).byte_fallback(true).fuse_unk(true).cache_capacity(0);
    if let Some((_, unknown)) = vocabulary.named("unknown_token_id")? {
        builder = builder.unk_token(unknown.to_owned());
    }
    let mut inner =
        tokenizers::Tokenizer::new(builder.build().map_err(|error| failed("tokenizer.ggml.tokens", error))?);
    inner.with_normalizer(shape.normalizer).map_err(|error| failed("normalizer", error))?;
    inner.with_pre_tokenizer(shape.pre_tokenizer);
    inner.with_decoder(Some(shape.decoder));
    Ok(inner)
}

/// Gemma's files write its runs of spaces as spaces, all other tokens with "▁".
fn respelled(token: &str, gemma: bool) -> String {
    if gemma && !token.is_empty() && token.chars().all(|character| character == ' ') {
        "▁".repeat(token.len())
    } else {
        token.to_owned()
    }
}

/// Every pair of tokens that makes a token, best first: by the score of what it makes (in Gemma's files by its
/// place instead), then by the longer left part.
fn merges_of_scores(vocabulary: &Vocabulary, tokens: &[String], by_place: bool) -> Result<Vec<(String, String)>> {
    let scores = vocabulary.metadata.floats("tokenizer.ggml.scores");
    let scores = match scores {
        Some(scores) if scores.len() == tokens.len() => scores,
        Some(scores) => {
            let expected = format!("one for each of {} tokens", tokens.len());
            return Err(Error::malformed("tokenizer.ggml.scores", expected, scores.len().to_string()));
        }
        None if by_place => &[],
        None => return Err(missing("tokenizer.ggml.scores", "numbers")),
    };
    let takes_part = |at: usize| !matches!(vocabulary.type_of(at), Some(UNKNOWN | CONTROL | UNUSED | BYTE));
    let parts: HashSet<&str> =
        tokens.iter().enumerate().filter(|(at, _)| takes_part(*at)).map(|(_, token)| token.as_str()).collect();

    struct Merge<'t> {
        score: f32,
        left: &'t str,
        right: &'t str,
        lengths: (usize, usize),
    }
    let mut merges = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let length = token.chars().count();
        if !takes_part(at) || length > MAX_MERGED_CHARS {
            continue;
        }
        let score = if by_place { -(at as f32) } else { scores.get(at).copied().unwrap_or(f32::NEG_INFINITY) };
        for (chars, (cut, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(cut);
            if parts.contains(left) && parts.contains(right) {
                merges.push(Merge { score, left, right, lengths: (chars, length - chars) });
            }
        }
    }
    merges.sort_by(|one, other| other.score.total_cmp(&one.score).then(other.lengths.cmp(&one.lengths)));
    Ok(merges.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect())
}
