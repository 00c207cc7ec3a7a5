//! A generation's tokens to text pieces, as they come.
//!
//! Each id goes through the tokenizer's decoder stages, which give out what later tokens cannot change; then
//! through the stop strings, which hold back what may be the start of one. The surprise: the stop that is complete
//! first wins (of two that end together the longer), so the result does not depend on how text falls into tokens. A
//! special token has no text, but is a stop where one is spelled like it.

use std::{mem, sync::Arc};

use super::{Piece, Tokenizer, decoder::Running};
use crate::error::{Error, Result};

/// One generation's detokenizer. All pieces together are `decode(ids, skip_special = true)`, cut before a stop.
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    running: Running,
    stops: Stops,
}

/// What one more token adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Text that is certain now: whole characters, and no part of a stop string.
    pub text: String,
    /// The stop string that this token completed; the generation is over.
    pub stopped: Option<String>,
}

impl TextStream {
    /// A stream for one generation. An empty stop string is an `InvalidOption`.
    pub fn new(tokenizer: Arc<Tokenizer>, stops: Vec<String>) -> Result<Self> {
        let running = tokenizer.plan.start();
        Ok(TextStream { stops: Stops::new(stops)?, running, tokenizer })
    }

    /// Takes one generated token. After a stop was found, nothing more comes out.
    pub fn push(&mut self, id: u32) -> Result<Pushed> {
        if self.stops.found.is_some() {
            return Ok(Pushed::default());
        }
        let text = match self.tokenizer.piece(id) {
            Some(Piece::Plain(token)) => {
                let text = self.running.push(&token)?;
                self.stops.take(&text)
            }
            Some(Piece::Special(token)) if self.stops.patterns.iter().any(|stop| stop.text == token) => {
                let text = self.finish()?;
                self.stops.found.get_or_insert(token);
                text
            }
            Some(Piece::Special(_)) | None => String::new(),
        };
        Ok(Pushed { text, stopped: self.stops.found.clone() })
    }

    /// What was held back; a character that never became whole ends as U+FFFD. This text, too, may complete a
    /// stop: see `stopped`.
    pub fn finish(&mut self) -> Result<String> {
        if self.stops.found.is_some() {
            return Ok(String::new());
        }
        let text = self.running.finish()?;
        let mut text = self.stops.take(&text);
        text.push_str(&self.stops.rest());
        Ok(text)
    }

    /// The stop string that ended this text.
    pub fn stopped(&self) -> Option<&str> {
        self.stops.found.as_deref()
    }
}

/// Finds the first of several strings in a text that comes in pieces.
struct Stops {
    patterns: Vec<Pattern>,
    /// Text that may be the start of a stop string.
    held: String,
    found: Option<String>,
}

/// A string with its failure table, after Knuth, Morris and Pratt, and how much of it the text ends with.
struct Pattern {
    text: String,
    /// For each number of bytes matched: the longest shorter match that ends there as well.
    fallback: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: String) -> Self {
        let bytes = text.as_bytes();
        let mut fallback = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            while matched > 0 && bytes.get(matched) != Some(byte) {
                matched = fallback.get(matched).copied().unwrap_or(0);
            }
            if bytes.get(matched) == Some(byte) {
                matched += 1;
            }
            if let Some(slot) = fallback.get_mut(at + 1) {
                *slot = matched;
            }
        }
        Pattern { text, fallback, matched: 0 }
    }

    /// Takes one more byte of the text; true when the pattern is complete with it.
    fn step(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallback.get(self.matched).copied().unwrap_or(0);
        }
        if bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == bytes.len()
    }
}

impl Stops {
    fn new(stops: Vec<String>) -> Result<Self> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::InvalidOption {
                option: "stop".into(),
                expected: "strings that are not empty".into(),
                found: "an empty one".into(),
            });
        }
        let patterns = stops.into_iter().map(Pattern::new).collect();
        Ok(Stops { patterns, held: String::new(), found: None })
    }

    fn take(&mut self, text: &str) -> String {
        if self.patterns.is_empty() {
            return text.to_owned();
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (at, byte) in text.bytes().enumerate() {
            let mut complete: Option<&Pattern> = None;
            for pattern in &mut self.patterns {
                if pattern.step(byte) && complete.is_none_or(|other| other.text.len() < pattern.text.len()) {
                    complete = Some(pattern);
                }
            }
            if let Some(pattern) = complete {
                self.held.truncate(before + at + 1 - pattern.text.len());
                self.found = Some(pattern.text.clone());
                return mem::take(&mut self.held);
            }
        }
        let possible = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - possible);
        mem::replace(&mut self.held, rest)
    }

    fn rest(&mut self) -> String {
        mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, written naively: the first end of any stop, the longest of those that end there.
    fn cut(text: &str, stops: &[String]) -> (String, Option<String>) {
        for end in 1..=text.len() {
            let longest = stops
                .iter()
                .filter(|stop| text.as_bytes()[..end].ends_with(stop.as_bytes()))
                .max_by_key(|stop| stop.len());
            if let Some(stop) = longest {
                return (text[..end - stop.len()].to_owned(), Some(stop.clone()));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn stops_are_found_wherever_pieces_end() {
        let stop_lists = [
            vec!["aab"],
            vec!["ab", "aab"],
            vec!["abab", "ba"],
            vec!["\n\n", "é!"],
            vec!["aaaa", "b"],
            vec!["zz"],
            vec![],
        ];
        let texts = ["aaab", "abaabab", "aé!a", "a\n\n\nb", "aaabaaaa", "", "ababab", "xxéé!!"];
        for stops in stop_lists {
            let stops: Vec<String> = stops.into_iter().map(String::from).collect();
            for text in texts {
                let characters: Vec<char> = text.chars().collect();
                for width in 1..=characters.len().max(1) {
                    let mut finder = Stops::new(stops.clone()).unwrap();
                    let mut got = String::new();
                    for piece in characters.chunks(width) {
                        if finder.found.is_none() {
                            got += &finder.take(&piece.iter().collect::<String>());
                        }
                    }
                    if finder.found.is_none() {
                        got += &finder.rest();
                    }
                    assert_eq!((got, finder.found), cut(text, &stops), "{text:?} in {width}s, stops {stops:?}");
                }
            }
        }
    }

    #[test]
    fn an_empty_stop_is_refused() {
        let error = Stops::new(vec!["a".into(), String::new()]).err();
        assert!(matches!(error, Some(Error::InvalidOption { .. })));
    }
}
