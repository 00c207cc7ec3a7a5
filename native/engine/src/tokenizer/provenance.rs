//! Encoding a text that is part template and part content, so that content forges no control token.
//!
//! The steps are those of the tokenizers crate (added tokens that match raw text, normalizer, added tokens that
//! match normalized text, pre-tokenizer, model), but a control token is accepted only where the template alone
//! wrote it. So a text without forgeries gets the ids that `encode` gives it. The surprise: a model may find a
//! control token in plain text by itself (it is a word of the vocabulary after all); such a word is cut in two.

use std::ops::Range;

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Token, normalizer::Range as Span,
};

use super::{Tokenizer, check_size, guarded, matcher::Table};
use crate::{bounded::on_large_stack, error::Result};

impl Tokenizer {
    /// The ids of `text`, whose ranges `content` (ascending byte ranges) hold no control token and take part in
    /// none; white space may, as it does in transformers. Nothing is put around the text.
    pub fn encode_provenance(&self, text: &str, content: &[Range<usize>]) -> Result<Vec<u32>> {
        check_size(text)?;
        let mut foreign = vec![false; text.len()];
        for range in content {
            foreign.get_mut(range.clone()).unwrap_or_default().fill(true);
        }
        on_large_stack(|| guarded("encoding", || self.ids_of(text, &foreign)))?
    }

    fn ids_of(&self, text: &str, foreign: &[bool]) -> tokenizers::Result<Vec<u32>> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| Ok(cut(piece, self.matcher.raw(), text, foreign)))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = self.inner.get_normalizer() {
                normalizer.normalize(&mut piece)?;
            }
            Ok(cut(piece, self.matcher.normalized(), text, foreign))
        })?;
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| {
            let tokens = self.inner.get_model().tokenize(piece.get())?;
            if tokens.iter().any(|token| self.is_forged(token, piece, foreign)) {
                let mut ids = Vec::new();
                self.cut_forged(piece.get(), &mut ids)?;
                return Ok(ids);
            }
            Ok(tokens)
        })?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }

    /// A control token that the model itself made out of content.
    fn is_forged(&self, token: &Token, piece: &NormalizedString, foreign: &[bool]) -> bool {
        self.is_control_word(token, piece.get())
            && original(piece, token.offsets.0..token.offsets.1)
                .is_none_or(|range| foreign.get(range).is_none_or(|flags| flags.contains(&true)))
    }

    fn is_control_word(&self, token: &Token, word: &str) -> bool {
        word.get(token.offsets.0..token.offsets.1) == Some(token.value.as_str())
            && self.matcher.is_control(token.id, &token.value)
    }

    fn cut_forged(&self, word: &str, out: &mut Vec<Token>) -> tokenizers::Result<()> {
        let tokens = self.inner.get_model().tokenize(word)?;
        let forged = tokens.iter().find(|token| self.is_control_word(token, word));
        let middle = forged.and_then(|token| {
            let first = word.get(token.offsets.0..)?.chars().next()?;
            Some(token.offsets.0 + first.len_utf8())
        });
        match middle.and_then(|middle| word.split_at_checked(middle)) {
            Some((left, right)) if !right.is_empty() => {
                self.cut_forged(left, out)?;
                self.cut_forged(right, out)
            }
            // A control token of one character cannot be cut: it is left out.
            Some(_) => Ok(()),
            None => {
                out.extend(tokens);
                Ok(())
            }
        }
    }
}

/// Where a range of a normalized piece lies in the whole text.
fn original(piece: &NormalizedString, range: Range<usize>) -> Option<Range<usize>> {
    let shift = piece.offsets_original().0;
    let range = piece.convert_offsets(Span::Normalized(range))?;
    Some(range.start + shift..range.end + shift)
}

type Piece = (NormalizedString, Option<Vec<Token>>);

fn cut(piece: NormalizedString, table: &Table, text: &str, foreign: &[bool]) -> Vec<Piece> {
    let may_control = |range: Range<usize>| {
        let Some(range) = original(&piece, range) else { return false };
        let Some(characters) = text.get(range.clone()) else { return false };
        characters
            .char_indices()
            .all(|(at, character)| character.is_whitespace() || foreign.get(range.start + at) == Some(&false))
    };
    let parts = table.cut(piece.get(), &may_control);
    if let [only] = parts.as_slice()
        && only.id.is_none()
    {
        return vec![(piece, None)];
    }
    parts
        .into_iter()
        .filter_map(|part| {
            let slice = piece.slice(Span::Normalized(part.range))?;
            let tokens = part.id.map(|id| {
                let value = slice.get().to_owned();
                let length = value.len();
                vec![Token::new(id, value, (0, length))]
            });
            Some((slice, tokens))
        })
        .collect()
}
