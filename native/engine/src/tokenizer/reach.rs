//! How much text one token can stand for, so that a text too long for a context is refused before it is encoded.
//!
//! The bound is the longest token's bytes, and holds where every byte of a text ends in some token: all 256 bytes
//! have a token, and no step takes text away. The surprise: where a step may (an accent stripped, blanks run
//! together, a character without a token), there is no bound, and none is claimed.

use serde_json::{Value, json};
use tokenizers::{Model, models::ModelWrapper, pre_tokenizers::byte_level::ByteLevel};

/// Canonical composition makes no text shorter than a third.
const MAX_COMPOSITION: usize = 3;

/// The most bytes of text behind one token, if there is a bound.
pub(super) fn longest_bytes(inner: &tokenizers::Tokenizer) -> Option<usize> {
    let ModelWrapper::BPE(model) = inner.get_model() else { return None };
    let normalizer = inner.get_normalizer().map(|part| json!(part));
    let shrinks = normalizer.as_ref().map_or(Some(1), shrinks)?;
    let pre_tokenizer = inner.get_pre_tokenizer().map(|part| json!(part));
    let byte_level = pre_tokenizer.as_ref().map_or(Some(false), is_byte_level)?;
    let has = |token: String| model.token_to_id(&token).is_some();
    let knows_all = if byte_level {
        ByteLevel::alphabet().into_iter().all(|character| has(character.into()))
    } else {
        model.byte_fallback && (0..=u8::MAX).all(|byte| has(format!("<0x{byte:02X}>")))
    };
    let blanks_vanish = inner.get_added_tokens_decoder().values().any(|token| token.lstrip || token.rstrip);
    if !knows_all || blanks_vanish {
        return None;
    }
    let longest = inner.get_vocab(true).keys().map(String::len).max()?;
    longest.checked_mul(shrinks)
}

/// How many times shorter a normalizer may make a text.
fn shrinks(part: &Value) -> Option<usize> {
    match part.get("type")?.as_str()? {
        "NFC" => Some(MAX_COMPOSITION),
        "NFD" | "Prepend" => Some(1),
        "Replace" => {
            let pattern = part.get("pattern")?.get("String")?.as_str()?;
            (pattern.len() <= part.get("content")?.as_str()?.len()).then_some(1)
        }
        "Sequence" => {
            let steps = part.get("normalizers")?.as_array()?;
            steps.iter().try_fold(1, |product: usize, step| product.checked_mul(shrinks(step)?))
        }
        _ => None,
    }
}

/// Whether bytes become characters; None for a step that may take text away.
fn is_byte_level(part: &Value) -> Option<bool> {
    match part.get("type")?.as_str()? {
        "ByteLevel" => Some(true),
        "Metaspace" | "Digits" => Some(false),
        "Split" => (part.get("behavior")?.as_str()? != "Removed").then_some(false),
        "Sequence" => {
            let steps = part.get("pretokenizers")?.as_array()?;
            steps.iter().try_fold(false, |any, step| Some(is_byte_level(step)? || any))
        }
        _ => None,
    }
}
