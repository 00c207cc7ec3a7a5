//! Where added tokens lie in a text, when not every part of the text may be one.
//!
//! The tokenizers crate finds added tokens leftmost first and longest first; this finder does the same, but asks
//! before it accepts a match, and tries a shorter one when the answer is no. So a token that content began cannot
//! swallow the start of a genuine one. The surprise: an added token of white space alone (Gemma's "\n\n", Phi-2's
//! runs of spaces) controls nothing and is a token in content too.

use std::{collections::HashMap, ops::Range};

use tokenizers::{AddedToken, Tokenizer};

/// The added tokens of a tokenizer: those that match the text as it is, and those that match it normalized.
pub(super) struct Matcher {
    raw: Table,
    normalized: Table,
    /// Ids that only an added token may have, with the text they have.
    control: HashMap<u32, String>,
}

#[derive(Default)]
pub(super) struct Table {
    /// By length in bytes, longest first.
    by_length: Vec<(usize, HashMap<String, Entry>)>,
    first_bytes: [u64; 4],
}

struct Entry {
    id: u32,
    token: AddedToken,
}

/// A stretch of text, and the id of the added token that it is.
pub(super) struct Part {
    pub range: Range<usize>,
    pub id: Option<u32>,
}

impl Matcher {
    pub fn new(tokenizer: &Tokenizer) -> tokenizers::Result<Self> {
        let added = tokenizer.get_added_vocabulary();
        let (mut raw, mut normalized) = (Table::default(), Table::default());
        let mut control = HashMap::new();
        for (&id, token) in added.get_added_tokens_decoder() {
            if !is_blank(&token.content) {
                control.insert(id, token.content.clone());
            }
            if token.normalized {
                // The text that the token has once the normalizer has seen it.
                let pattern = added.simple_id_to_token(id).unwrap_or_else(|| token.content.clone());
                normalized.add(pattern, id, token);
            } else {
                raw.add(token.content.clone(), id, token);
            }
        }
        Ok(Matcher { raw: raw.ordered(), normalized: normalized.ordered(), control })
    }

    pub fn raw(&self) -> &Table {
        &self.raw
    }

    pub fn normalized(&self) -> &Table {
        &self.normalized
    }

    /// Whether a model token is in truth a control token that the model found in plain text.
    pub fn is_control(&self, id: u32, text: &str) -> bool {
        self.control.get(&id).is_some_and(|token| token == text)
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl Table {
    fn add(&mut self, pattern: String, id: u32, token: &AddedToken) {
        let Some(&first) = pattern.as_bytes().first() else { return };
        if let Some(word) = self.first_bytes.get_mut(usize::from(first >> 6)) {
            *word |= 1 << (first & 63);
        }
        let entry = Entry { id, token: token.clone() };
        match self.by_length.iter_mut().find(|(length, _)| *length == pattern.len()) {
            Some((_, entries)) => {
                entries.insert(pattern, entry);
            }
            None => self.by_length.push((pattern.len(), HashMap::from([(pattern, entry)]))),
        }
    }

    fn ordered(mut self) -> Self {
        self.by_length.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        self
    }

    fn may_start(&self, byte: u8) -> bool {
        self.first_bytes.get(usize::from(byte >> 6)).is_some_and(|word| word & (1 << (byte & 63)) != 0)
    }

    fn longest_at<'t>(
        &'t self,
        text: &str,
        start: usize,
        may_control: &dyn Fn(Range<usize>) -> bool,
    ) -> Option<(usize, &'t Entry)> {
        self.by_length.iter().find_map(|(length, entries)| {
            let end = start + length;
            let entry = entries.get(text.get(start..end)?)?;
            (is_blank(&entry.token.content) || may_control(start..end)).then_some((end, entry))
        })
    }

    /// Cuts `text` at the added tokens in it. `may_control` says whether a range may be a control token at all.
    pub fn cut(&self, text: &str, may_control: &dyn Fn(Range<usize>) -> bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut done = 0;
        let mut at = 0;
        while let Some(&byte) = text.as_bytes().get(at) {
            let found = if self.may_start(byte) { self.longest_at(text, at, may_control) } else { None };
            let Some((end, entry)) = found else {
                at += 1;
                continue;
            };
            let mut range = at..end;
            at = end;
            let before = text.get(..range.start).unwrap_or_default();
            let after = text.get(end..).unwrap_or_default();
            let in_word = before.chars().next_back().is_some_and(is_word) || after.chars().next().is_some_and(is_word);
            if entry.token.single_word && in_word {
                continue;
            }
            if entry.token.lstrip {
                range.start = before.trim_end().len().max(done);
            }
            if entry.token.rstrip {
                range.end += after.len() - after.trim_start().len();
            }
            if done < range.start {
                parts.push(Part { range: done..range.start, id: None });
            }
            done = range.end;
            // A match inside white space that this token took is still found next, as the crate does it.
            parts.push(Part { range, id: Some(entry.id) });
        }
        if done < text.len() || parts.is_empty() {
            parts.push(Part { range: done..text.len(), id: None });
        }
        parts
    }
}
