//! How much text one token can stand for, so that a text too long for a context is refused before it is encoded.
//!
//! The bound is the longest token's bytes, and holds where each byte that has a token ends in one, which is where no
//! step takes text away. The surprise: where a step may (an accent stripped, blanks run together), there is no bound,
//! and none is claimed; bytes without a token, control characters mostly, vanish and are not counted.

use serde_json::{Value, json};
use tokenizers::{Model, models::ModelWrapper, pre_tokenizers::byte_level::ByteLevel};

use super::decoder::byte_spelled;

/// Canonical composition makes no text shorter than a third.
const MAX_COMPOSITION: usize = 3;

/// The bytes that end in tokens, and the most of them behind one token.
pub(super) struct Reach {
    counts: [bool; 256],
    longest_bytes: usize,
}

impl Reach {
    /// None where there is no bound.
    pub fn of(inner: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = inner.get_model() else { return None };
        let normalizer = inner.get_normalizer().map(|part| json!(part));
        let shrinks = normalizer.as_ref().map_or(Some(1), shrinks)?;
        let pre_tokenizer = inner.get_pre_tokenizer().map(|part| json!(part));
        let byte_level = pre_tokenizer.as_ref().map_or(Some(false), is_byte_level)?;
        let has = |token: String| model.token_to_id(&token).is_some();
        let mut counts = [false; 256];
        if byte_level {
            for character in ByteLevel::alphabet() {
                let byte = byte_spelled(character)?;
                *counts.get_mut(usize::from(byte))? = has(character.into());
            }
        } else if model.byte_fallback {
            counts.fill((0..=u8::MAX).all(|byte| has(format!("<0x{byte:02X}>"))));
        }
        // A normalizer may make a byte that counts into one that does not.
        let is_sure = if normalizer.is_some() { !counts.contains(&false) } else { counts.contains(&true) };
        let blanks_vanish = inner.get_added_tokens_decoder().values().any(|token| token.lstrip || token.rstrip);
        if !is_sure || blanks_vanish {
            return None;
        }
        let longest = inner.get_vocab(true).keys().map(String::len).max()?;
        Some(Reach { counts, longest_bytes: longest.checked_mul(shrinks)? })
    }

    /// No fewer tokens than these stand for `text`.
    pub fn least_tokens(&self, text: &str) -> usize {
        let counted = text.bytes().filter(|byte| self.counts.get(usize::from(*byte)) == Some(&true)).count();
        counted.checked_div(self.longest_bytes).unwrap_or(0)
    }
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
