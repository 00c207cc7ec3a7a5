//! What Python and Jinja do with strings, each operation as a function on `Text`.
//!
//! Methods and filters share these. Positions are bytes inside and characters outside. The surprise: every result is
//! cut from its source or built character by character, so the marks of content stay where they belong.

use std::ops::Range;

use super::{
    arguments::Bound,
    text::{Builder, Text},
    value::{Outcome, Value},
};

/// What `strip` and its kin leave: of white space, or of any of the characters.
pub(super) fn stripped(text: &Text, characters: Option<&str>, start: bool, end: bool) -> Outcome<Text> {
    let goes = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_space(character),
    };
    let whole = text.as_str();
    let from = if start { whole.len() - whole.trim_start_matches(goes).len() } else { 0 };
    let to = if end { whole.trim_end_matches(goes).len() } else { whole.len() };
    text.slice(from..to.max(from))
}

/// Python's white space: Unicode's and the four information separators.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

pub(super) fn all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

pub(super) fn split_at(text: &str, separator: &str, most: Option<usize>, from_end: bool) -> Vec<Range<usize>> {
    let most = most.unwrap_or(usize::MAX);
    let mut found: Vec<usize> = if from_end {
        text.rmatch_indices(separator).take(most).map(|(at, _)| at).collect()
    } else {
        text.match_indices(separator).take(most).map(|(at, _)| at).collect()
    };
    found.sort_unstable();
    let mut ranges = Vec::with_capacity(found.len() + 1);
    let mut start = 0;
    for at in found {
        ranges.push(start..at);
        start = at + separator.len();
    }
    ranges.push(start..text.len());
    ranges
}

pub(super) fn split_space(text: &str, most: Option<usize>, from_end: bool) -> Vec<Range<usize>> {
    let most = most.unwrap_or(usize::MAX);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (is_space(character), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                ranges.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    if ranges.len() > most {
        // What is not split keeps all of its white space.
        if from_end {
            let kept = ranges.len() - most;
            let end = ranges.get(kept - 1).map_or(0, |range| range.end);
            ranges.drain(..kept);
            ranges.insert(0, 0..end);
        } else {
            let start = ranges.get(most).map_or(0, |range| range.start);
            ranges.truncate(most);
            ranges.push(start..text.len());
        }
    }
    ranges
}

pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let mut end = at + character.len_utf8();
        if character == '\r' && characters.next_if(|(_, next)| *next == '\n').is_some() {
            end += 1;
        }
        if matches!(
            character,
            '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        ) {
            ranges.push(start..if keeps_ends { end } else { at });
            start = end;
        }
    }
    if start < text.len() {
        ranges.push(start..text.len());
    }
    ranges
}

pub(super) fn replaced(text: &Text, old: &str, new: &Text, most: Option<usize>) -> Outcome<Text> {
    let mut builder = Builder::default();
    let mut start = 0;
    for (at, found) in text.as_str().match_indices(old).take(most.unwrap_or(usize::MAX)) {
        builder.push_part(text, start..at)?;
        builder.push(new)?;
        start = at + found.len();
    }
    builder.push_part(text, start..text.as_str().len())?;
    builder.build()
}

pub(super) fn capitalized(text: &Text) -> Outcome<Text> {
    let mut first = true;
    text.map_chars(|character| {
        let changed: Vec<char> = if std::mem::take(&mut first) {
            character.to_uppercase().collect()
        } else {
            character.to_lowercase().collect()
        };
        changed.into_iter()
    })
}

/// Upper case where `starts` says so of the character before, lower case elsewhere.
pub(super) fn titled(text: &Text, starts: impl Fn(Option<char>) -> bool) -> Outcome<Text> {
    let mut before = None;
    text.map_chars(|character| {
        let changed: Vec<char> =
            if starts(before) { character.to_uppercase().collect() } else { character.to_lowercase().collect() };
        before = Some(character);
        changed.into_iter()
    })
}

pub(super) fn found<'t>(
    whole: &str,
    name: &str,
    wanted: &str,
    start: Option<i64>,
    end: Option<i64>,
) -> Outcome<Value<'t>> {
    let length = whole.chars().count();
    let at = |given: Option<i64>, otherwise: usize| match given {
        None => otherwise,
        Some(at) if at < 0 => usize::try_from(at.saturating_add(length as i64)).unwrap_or(0),
        Some(at) => usize::try_from(at).unwrap_or(length),
    };
    let byte = |at: usize| whole.char_indices().nth(at).map_or(whole.len(), |(byte, _)| byte);
    let (first, last) = (at(start, 0), at(end, length).min(length));
    let part = if first <= last { whole.get(byte(first)..byte(last)) } else { None };
    if name == "count" {
        return Ok(Value::Int(part.map_or(0, |part| part.matches(wanted).count()) as i64));
    }
    let position = part.and_then(|part| {
        let byte = if name.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) }?;
        Some(first + part.get(..byte)?.chars().count())
    });
    match position {
        Some(position) => Ok(Value::Int(position as i64)),
        None if name.ends_with("index") => Err("substring not found".into()),
        None => Ok(Value::Int(-1)),
    }
}

pub(super) fn filled(text: &Text, how: &str, width: usize, fill: char) -> Outcome<Text> {
    let length = text.as_str().chars().count();
    let missing = width.saturating_sub(length);
    let (left, fill) = match how {
        "ljust" => (0, fill),
        "rjust" => (missing, fill),
        "zfill" => (missing, '0'),
        // Of str.format.
        "^" => (missing / 2, fill),
        // Python puts the odd one on the left when the width is odd.
        _ => (missing / 2 + (missing & width & 1), fill),
    };
    let mut builder = Builder::default();
    let sign = usize::from(how == "zfill" && text.as_str().starts_with(['-', '+']));
    builder.push_part(text, 0..sign)?;
    for _ in 0..left {
        builder.push_char(fill, false)?;
    }
    builder.push_part(text, sign..text.as_str().len())?;
    for _ in left..missing {
        builder.push_char(fill, false)?;
    }
    builder.build()
}

pub(super) fn escaped(text: &Text) -> Outcome<Text> {
    text.map_chars(|character| {
        let escaped = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&#34;",
            '\'' => "&#39;",
            other => return other.to_string().chars().collect::<Vec<char>>().into_iter(),
        };
        escaped.chars().collect::<Vec<char>>().into_iter()
    })
}

pub(super) fn indented<'t>(text: &Text, given: &mut Bound<'t, '_>) -> Outcome<Text> {
    let indent = match given.optional("width") {
        None => Text::own("    "),
        Some(Value::Text(indent)) => indent,
        Some(width) => {
            let width = width.as_int().ok_or("indent() wants a width")?;
            Text::own(" ".repeat(usize::try_from(width).unwrap_or(0).min(1 << 16)))
        }
    };
    let (first, blank) = (given.flag("first"), given.flag("blank"));
    let mut builder = Builder::default();
    if first {
        builder.push(&indent)?;
    }
    // The text is taken with one line end more, so that one at its end begins another, empty line.
    let mut ranges = lines(text.as_str(), false);
    let ends_line = text.as_str().ends_with(['\n', '\r', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}']);
    if ends_line || text.as_str().is_empty() {
        ranges.push(text.as_str().len()..text.as_str().len());
    }
    for (at, range) in ranges.into_iter().enumerate() {
        if at > 0 {
            builder.push_str("\n")?;
            if blank || !range.is_empty() {
                builder.push(&indent)?;
            }
        }
        builder.push_part(text, range)?;
    }
    builder.build()
}

pub(super) fn truncated<'t>(text: &Text, given: &mut Bound<'t, '_>) -> Outcome<Text> {
    let length = usize::try_from(given.int("length")?.unwrap_or(255)).unwrap_or(0);
    let cuts_words = given.flag("killwords");
    let end = match given.optional("end") {
        Some(end) => end.to_text()?,
        None => Text::own("..."),
    };
    let leeway = usize::try_from(given.int("leeway")?.unwrap_or(5)).unwrap_or(0);
    let whole = text.as_str();
    if whole.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.clone());
    }
    let kept = length.checked_sub(end.as_str().chars().count()).ok_or("truncate() wants a longer length")?;
    let mut cut = whole.char_indices().nth(kept).map_or(whole.len(), |(at, _)| at);
    if !cuts_words {
        cut = whole.get(..cut).and_then(|kept| kept.rfind(' ')).unwrap_or(cut);
    }
    let mut builder = Builder::default();
    builder.push_part(text, 0..cut)?;
    builder.push(&end)?;
    builder.build()
}
