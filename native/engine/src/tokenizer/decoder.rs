//! Tokens back to text, one at a time: the decoders of tokenizer.json as stages that keep their state.
//!
//! Token texts come in as events (some text, the end of a token), go through each stage, and come out as
//! text that no later token can change. The surprise: byte tokens of a SentencePiece vocabulary are held until
//! another token follows, because the reference decodes a whole run of them at once, as one string or as one
//! U+FFFD a byte.

use std::mem;

use serde_json::Value;
use tokenizers::{Decoder, DecoderWrapper};

use super::guarded;
use crate::error::{Error, Result};

/// What a tokenizer's decoder does, as a list of stages without state.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    stages: Vec<Kind>,
    clean_up: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    /// No decoder at all: token texts with a space between.
    Join,
    ByteLevel,
    ByteFallback,
    Fuse,
    /// Up to `count` of `content` at the start of each token.
    StripStart {
        content: char,
        count: usize,
    },
    /// `replacement` is a space, except in the first token when `drops_first`.
    Metaspace {
        replacement: char,
        drops_first: bool,
    },
    /// A decoder that looks at one token at a time.
    PerToken(DecoderWrapper),
    /// A decoder that has to see all tokens.
    Whole(DecoderWrapper),
}

impl Plan {
    pub fn new(decoder: Option<&DecoderWrapper>, clean_up: bool) -> Self {
        let mut stages = Vec::new();
        match decoder {
            None => stages.push(Kind::Join),
            Some(decoder) => add_stages(decoder, &mut stages),
        }
        Plan { stages, clean_up }
    }

    pub fn start(&self) -> Running {
        Running {
            stages: self.stages.iter().map(|kind| Stage { kind: kind.clone(), state: State::default() }).collect(),
            clean_up: self.clean_up.then(String::new),
        }
    }

    /// Ends a finished text as transformers' `clean_up_tokenization` does.
    pub fn clean_up(&self, text: String) -> String {
        if self.clean_up { clean_up(&text) } else { text }
    }
}

fn add_stages(decoder: &DecoderWrapper, stages: &mut Vec<Kind>) {
    let described = serde_json::to_value(decoder).unwrap_or(Value::Null);
    let text = |key: &str| described.get(key).and_then(Value::as_str);
    let char = |key: &str| text(key).and_then(|text| text.chars().next());
    let count = |key: &str| described.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
    stages.push(match text("type") {
        Some("Sequence") => {
            if let DecoderWrapper::Sequence(sequence) = decoder {
                for inner in sequence.get_decoders() {
                    add_stages(inner, stages);
                }
            }
            return;
        }
        Some("ByteLevel") => Kind::ByteLevel,
        Some("ByteFallback") => Kind::ByteFallback,
        Some("Fuse") => Kind::Fuse,
        Some("Strip") if count("stop") == 0 => {
            Kind::StripStart { content: char("content").unwrap_or(' '), count: count("start") }
        }
        Some("Strip" | "Replace") => Kind::PerToken(decoder.clone()),
        Some("Metaspace") => Kind::Metaspace {
            replacement: char("replacement").unwrap_or('▁'),
            drops_first: text("prepend_scheme") != Some("never"),
        },
        _ => Kind::Whole(decoder.clone()),
    });
}

enum Event {
    Text(String),
    /// The token whose text came before is complete.
    End,
}

/// One generation's decoding.
pub(super) struct Running {
    stages: Vec<Stage>,
    /// Text that `clean_up` may still change.
    clean_up: Option<String>,
}

struct Stage {
    kind: Kind,
    state: State,
}

#[derive(Default)]
struct State {
    /// The token that is coming in.
    token: String,
    /// Bytes that are no whole character yet, or a run of byte tokens.
    bytes: Vec<u8>,
    /// Tokens held for a decoder that wants them all.
    tokens: Vec<String>,
    /// Tokens that ended so far.
    ended: usize,
    /// Characters stripped from this token, or None once another character came.
    stripped: usize,
    past_start: bool,
}

impl Running {
    /// A token's text in; out comes what is certain now.
    pub fn push(&mut self, token: &str) -> Result<String> {
        let mut events = vec![Event::Text(token.to_owned()), Event::End];
        for stage in &mut self.stages {
            events = stage.take(events)?;
        }
        Ok(self.tidy(joined(events), false))
    }

    /// What was held back.
    pub fn finish(&mut self) -> Result<String> {
        let mut events = Vec::new();
        for stage in &mut self.stages {
            events = stage.take(events)?;
            stage.end(&mut events)?;
        }
        Ok(self.tidy(joined(events), true))
    }

    fn tidy(&mut self, text: String, finished: bool) -> String {
        let Some(held) = &mut self.clean_up else { return text };
        held.push_str(&text);
        // Every pattern of the clean-up starts with a space, and none has a letter before another space: text may
        // be cut before a space that follows a letter or digit without a pattern being cut.
        let border = if finished {
            held.len()
        } else {
            held.char_indices()
                .zip(held.chars().skip(1))
                .filter(|((_, before), after)| before.is_alphanumeric() && *after == ' ')
                .map(|((at, before), _)| at + before.len_utf8())
                .last()
                .unwrap_or(0)
        };
        let rest = held.split_off(border);
        clean_up(&mem::replace(held, rest))
    }
}

fn joined(events: Vec<Event>) -> String {
    let mut text = String::new();
    for event in events {
        if let Event::Text(piece) = event {
            text.push_str(&piece);
        }
    }
    text
}

/// transformers' `clean_up_tokenization`: spaces before English punctuation and contractions go.
fn clean_up(text: &str) -> String {
    text.replace(" .", ".")
        .replace(" ?", "?")
        .replace(" !", "!")
        .replace(" ,", ",")
        .replace(" ' ", "'")
        .replace(" n't", "n't")
        .replace(" 'm", "'m")
        .replace(" 's", "'s")
        .replace(" 've", "'ve")
        .replace(" 're", "'re")
}

impl Stage {
    fn take(&mut self, events: Vec<Event>) -> Result<Vec<Event>> {
        let mut out = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Text(text) => self.text(text, &mut out),
                Event::End => {
                    self.token_ended(&mut out)?;
                    self.state.ended += 1;
                }
            }
        }
        Ok(out)
    }

    fn text(&mut self, text: String, out: &mut Vec<Event>) {
        let state = &mut self.state;
        match &self.kind {
            Kind::Fuse => out.push(Event::Text(text)),
            Kind::Join if state.ended == 0 => out.push(Event::Text(text)),
            Kind::Join => out.push(Event::Text(format!(" {text}"))),
            Kind::StripStart { content, count } => {
                let mut rest = text.as_str();
                while !state.past_start && !rest.is_empty() {
                    match rest.strip_prefix(*content) {
                        Some(after) if state.stripped < *count => {
                            state.stripped += 1;
                            rest = after;
                        }
                        _ => state.past_start = true,
                    }
                }
                out.push(Event::Text(rest.to_owned()));
            }
            Kind::Metaspace { replacement, drops_first } => {
                let space = if *drops_first && state.ended == 0 { "" } else { " " };
                out.push(Event::Text(text.replace(*replacement, space)));
            }
            Kind::ByteLevel | Kind::ByteFallback | Kind::PerToken(_) | Kind::Whole(_) => state.token.push_str(&text),
        }
    }

    fn token_ended(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        let token = mem::take(&mut state.token);
        match &self.kind {
            Kind::Fuse => {}
            Kind::Join | Kind::Metaspace { .. } => out.push(Event::End),
            Kind::StripStart { .. } => {
                state.stripped = 0;
                state.past_start = false;
                out.push(Event::End);
            }
            Kind::ByteLevel => {
                push_bytes(&token, &mut state.bytes);
                out.push(Event::Text(take_whole_characters(&mut state.bytes)));
            }
            Kind::ByteFallback => match byte_of(&token) {
                Some(byte) => state.bytes.push(byte),
                None => {
                    end_byte_run(&mut state.bytes, out);
                    out.extend([Event::Text(token), Event::End]);
                }
            },
            Kind::PerToken(decoder) => {
                for text in guarded("decoder", || decoder.decode_chain(vec![token]))? {
                    out.extend([Event::Text(text), Event::End]);
                }
            }
            Kind::Whole(_) => state.tokens.push(token),
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        match &self.kind {
            Kind::Fuse => out.push(Event::End),
            Kind::ByteLevel => {
                let bytes = mem::take(&mut state.bytes);
                out.extend([Event::Text(String::from_utf8_lossy(&bytes).into_owned()), Event::End]);
            }
            Kind::ByteFallback => end_byte_run(&mut state.bytes, out),
            Kind::Whole(decoder) => {
                let tokens = mem::take(&mut state.tokens);
                for text in guarded("decoder", || decoder.decode_chain(tokens))? {
                    out.extend([Event::Text(text), Event::End]);
                }
            }
            Kind::Join | Kind::StripStart { .. } | Kind::Metaspace { .. } | Kind::PerToken(_) => {}
        }
        Ok(())
    }
}

/// The byte that a token such as `<0x0A>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn end_byte_run(bytes: &mut Vec<u8>, out: &mut Vec<Event>) {
    if bytes.is_empty() {
        return;
    }
    match String::from_utf8(mem::take(bytes)) {
        Ok(text) => out.extend([Event::Text(text), Event::End]),
        Err(error) => {
            for _ in error.as_bytes() {
                out.extend([Event::Text("\u{FFFD}".into()), Event::End]);
            }
        }
    }
}

/// The bytes that a byte-level token spells; a token with any other character stands for its own UTF-8.
fn push_bytes(token: &str, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    for character in token.chars() {
        match byte_spelled(character) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(before);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// GPT-2's alphabet read backwards: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on.
pub(super) fn byte_spelled(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Takes what is certain off the front; bytes that another byte may complete stay.
fn take_whole_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let at_end = taken + invalid.len() == bytes.len();
        if at_end && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) {
            break;
        }
        text.push('\u{FFFD}');
        taken += invalid.len();
    }
    bytes.drain(..taken);
    text
}

/// An error of the tokenizers crate, or a panic inside it, while it works on this tokenizer.
pub(super) fn failed(at: &str, found: impl ToString) -> Error {
    Error::malformed(format!("tokenizer, {at}"), "a tokenizer that can be applied", found.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn the_byte_alphabet_is_the_crates() {
        let alphabet = ByteLevel::alphabet();
        assert_eq!(alphabet.len(), 256);
        let mut seen: Vec<u8> = alphabet.iter().map(|character| byte_spelled(*character).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
        // What each spells is the crate's business too: decode each alone.
        for character in alphabet {
            let byte = byte_spelled(character).unwrap();
            let text = ByteLevel::default().decode_chain(vec![character.to_string()]).unwrap().concat();
            assert_eq!(text, String::from_utf8_lossy(&[byte]));
        }
    }

    #[test]
    fn text_cleaned_in_pieces_is_text_cleaned() {
        let text = "He said ' hi ' , did n't he ? It 's fine . . ' ok ' 've ! a ' s b 'm  ' . ' . we 're";
        let whole = clean_up(text);
        for width in 1..9 {
            let mut running = Running { stages: Vec::new(), clean_up: Some(String::new()) };
            let mut got = String::new();
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(width) {
                got += &running.push(&piece.iter().collect::<String>()).unwrap();
            }
            got += &running.finish().unwrap();
            assert_eq!(got, whole);
        }
    }
}
