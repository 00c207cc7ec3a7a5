//! tokenizer.json and tokenizer_config.json to a tokenizer.
//!
//! The file is read once into typed pieces, the model is built through the crate's builders after the checks that
//! the builders leave out, and then the config's say is added: special tokens by name. The surprise: for some model
//! families (`family`) transformers ignores the file's normalizer, pre-tokenizer and decoder, and so do we.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    models::{bpe::BPE, unigram::Unigram, wordlevel::WordLevel, wordpiece::WordPiece},
};

use super::{Parts, decoder::failed, family::Family};
use crate::error::{Error, Result};

/// How much longer a normalizer may make a text.
const MAX_NORMALIZER_GROWTH: usize = 4096;
/// Named special tokens that transformers knows, in the order in which it adds them.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Option<Value>,
    #[serde(default)]
    pre_tokenizer: Option<Value>,
    #[serde(default)]
    post_processor: Option<Value>,
    #[serde(default)]
    decoder: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    vocab: Vocabulary,
    #[serde(default)]
    merges: Option<Merges>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<usize>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    max_input_chars_per_word: Option<usize>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

/// An object from token to id, or (Unigram) a list of tokens with their scores.
enum Vocabulary {
    Ids(HashMap<String, u32>),
    Scores(Vec<(String, f64)>),
}

/// Pairs, each a list of two or one string with a space between.
struct Merges(Vec<(String, String)>);

pub(super) fn parts(model_type: &str, file: &[u8], config: Option<&Value>) -> Result<Parts> {
    let file: File = serde_json::from_slice(file).map_err(|error| {
        Error::malformed("tokenizer.json", "a tokenizer of the tokenizers library", error.to_string())
    })?;
    let clean_up = wants_clean_up(&file.model, config);
    let family = Family::of(model_type, config, is_byte_level(&file));
    let File { added_tokens, normalizer, pre_tokenizer, post_processor, decoder, mut model } = file;
    let shape = family.filter(|_| model.is_bpe()).and_then(Family::shape);
    if let Some(shape) = &shape {
        model.ignore_merges = None;
        model.byte_fallback = Some(shape.sentence_piece);
        model.fuse_unk = Some(shape.sentence_piece);
        model.unk_token = model.unk_token.filter(|_| shape.keeps_unknown);
    }
    let shaped = shape.is_some();
    let mut inner = tokenizers::Tokenizer::new(build_model(model)?);
    match shape {
        Some(shape) => {
            inner.with_normalizer(shape.normalizer).map_err(|error| failed("normalizer", error))?;
            inner.with_pre_tokenizer(shape.pre_tokenizer);
            inner.with_decoder(Some(shape.decoder));
        }
        None => {
            let normalizer: Option<NormalizerWrapper> = part("normalizer", normalizer)?;
            inner.with_normalizer(normalizer).map_err(|error| failed("normalizer", error))?;
            inner.with_pre_tokenizer(part::<PreTokenizerWrapper>("pre_tokenizer", pre_tokenizer)?);
            inner.with_decoder(part::<DecoderWrapper>("decoder", decoder)?);
        }
    }
    inner.with_post_processor(part::<PostProcessorWrapper>("post_processor", post_processor)?);
    let described = config.and_then(|config| config.get("added_tokens_decoder")).is_some();
    // What transformers builds itself, it gives the config's added tokens instead of the file's.
    let added_tokens = if shaped && described { Vec::new() } else { added_tokens };
    inner.add_tokens(added_tokens).map_err(|error| failed("added_tokens", error))?;

    let named = named_tokens(family, config);
    add_from_config(&mut inner, &named, config)?;
    // Beside a tokenizer.json, transformers pays no heed to the config's add_bos_token: the post-processor rules.
    Ok(Parts { inner, around: None, named, more_eos_ids: Vec::new(), clean_up })
}

impl Model {
    fn is_bpe(&self) -> bool {
        self.kind.as_deref() == Some("BPE") || (self.kind.is_none() && self.merges.is_some())
    }
}

fn malformed(at: &str, expected: &str, found: impl Into<String>) -> Error {
    Error::malformed(format!("tokenizer.json, {at}"), expected, found)
}

fn build_model(model: Model) -> Result<ModelWrapper> {
    let kind = match (&model.kind, &model.vocab, &model.merges) {
        (Some(kind), ..) => kind.clone(),
        (None, Vocabulary::Scores(_), _) => "Unigram".into(),
        (None, _, Some(_)) => "BPE".into(),
        (None, ..) => "WordPiece".into(),
    };
    let wants_ids = || malformed("model.vocab", "an object from token to id", "a list");
    match (kind.as_str(), model.vocab) {
        ("BPE", Vocabulary::Ids(vocab)) => {
            let merges = model.merges.map(|merges| merges.0).unwrap_or_default();
            let prefix = model.continuing_subword_prefix.filter(|prefix| !prefix.is_empty());
            check_merges(&vocab, &merges, prefix.as_deref())?;
            let mut builder = BPE::builder()
                .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
                .fuse_unk(model.fuse_unk.unwrap_or(false))
                .byte_fallback(model.byte_fallback.unwrap_or(false))
                .ignore_merges(model.ignore_merges.unwrap_or(false))
                // The crate's cache is one a thread and outlives the tokenizer.
                .cache_capacity(0);
            if let Some(token) = model.unk_token {
                builder = builder.unk_token(token);
            }
            if let Some(prefix) = prefix {
                builder = builder.continuing_subword_prefix(prefix);
            }
            if let Some(suffix) = model.end_of_word_suffix.filter(|suffix| !suffix.is_empty()) {
                builder = builder.end_of_word_suffix(suffix);
            }
            Ok(builder.build().map_err(|error| failed("model", error))?.into())
        }
        ("Unigram", Vocabulary::Scores(vocab)) => {
            let mut unigram = Unigram::from(vocab, model.unk_id, model.byte_fallback.unwrap_or(false))
                .map_err(|error| failed("model", error))?;
            unigram.resize_cache(0);
            Ok(unigram.into())
        }
        ("Unigram", Vocabulary::Ids(_)) => Err(malformed("model.vocab", "a list of tokens with scores", "an object")),
        ("WordLevel", Vocabulary::Ids(vocab)) => {
            let mut builder = WordLevel::builder().vocab(vocab.into_iter().collect());
            if let Some(token) = model.unk_token {
                builder = builder.unk_token(token);
            }
            Ok(builder.build().map_err(|error| failed("model", error))?.into())
        }
        ("WordPiece", Vocabulary::Ids(vocab)) => {
            let vocab: tokenizers::models::bpe::Vocab = vocab.into_iter().collect();
            let mut builder = WordPiece::builder()
                .vocab(vocab)
                .continuing_subword_prefix(model.continuing_subword_prefix.unwrap_or_else(|| "##".into()))
                .max_input_chars_per_word(model.max_input_chars_per_word.unwrap_or(100));
            if let Some(token) = model.unk_token {
                builder = builder.unk_token(token);
            }
            Ok(builder.build().map_err(|error| failed("model", error))?.into())
        }
        ("BPE" | "WordLevel" | "WordPiece", Vocabulary::Scores(_)) => Err(wants_ids()),
        (other, _) => {
            Err(Error::unsupported("tokenizer.json, model.type", "BPE, Unigram, WordPiece or WordLevel", other))
        }
    }
}

/// The builder copies merged tokens into a buffer of the longest token's length: what does not fit is caught here.
fn check_merges(vocab: &HashMap<String, u32>, merges: &[(String, String)], prefix: Option<&str>) -> Result<()> {
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    let prefix = prefix.unwrap_or_default();
    for (left, right) in merges {
        let Some(rest) = right.strip_prefix(prefix) else {
            return Err(malformed("model.merges", "a right part that starts with the subword prefix", right.as_str()));
        };
        if left.len() + rest.len() > longest {
            return Err(malformed("model.merges", "pairs that make a token", format!("{left} {right}")));
        }
    }
    Ok(())
}

/// A part of the tokenizer from its description, after the checks that the crate leaves out.
fn part<T: for<'de> Deserialize<'de>>(at: &str, described: Option<Value>) -> Result<Option<T>> {
    let Some(described) = described else { return Ok(None) };
    let growth = growth(&described);
    if growth > MAX_NORMALIZER_GROWTH {
        let expected = format!("a text at most {MAX_NORMALIZER_GROWTH} times as long");
        return Err(malformed(at, &expected, format!("up to {growth} times")));
    }
    check_steps(at, &described)?;
    serde_json::from_value(described)
        .map(Some)
        .map_err(|error| malformed(at, "a part as the tokenizers library describes it", error.to_string()))
}

/// Steps that the crate would panic on when they are used.
fn check_steps(at: &str, described: &Value) -> Result<()> {
    for list in ["pretokenizers", "processors"] {
        for inner in described.get(list).and_then(Value::as_array).into_iter().flatten() {
            check_steps(at, inner)?;
        }
    }
    match described.get("type").and_then(Value::as_str) {
        Some("FixedLength") if described.get("length").and_then(Value::as_u64) == Some(0) => {
            Err(malformed(at, "a length of at least 1", "0"))
        }
        Some("TemplateProcessing") => {
            let known = described.get("special_tokens").and_then(Value::as_object);
            let pieces = ["single", "pair"].iter().filter_map(|key| described.get(key)?.as_array()).flatten();
            for name in pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str()) {
                if !known.is_some_and(|known| known.contains_key(name)) {
                    return Err(malformed(at, "special tokens that are described", name));
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// An upper bound of what a normalizer's replacements multiply a text's length by.
fn growth(described: &Value) -> usize {
    let own = ["content", "prepend"]
        .iter()
        .filter_map(|key| described.get(key).and_then(Value::as_str))
        .map(|text| text.len().max(1))
        .fold(1, usize::saturating_mul);
    let inner = described.get("normalizers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    inner.iter().map(growth).fold(own, usize::saturating_mul)
}

fn is_byte_level(file: &File) -> bool {
    let mentions = |part: &Option<Value>| part.as_ref().is_some_and(|part| part.to_string().contains("\"ByteLevel\""));
    mentions(&file.pre_tokenizer) || mentions(&file.decoder)
}

/// transformers cleans up after models that are not BPE, and after BPE only when the config insists.
fn wants_clean_up(model: &Model, config: Option<&Value>) -> bool {
    let flag = |key: &str| config.and_then(|config| config.get(key)).and_then(Value::as_bool).unwrap_or(false);
    flag("clean_up_tokenization_spaces")
        && (!model.is_bpe() || flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"))
}

/// The text of a special token in tokenizer_config.json: a string, or an object that describes a token.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn named_tokens(family: Option<Family>, config: Option<&Value>) -> BTreeMap<String, String> {
    let mut named = BTreeMap::new();
    for (name, text) in family.map(Family::defaults).unwrap_or_default() {
        named.insert((*name).to_owned(), (*text).to_owned());
    }
    let Some(config) = config.and_then(Value::as_object) else { return named };
    for (name, value) in config {
        if !NAMES.contains(&name.as_str()) && !(name.ends_with("_token") && (value.is_string() || value.is_object())) {
            continue;
        }
        match token_text(value) {
            Some(text) => named.insert(name.clone(), text.to_owned()),
            None => named.remove(name),
        };
    }
    named
}

/// Adds what tokenizer_config.json knows of added and special tokens, as transformers does after loading.
fn add_from_config(
    inner: &mut tokenizers::Tokenizer,
    named: &BTreeMap<String, String>,
    config: Option<&Value>,
) -> Result<()> {
    let described = config.and_then(|config| config.get("added_tokens_decoder")).and_then(Value::as_object);
    let mut from_config: Vec<(u64, AddedToken)> = Vec::new();
    for (id, token) in described.into_iter().flatten() {
        let at = "tokenizer_config.json, added_tokens_decoder";
        let id = id.parse().map_err(|_| Error::malformed(at, "ids as keys", id.as_str()))?;
        from_config.push((id, added_token(token).ok_or_else(|| Error::malformed(at, "tokens", token.to_string()))?));
    }
    from_config.sort_by_key(|(id, _)| *id);

    let current = |inner: &tokenizers::Tokenizer, text: &str| {
        let added = inner.get_added_vocabulary();
        added.get_vocab().get(text).and_then(|id| added.get_added_tokens_decoder().get(id)).cloned()
    };
    let mut wanted: Vec<AddedToken> = from_config.into_iter().map(|(_, token)| token).collect();
    let extra = ["extra_special_tokens", "additional_special_tokens"]
        .iter()
        .filter_map(|key| config?.get(key))
        .find(|value| value.as_array().is_some_and(|list| !list.is_empty()));
    let extra: Vec<&str> = extra.and_then(Value::as_array).into_iter().flatten().filter_map(token_text).collect();
    for name in NAMES {
        let Some(text) = named.get(name) else { continue };
        let known = wanted.iter().find(|token| token.content == *text).cloned().or_else(|| current(inner, text));
        wanted.push(AddedToken { special: true, ..known.unwrap_or_else(|| AddedToken::from(text.clone(), true)) });
    }
    let others = named.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())).map(|(_, text)| text.as_str());
    for text in others.chain(extra) {
        wanted.push(AddedToken::from(text, true));
    }
    wanted.retain(|token| current(inner, &token.content).as_ref() != Some(token));
    if !wanted.is_empty() {
        inner.add_tokens(wanted).map_err(|error| failed("tokenizer_config.json", error))?;
    }
    Ok(())
}

fn added_token(value: &Value) -> Option<AddedToken> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(
        AddedToken::from(value.get("content")?.as_str()?, special)
            .normalized(flag("normalized").unwrap_or(!special))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false)),
    )
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocabulary;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object from token to id, or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocabulary, A::Error> {
                let mut ids = HashMap::new();
                while let Some((token, id)) = map.next_entry()? {
                    ids.insert(token, id);
                }
                Ok(Vocabulary::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vocabulary, A::Error> {
                let mut scores = Vec::new();
                while let Some(entry) = list.next_element()? {
                    scores.push(entry);
                }
                Ok(Vocabulary::Scores(scores))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Merges;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a list of pairs of tokens")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Merges, A::Error> {
                let mut merges = Vec::new();
                while let Some(Pair(left, right)) = list.next_element()? {
                    // A file may start its merges with a line that names their version.
                    if !left.starts_with("#version") {
                        merges.push((left, right));
                    }
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct OnePair;
        impl<'de> Visitor<'de> for OnePair {
            type Value = Pair;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("two tokens, in a list or with a space between")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Pair, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Pair(left.into(), right.into())),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Pair, A::Error> {
                match (list.next_element()?, list.next_element()?, list.next_element::<String>()?) {
                    (Some(left), Some(right), None) => Ok(Pair(left, right)),
                    _ => Err(serde::de::Error::invalid_length(0, &self)),
                }
            }
        }
        deserializer.deserialize_any(OnePair)
    }
}
