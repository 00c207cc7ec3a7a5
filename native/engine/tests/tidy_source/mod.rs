//! Sources as the rules read them: code and comments apart, each character still in its line.
//!
//! `Source::read` gives two texts as long as the file: in `code` the comments and the insides of strings are blanks,
//! in `comments` all else is. Rust, Gleam and Erlang differ in what begins a comment. The surprise: the lexer knows no
//! grammar, only what may hide a quote or a brace.

use std::{fs, path::Path};

#[derive(Clone, Copy, PartialEq)]
pub enum Language {
    Rust,
    Gleam,
    Erlang,
}

/// One file; `path` is relative to the repository and has forward slashes.
pub struct Source {
    pub path: String,
    pub language: Language,
    pub text: String,
    pub code: String,
    pub comments: String,
}

impl Source {
    /// None for a file of another kind.
    pub fn read(root: &Path, path: &str) -> Option<Source> {
        let language = match path.rsplit_once('.')?.1 {
            "rs" => Language::Rust,
            "gleam" => Language::Gleam,
            "erl" => Language::Erlang,
            _ => return None,
        };
        let text = fs::read_to_string(root.join(path)).unwrap();
        Some(Source::new(path, language, text))
    }

    pub fn new(path: &str, language: Language, text: String) -> Source {
        let (code, comments) = split(&text, language);
        Source { path: path.into(), language, text, code, comments }
    }

    /// Rust code without what `#[cfg(test)]` stands before.
    pub fn code_outside_tests(&self) -> String {
        let mut code: Vec<char> = self.code.chars().collect();
        let marker: Vec<char> = "#[cfg(test)]".chars().collect();
        let mut at = 0;
        while at + marker.len() <= code.len() {
            if code[at..at + marker.len()] != marker[..] {
                at += 1;
                continue;
            }
            // Up to the item's semicolon or closing brace, whichever comes first.
            let mut depth = 0;
            while at < code.len() {
                let found = code[at];
                depth += i32::from(found == '{') - i32::from(found == '}');
                if found != '\n' {
                    code[at] = ' ';
                }
                at += 1;
                if depth == 0 && (found == ';' || found == '}') {
                    break;
                }
            }
        }
        code.into_iter().collect()
    }
}

/// The line, counted from 1, of a byte position.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Byte positions of a word, where it is one by itself: `cpu` is not in `cpus`.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |found: Option<char>| found.is_some_and(|found| found.is_alphanumeric() || found == '_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !joins(code[..*at].chars().next_back()) && !joins(code[at + word.len()..].chars().next()))
}

fn split(text: &str, language: Language) -> (String, String) {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let (length, comment) = match language {
            Language::Rust => rust_token(rest),
            Language::Gleam => gleam_token(rest),
            Language::Erlang => erlang_token(rest),
        };
        // Of a string the quotes stay, so that two tokens do not become one.
        let string = !comment && length > 1;
        for (i, found) in rest[..length].iter().enumerate() {
            let edge = string && (i == 0 || i + 1 == length);
            let (plain, blank) = (found.to_string(), " ".repeat(found.len_utf8()));
            let newline = *found == '\n';
            code.push_str(if newline || (!comment && (!string || edge)) { &plain } else { &blank });
            comments.push_str(if newline || comment { &plain } else { &blank });
        }
        at += length;
    }
    (code, comments)
}

fn until_line_end(rest: &[char]) -> usize {
    rest.iter().position(|found| *found == '\n').unwrap_or(rest.len())
}

/// The length of a string with backslash escapes, from its quote on.
fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != rest[0] {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// How long the comment, the string or the plain character at the beginning is, and whether it is a comment.
fn rust_token(rest: &[char]) -> (usize, bool) {
    match rest {
        ['/', '/', ..] => (until_line_end(rest), true),
        ['/', '*', ..] => (block_comment(rest), true),
        ['"', ..] => (quoted(rest), false),
        ['r', '"' | '#', ..] => (raw_string(rest), false),
        ['\'', '\\', ..] => (quoted(rest), false),
        ['\'', _, '\'', ..] => (3, false),
        _ => (1, false),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"…"`, `r#"…"#` and so on; 1 when it is only a letter, or a raw name.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|found| **found == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 1;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    (2 + hashes + length + end.len()).min(rest.len())
}

fn gleam_token(rest: &[char]) -> (usize, bool) {
    match rest {
        ['/', '/', ..] => (until_line_end(rest), true),
        ['"', ..] => (quoted(rest), false),
        _ => (1, false),
    }
}

fn erlang_token(rest: &[char]) -> (usize, bool) {
    match rest {
        ['%', ..] => (until_line_end(rest), true),
        ['"' | '\'', ..] => (quoted(rest), false),
        // A character: $" is no quote.
        ['$', '\\', _, ..] => (3, false),
        ['$', _, ..] => (2, false),
        _ => (1, false),
    }
}
