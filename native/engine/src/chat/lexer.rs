//! A template's source to text and tokens, with Jinja's rules for white space.
//!
//! Text runs up to the next tag; what a tag strips from the text before and after it is decided here: `-` strips
//! all white space, a block tag alone on its line takes its line with it (trim_blocks and lstrip_blocks, which
//! chat templates are written for), `+` keeps it. The surprise: line ends of any kind become "\n" first, and one at
//! the very end is dropped.

use std::iter::Peekable;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Text(String),
    PrintStart,
    PrintEnd,
    BlockStart,
    BlockEnd,
    Name(String),
    String(String),
    Int(i64),
    Float(f64),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 25] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",",
];

/// Tokens, each with the line it is on.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, usize)>, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { rest: source, line: 1, at_line_start: true, tokens: Vec::new() };
    lexer.run().map_err(|reason| format!("line {}: {reason}", lexer.line))?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    /// What was taken last ended a line, or nothing was taken yet.
    at_line_start: bool,
    tokens: Vec<(Token, usize)>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), String> {
        loop {
            let starts = ["{{", "{%", "{#"];
            let found = self.rest.match_indices('{').find(|(at, _)| {
                self.rest.get(*at..).is_some_and(|rest| starts.iter().any(|start| rest.starts_with(start)))
            });
            let Some((at, _)) = found else {
                let rest = self.take(self.rest.len());
                self.text(rest);
                return Ok(());
            };
            let at_line_start = self.at_line_start;
            let text = self.take(at);
            let start = self.take(2);
            let sign = self.take(usize::from(self.rest.starts_with(['-', '+'])));
            let keeps_line = sign == "+" || start == "{{";
            let kept = if sign == "-" {
                text.trim_end()
            } else if keeps_line {
                text
            } else {
                without_indent(text, at_line_start)
            };
            self.text(kept);
            match start {
                "{#" => self.comment()?,
                "{{" => {
                    self.push(Token::PrintStart);
                    self.tag("}}")?;
                    self.push(Token::PrintEnd);
                }
                _ if self.raw()? => {}
                _ => {
                    self.push(Token::BlockStart);
                    self.tag("%}")?;
                    self.push(Token::BlockEnd);
                }
            }
        }
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Text(text.to_owned()));
        }
    }

    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += taken.matches('\n').count();
        if !taken.is_empty() {
            self.at_line_start = taken.ends_with('\n');
        }
        taken
    }

    fn take_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start().len();
        self.take(space);
    }

    /// Takes the end of a tag, and the white space that goes with it.
    fn take_end(&mut self, end: &str) -> bool {
        let (sign, rest) = match self.rest.strip_prefix(['-', '+']) {
            Some(rest) if rest.starts_with(end) && !(self.rest.starts_with('+') && end == "}}") => {
                (self.rest.get(..1).unwrap_or_default(), rest)
            }
            _ => ("", self.rest),
        };
        if !rest.starts_with(end) {
            return false;
        }
        let newline = usize::from(sign.is_empty() && end != "}}" && rest[end.len()..].starts_with('\n'));
        self.take(sign.len() + end.len() + newline);
        if sign == "-" {
            self.take_space();
        }
        true
    }

    fn comment(&mut self) -> Result<(), String> {
        let at = self.rest.find("#}").ok_or("a comment is not closed")?;
        let signed = self.rest.get(..at).is_some_and(|comment| comment.ends_with(['-', '+']));
        self.take(at - usize::from(signed));
        self.take_end("#}");
        Ok(())
    }

    /// Takes a raw block whose start tag has begun, if it is one.
    fn raw(&mut self) -> Result<bool, String> {
        let Some(after) = self.rest.trim_start().strip_prefix("raw") else { return Ok(false) };
        let after = after.trim_start();
        if !(after.starts_with("%}") || after.starts_with("-%}")) {
            return Ok(false);
        }
        self.take(self.rest.len() - after.len());
        // A raw block's first line end is its own.
        let strips = after.starts_with('-');
        self.take(2 + usize::from(strips));
        if strips {
            self.take_space();
        }
        let mut from = 0;
        loop {
            if self.rest.is_empty() {
                return Ok(true);
            }
            let found = self.rest.get(from..).and_then(|rest| rest.find("{%")).ok_or("a raw block is not closed")?;
            let at = from + found;
            let tag = self.rest.get(at + 2..).unwrap_or_default();
            let sign = tag.get(..1).filter(|sign| ["-", "+"].contains(sign)).unwrap_or_default();
            let end =
                tag.get(sign.len()..).unwrap_or_default().trim_start().strip_prefix("endraw").map(str::trim_start);
            match end {
                Some(end) if ["%}", "-%}", "+%}"].iter().any(|close| end.starts_with(close)) => {
                    let at_line_start = self.at_line_start;
                    let text = self.take(at);
                    let kept = match sign {
                        "-" => text.trim_end(),
                        "+" => text,
                        _ => without_indent(text, at_line_start),
                    };
                    self.text(kept);
                    self.take(self.rest.len() - end.len());
                    self.take_end("%}");
                    return Ok(true);
                }
                _ => from = at + 2,
            }
        }
    }

    /// The tokens of a tag up to its end. Inside brackets, what looks like the end is not.
    fn tag(&mut self, end: &str) -> Result<(), String> {
        let mut open = Vec::new();
        loop {
            self.take_space();
            if open.is_empty() && self.take_end(end) {
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else { return Err("a tag is not closed".into()) };
            if first.is_alphabetic() || first == '_' {
                let name = self.rest.find(|character: char| !(character.is_alphanumeric() || character == '_'));
                let name = self.take(name.unwrap_or(self.rest.len()));
                self.push(Token::Name(name.to_owned()));
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first == '"' || first == '\'' {
                self.string(first)?;
            } else if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| self.rest.starts_with(symbol)) {
                match symbol {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(symbol) => return Err(format!("unexpected {symbol:?}")),
                    _ => {}
                }
                self.take(symbol.len());
                self.push(Token::Symbol(symbol));
            } else {
                return Err(format!("unexpected {first:?}"));
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest;
        let digits = |text: &str, radix: u32| {
            text.find(|character: char| !(character.is_digit(radix) || character == '_')).unwrap_or(text.len())
        };
        for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
            if let Some(after) = rest.strip_prefix(prefix) {
                let literal = self.take(2 + digits(after, radix));
                let value = i64::from_str_radix(&literal.get(2..).unwrap_or_default().replace('_', ""), radix);
                self.push(Token::Int(value.map_err(|_| format!("{literal} is no number"))?));
                return Ok(());
            }
        }
        let whole = digits(rest, 10);
        let mut end = whole;
        let after = rest.get(end..).unwrap_or_default();
        if let Some(fraction) = after.strip_prefix('.')
            && fraction.starts_with(|character: char| character.is_ascii_digit())
        {
            end += 1 + digits(fraction, 10);
        }
        let after = rest.get(end..).unwrap_or_default();
        if let Some(exponent) = after.strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if unsigned.starts_with(|character: char| character.is_ascii_digit()) {
                end += 1 + (exponent.len() - unsigned.len()) + digits(unsigned, 10);
            }
        }
        let literal = self.take(end).replace('_', "");
        let token = if end == whole {
            Token::Int(literal.parse().map_err(|_| format!("{literal} is too large"))?)
        } else {
            Token::Float(literal.parse().map_err(|_| format!("{literal} is no number"))?)
        };
        self.push(token);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        loop {
            match characters.next() {
                None => return Err("a string is not closed".into()),
                Some((at, character)) if character == quote => {
                    self.take(at + 1);
                    self.push(Token::String(value));
                    return Ok(());
                }
                Some((_, '\\')) => escape(&mut characters, &mut value)?,
                Some((_, character)) => value.push(character),
            }
        }
    }
}

/// Text before a block tag, less the indent of the tag's line when nothing else is on it.
fn without_indent(text: &str, at_line_start: bool) -> &str {
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let blank = text.get(line..).is_some_and(|indent| indent.chars().all(char::is_whitespace));
    if blank && (line > 0 || at_line_start) { text.get(..line).unwrap_or(text) } else { text }
}

/// What follows a backslash in a string, as in Python.
fn escape(characters: &mut Peekable<impl Iterator<Item = (usize, char)>>, value: &mut String) -> Result<(), String> {
    let Some((_, character)) = characters.next() else { return Ok(()) };
    let mut code = |first: Option<u32>, digits: usize, radix: u32| {
        let mut code = first.unwrap_or(0);
        for _ in 0..digits {
            match characters.peek().and_then(|(_, character)| character.to_digit(radix)) {
                Some(digit) => code = code * radix + digit,
                // Octal takes as many digits as there are, the others want all of theirs.
                None if radix == 8 => break,
                None => return Err("a string has an escape that is cut short".to_owned()),
            }
            characters.next();
        }
        char::from_u32(code).ok_or_else(|| "a string has an escape that is no character".to_owned())
    };
    let escaped = match character {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{C}',
        'v' => '\u{B}',
        '\\' | '\'' | '"' => character,
        '\n' => return Ok(()),
        'x' => code(None, 2, 16)?,
        'u' => code(None, 4, 16)?,
        'U' => code(None, 8, 16)?,
        '0'..='7' => code(character.to_digit(8), 2, 8)?,
        other => {
            value.push('\\');
            other
        }
    };
    value.push(escaped);
    Ok(())
}
