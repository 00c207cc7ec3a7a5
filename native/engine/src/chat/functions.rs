//! The functions of a chat template's environment, and Python's two ways to format a string.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    arguments::{Bound, Given},
    render::Renderer,
    strings::filled,
    text::{Builder, Text},
    value::{Outcome, Value},
};
use std::{cell::Cell, rc::Rc};

pub(super) const NAMES: [&str; 7] =
    ["range", "dict", "namespace", "raise_exception", "strftime_now", "cycler", "joiner"];

/// The sandbox's own limit.
const MAX_RANGE: i64 = 100_000;

pub(super) fn call<'t>(renderer: &mut Renderer<'t>, name: &str, given: Given<'t>) -> Outcome<Value<'t>> {
    let mut given = given.of(name);
    let value = match name {
        "range" => range(&mut given)?,
        "dict" | "namespace" => {
            let mut entries: Vec<(Value, Value)> = Vec::new();
            match given.optional("iterable") {
                None => {}
                Some(Value::Dict(dict)) => entries.extend(dict.entries.iter().cloned()),
                Some(pairs) => {
                    for pair in &pairs.items()?.items {
                        let pair = pair.items()?;
                        let [key, value] = pair.items.as_slice() else { return Err("expected pairs".into()) };
                        entries.push((key.clone(), value.clone()));
                    }
                }
            }
            entries.extend(given.take_named().into_iter().map(|(name, value)| (Value::own(name), value)));
            given.done()?;
            if name == "dict" {
                return Value::dict(entries);
            }
            let named: Outcome<Vec<(String, Value)>> =
                entries.into_iter().map(|(name, value)| Ok((name.to_text()?.as_str().to_owned(), value))).collect();
            return renderer.namespace(named?);
        }
        "raise_exception" => {
            let reason = given.required("message")?.to_text()?;
            return Err(reason.as_str().to_owned());
        }
        "strftime_now" => {
            let format = given.required("format")?.to_text()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
            Value::own(strftime(format.as_str(), now))
        }
        "cycler" => {
            let items = given.take_positional();
            if items.is_empty() {
                return Err("at least one item has to be provided".into());
            }
            Value::Cycler(Rc::new((Value::list(items)?, Cell::new(0))))
        }
        _ => {
            let separator = match given.optional("sep") {
                Some(separator) => separator.to_text()?,
                None => Text::own(", "),
            };
            Value::Joiner(Rc::new((separator, Cell::new(false))))
        }
    };
    given.done()?;
    Ok(value)
}

fn range<'t>(given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    let first = given.int("start")?.ok_or("range() wants an integer")?;
    let (start, stop) = match given.int("stop")? {
        Some(stop) => (first, stop),
        None => (0, first),
    };
    let step = given.int("step")?.unwrap_or(1);
    if step == 0 {
        return Err("range() arg 3 must not be zero".into());
    }
    let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
    if count > MAX_RANGE {
        return Err(format!("range too big: the maximum is {MAX_RANGE}"));
    }
    Value::list((0..count).map(|at| Value::Int(start + at * step)).collect())
}

/// The time, UTC, as C's strftime writes it.
fn strftime(format: &str, seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (mut year, mut day_of_year) = (1970, days);
    let length = |year: u64| {
        if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
    };
    while day_of_year >= length(year) {
        day_of_year -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut day = day_of_year;
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let name = |names: &[&'static str], at: u64| names.get(at as usize).copied().unwrap_or_default();
    let (weekday, month_name) = (name(&DAYS, (days + 4) % 7), name(&MONTHS, month));
    let (day, month) = (day + 1, month + 1);
    let half_day = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = characters.next();
        // glibc's "%-d" leaves out the zero.
        let padded = directive != Some('-');
        if !padded {
            directive = characters.next();
        }
        let two = |number: u64| if padded { format!("{number:02}") } else { number.to_string() };
        out += &match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('H') => two(hour),
            Some('I') => two(half_day),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('f') => "000000".into(),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('j') => format!("{:03}", day_of_year + 1),
            Some('A') => weekday.into(),
            Some('a') => weekday.get(..3).unwrap_or_default().into(),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name.get(..3).unwrap_or_default().into(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('D') => format!("{month:02}/{day:02}/{:02}", year % 100),
            Some('Z') | Some('z') => String::new(),
            Some('%') => "%".into(),
            Some(other) => format!("%{other}"),
            None => "%".into(),
        };
    }
    out
}

/// `format % values`
pub(super) fn printf(format: &Text, values: &[Value]) -> Outcome<Text> {
    let mut values = values.iter();
    let mut builder = Builder::default();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        let start = format.as_str().len() - rest.len();
        builder.push_part(format, start..start + at)?;
        rest = rest.get(at + 1..).unwrap_or_default();
        let flags = rest.len() - rest.trim_start_matches(['-', '+', '0', ' ', '#']).len();
        let (flags, after) = rest.split_at_checked(flags).unwrap_or(("", rest));
        let (width, after) = leading_number(after);
        let (precision, after) = match after.strip_prefix('.') {
            Some(after) => (Some(leading_number(after).0.unwrap_or(0)), leading_number(after).1),
            None => (None, after),
        };
        let kind = after.chars().next().ok_or("incomplete format")?;
        rest = after.get(kind.len_utf8()..).unwrap_or_default();
        if kind == '%' {
            builder.push_str("%")?;
            continue;
        }
        let value = values.next().ok_or("not enough arguments for format string")?;
        if flags.contains('#') {
            return Err("unsupported format flag '#'".into());
        }
        let sign = if flags.contains('+') { "+" } else { flags.matches(' ').next().unwrap_or_default() };
        let text = spelled(value, kind, precision, sign)?;
        let how = if flags.contains('-') {
            "ljust"
        } else if flags.contains('0') && kind != 's' {
            "zfill"
        } else {
            "rjust"
        };
        builder.push(&filled(&text, how, width.unwrap_or(0), ' ')?)?;
    }
    if values.next().is_some() {
        return Err("not all arguments converted during string formatting".into());
    }
    let start = format.as_str().len() - rest.len();
    builder.push_part(format, start..format.as_str().len())?;
    builder.build()
}

fn leading_number(text: &str) -> (Option<usize>, &str) {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, rest) = text.split_at_checked(digits).unwrap_or(("", text));
    (number.parse().ok(), rest)
}

/// A value as a format's letter has it; `sign` goes before a number that is not negative.
fn spelled(value: &Value, kind: char, precision: Option<usize>, sign: &str) -> Outcome<Text> {
    let number = || value.as_float().ok_or_else(|| format!("%{kind} wants a number, not {}", value.kind()));
    let digits = precision.unwrap_or(6).min(1000);
    let text = match kind {
        's' => {
            let text = value.to_text()?;
            let Some(most) = precision else { return Ok(text) };
            let end = text.as_str().char_indices().nth(most).map_or(text.as_str().len(), |(at, _)| at);
            return text.slice(0..end);
        }
        'r' => {
            let mut builder = Builder::default();
            value.represent(&mut builder)?;
            return builder.build();
        }
        'd' | 'i' | 'u' => match value {
            Value::Float(number) => format!("{:.0}", number.trunc()),
            _ => value.as_int().ok_or_else(|| format!("%d wants a number, not {}", value.kind()))?.to_string(),
        },
        'x' | 'X' | 'o' => {
            let number = value.as_int().ok_or_else(|| format!("%{kind} wants an integer, not {}", value.kind()))?;
            let (sign, size) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
            match kind {
                'x' => format!("{sign}{size:x}"),
                'X' => format!("{sign}{size:X}"),
                _ => format!("{sign}{size:o}"),
            }
        }
        'f' | 'F' => format!("{:.digits$}", number()?),
        'e' => {
            let text = format!("{:.digits$e}", number()?);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        other => return Err(format!("unsupported format character {other:?}")),
    };
    Ok(Text::own(if text.starts_with('-') { text } else { format!("{sign}{text}") }))
}

/// `text.format(...)`: `{}`, `{0}` and `{name}`, with `!r`, `!s`, alignment and widths.
pub(super) fn brace_format<'t>(
    format: &Text,
    positional: &[Value<'t>],
    named: &[(String, Value<'t>)],
) -> Outcome<Text> {
    let mut builder = Builder::default();
    let mut automatic = 0;
    let mut characters = format.as_str().char_indices().peekable();
    let mut marks = format.marks();
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => {
                builder.push_char(character, marks.contains(at))?;
            }
            '}' => return Err("Single '}' encountered in format string".into()),
            '{' => {
                let field: String = characters.by_ref().map(|(_, next)| next).take_while(|next| *next != '}').collect();
                let (field, spec) = field.split_once(':').unwrap_or((&field, ""));
                let (field, conversion) = field.split_once('!').unwrap_or((field, ""));
                let value = if field.is_empty() {
                    automatic += 1;
                    positional.get(automatic - 1)
                } else if let Ok(at) = field.parse::<usize>() {
                    positional.get(at)
                } else {
                    named.iter().find(|(name, _)| name == field).map(|(_, value)| value)
                };
                let value = value.ok_or_else(|| format!("no value for the field {field:?} of a format string"))?;
                builder.push(&formatted(value, conversion, spec)?)?;
            }
            _ => builder.push_char(character, marks.contains(at))?,
        }
    }
    builder.build()
}

fn formatted(value: &Value, conversion: &str, spec: &str) -> Outcome<Text> {
    let aligned = spec.find(['<', '>', '^']).filter(|at| spec.get(..*at).is_some_and(|fill| fill.chars().count() <= 1));
    let (fill, align, rest) = match aligned {
        Some(at) => {
            let fill = spec.get(..at).and_then(|fill| fill.chars().next()).unwrap_or(' ');
            (fill, spec.get(at..at + 1), spec.get(at + 1..).unwrap_or_default())
        }
        None => (' ', None, spec),
    };
    let zeroed = align.is_none() && rest.starts_with('0');
    let (width, rest) = leading_number(rest);
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(rest) => (leading_number(rest).0, leading_number(rest).1),
        None => (None, rest),
    };
    let is_number = value.as_float().is_some() && conversion.is_empty();
    let kind = match (rest.chars().next(), conversion) {
        (_, "r") => 'r',
        (Some(kind), _) => kind,
        (None, _) => 's',
    };
    // A format makes a number of a truth value.
    let value = match value {
        Value::Bool(truth) if !spec.is_empty() && conversion.is_empty() => &Value::Int(i64::from(*truth)),
        other => other,
    };
    let text = spelled(value, kind, precision, "")?;
    let how = match align {
        Some("<") => "ljust",
        Some("^") => "^",
        Some(_) => "rjust",
        None if zeroed && is_number => "zfill",
        None if is_number => "rjust",
        None => "ljust",
    };
    filled(&text, how, width.unwrap_or(0), fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_c_does() {
        // 2024-02-29 13:05:09 UTC, a Thursday.
        let leap_day = 1_709_211_909;
        let format = "%d %b %Y|%A, %B %-d|%Y-%m-%d %H:%M:%S|%I %p|%j|%%";
        assert_eq!(strftime(format, leap_day), "29 Feb 2024|Thursday, February 29|2024-02-29 13:05:09|01 PM|060|%");
        assert_eq!(strftime("%a %d %b %Y", 0), "Thu 01 Jan 1970");
        assert_eq!(strftime("%F", 4_102_444_799), "2099-12-31");
    }
}
