//! `tojson` as transformers has it: Python's json.dumps, with no HTML escaped.

use super::{
    meter::spend,
    text::{Builder, Text},
    value::{Outcome, Value, float_text},
};

/// How json.dumps is asked to write.
pub(super) struct Style {
    pub ascii: bool,
    pub indent: Option<String>,
    pub separators: (String, String),
    pub sorted: bool,
}

pub(super) fn dump(value: &Value, style: &Style) -> Outcome<Text> {
    let mut builder = Builder::default();
    write(value, style, 0, &mut builder)?;
    builder.build()
}

fn line(style: &Style, level: usize, out: &mut Builder) -> Outcome<()> {
    if let Some(indent) = &style.indent {
        out.push_str("\n")?;
        for _ in 0..level {
            out.push_str(indent)?;
        }
    }
    Ok(())
}

fn write(value: &Value, style: &Style, level: usize, out: &mut Builder) -> Outcome<()> {
    spend(1)?;
    let (comma, colon) = (style.separators.0.as_str(), style.separators.1.as_str());
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float_json(*number)),
        Value::Text(text) => string(text, style.ascii, out),
        Value::List(list) | Value::Tuple(list) => {
            out.push_str("[")?;
            for (at, item) in list.items.iter().enumerate() {
                out.push_str(if at > 0 { comma } else { "" })?;
                line(style, level + 1, out)?;
                write(item, style, level + 1, out)?;
            }
            if !list.items.is_empty() {
                line(style, level, out)?;
            }
            out.push_str("]")
        }
        Value::Dict(dict) => {
            let mut entries: Vec<(Text, &Value)> = Vec::with_capacity(dict.entries.len());
            for (key, value) in &dict.entries {
                entries.push((json_key(key)?, value));
            }
            if style.sorted {
                entries.sort_by(|(one, _), (two, _)| one.as_str().cmp(two.as_str()));
            }
            out.push_str("{")?;
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { comma } else { "" })?;
                line(style, level + 1, out)?;
                string(key, style.ascii, out)?;
                out.push_str(colon)?;
                write(value, style, level + 1, out)?;
            }
            if !entries.is_empty() {
                line(style, level, out)?;
            }
            out.push_str("}")
        }
        other => Err(format!("Object of type {} is not JSON serializable", other.kind())),
    }
}

fn float_json(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number => float_text(number),
    }
}

fn json_key(key: &Value) -> Outcome<Text> {
    Ok(match key {
        Value::Text(text) => text.clone(),
        Value::None => Text::own("null"),
        Value::Bool(truth) => Text::own(if *truth { "true" } else { "false" }),
        Value::Int(number) => Text::own(number.to_string()),
        Value::Float(number) => Text::own(float_json(*number)),
        other => return Err(format!("keys must be str, int, float, bool or None, not {}", other.kind())),
    })
}

fn string(text: &Text, ascii: bool, out: &mut Builder) -> Outcome<()> {
    out.push_str("\"")?;
    let mut marks = text.marks();
    for (at, character) in text.as_str().char_indices() {
        let content = marks.contains(at);
        let escaped = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{C}' => "\\f",
            '\u{0}'..='\u{1F}' => &format!("\\u{:04x}", u32::from(character)),
            _ if ascii && !character.is_ascii() => {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units).iter();
                &units.map(|unit| format!("\\u{unit:04x}")).collect::<String>()
            }
            _ => {
                out.push_char(character, content)?;
                continue;
            }
        };
        // What stands for a character of content is content itself.
        for character in escaped.chars() {
            out.push_char(character, content)?;
        }
    }
    out.push_str("\"")
}
