//! Strings that remember which of their characters came from a message.
//!
//! Whatever a template does to a message's content (trim, cut, join, lower, index), each character keeps the mark
//! that it is content, so the finished prompt says exactly which parts the template itself wrote. Every string is
//! made by a `Builder`, which also keeps strings and the memory of all of them within bounds. The surprise: marks
//! take no part in comparisons: two strings of the same characters are equal.

use std::{ops::Range, rc::Rc};

use super::meter::{Held, spend_bytes};

/// One string may not be longer.
pub(super) const MAX_TEXT_BYTES: usize = 16 << 20;

#[derive(Debug, Clone)]
pub(super) struct Text(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    text: String,
    /// Byte ranges that are content: ascending, apart, on character borders.
    content: Vec<Range<usize>>,
    _held: Option<Held>,
}

impl Text {
    /// A string of the template's own; it is as long as something that is already there.
    pub fn own(text: impl Into<String>) -> Self {
        Text(Rc::new(Inner { text: text.into(), content: Vec::new(), _held: None }))
    }

    /// A string that is content from end to end.
    pub fn content(text: &str) -> Self {
        let content = Some(0..text.len()).filter(|range| !range.is_empty()).into_iter().collect();
        Text(Rc::new(Inner { text: text.to_owned(), content, _held: None }))
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    pub fn content_ranges(&self) -> &[Range<usize>] {
        &self.0.content
    }

    /// A stretch of this string, in bytes; an impossible one is empty.
    pub fn slice(&self, range: Range<usize>) -> Result<Text, String> {
        if range.start == 0 && range.end == self.as_str().len() {
            return Ok(self.clone());
        }
        let mut builder = Builder::default();
        builder.push_part(self, range)?;
        builder.build()
    }

    /// Each character changed by itself.
    pub fn map_chars<I: Iterator<Item = char>>(&self, mut change: impl FnMut(char) -> I) -> Result<Text, String> {
        let mut builder = Builder::default();
        let mut marks = self.marks();
        for (at, character) in self.as_str().char_indices() {
            let foreign = marks.contains(at);
            for changed in change(character) {
                builder.push_char(changed, foreign)?;
            }
        }
        builder.build()
    }

    /// Asks, for ascending positions, whether each is content.
    pub fn marks(&self) -> Marks<'_> {
        Marks { ranges: &self.0.content }
    }

    /// The characters, each as a string.
    pub fn chars(&self) -> Result<Vec<Text>, String> {
        let ends = self.as_str().char_indices().map(|(at, character)| at..at + character.len_utf8());
        ends.map(|range| self.slice(range)).collect()
    }
}

pub(super) struct Marks<'t> {
    ranges: &'t [Range<usize>],
}

impl Marks<'_> {
    pub fn contains(&mut self, at: usize) -> bool {
        while let [first, rest @ ..] = self.ranges {
            if at < first.end {
                return first.start <= at;
            }
            self.ranges = rest;
        }
        false
    }
}

/// A string in the making.
#[derive(Debug, Default)]
pub(super) struct Builder {
    text: String,
    content: Vec<Range<usize>>,
}

impl Builder {
    fn room_for(&mut self, bytes: usize) -> Result<(), String> {
        if self.text.len().saturating_add(bytes) > MAX_TEXT_BYTES {
            return Err(format!("it makes a text of more than {MAX_TEXT_BYTES} bytes"));
        }
        Ok(())
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.content.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.content.push(range),
        }
    }

    /// Characters of the template's own.
    pub fn push_str(&mut self, text: &str) -> Result<(), String> {
        self.room_for(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub fn push_char(&mut self, character: char, content: bool) -> Result<(), String> {
        self.room_for(character.len_utf8())?;
        let start = self.text.len();
        self.text.push(character);
        if content {
            self.mark(start..self.text.len());
        }
        Ok(())
    }

    pub fn push(&mut self, text: &Text) -> Result<(), String> {
        self.push_part(text, 0..text.as_str().len())
    }

    pub fn push_part(&mut self, text: &Text, range: Range<usize>) -> Result<(), String> {
        let part = text.as_str().get(range.clone()).unwrap_or_default();
        self.room_for(part.len())?;
        let start = self.text.len();
        self.text.push_str(part);
        let ranges = text.content_ranges();
        let first = ranges.partition_point(|content| content.end <= range.start);
        for content in ranges.iter().skip(first).take_while(|content| content.start < range.end) {
            let from = content.start.max(range.start) - range.start;
            let to = content.end.min(range.end) - range.start;
            self.mark(start + from..start + to);
        }
        Ok(())
    }

    pub fn build(self) -> Result<Text, String> {
        spend_bytes(self.text.len())?;
        let held = Held::new(self.text.len() + self.content.len() * size_of::<Range<usize>>() + size_of::<Inner>())?;
        Ok(Text(Rc::new(Inner { text: self.text, content: self.content, _held: Some(held) })))
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::{super::meter::live_bytes, *};

    #[test]
    fn marks_follow_their_characters() {
        let mut builder = Builder::default();
        builder.push_str("<|").unwrap();
        builder.push(&Text::content("héllo")).unwrap();
        builder.push_str("|>").unwrap();
        let text = builder.build().unwrap();
        assert_eq!(text.content_ranges(), [2..8]);
        assert_eq!(text.slice(1..5).unwrap().content_ranges(), [1..4]);
        assert!(text.slice(0..2).unwrap().content_ranges().is_empty());
        let upper = text.map_chars(char::to_uppercase).unwrap();
        assert_eq!((upper.as_str(), upper.content_ranges()), ("<|HÉLLO|>", &[2..8][..]));
        let marked: Vec<bool> = text.chars().unwrap().iter().map(|text| !text.content_ranges().is_empty()).collect();
        assert_eq!(marked, [false, false, true, true, true, true, true, false, false]);
    }

    #[test]
    fn memory_is_given_back() {
        let before = live_bytes();
        let texts: Vec<Text> = (0..10).map(|_| Text::content("abc").slice(0..2).unwrap()).collect();
        assert!(live_bytes() > before);
        drop(texts);
        assert_eq!(live_bytes(), before);
    }
}
