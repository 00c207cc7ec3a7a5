//! Jinja's filters, as far as they make sense without HTML.
//!
//! One function a group: on strings, on lists, on anything. Filters that take the name of a filter or test (map,
//! select and their kin) come back through `apply` and `predicates::holds`. The surprise: `safe` and `escape` do
//! what they do with autoescape off: nothing, and escaping once.

use std::{cmp::Ordering, rc::Rc};

use super::{
    arguments::{Bound, Given},
    functions,
    json::{Style, dump},
    meter::{spend, spend_bytes},
    methods::{attribute, dict_items, is_among, item},
    predicates::holds,
    render::Renderer,
    strings::{capitalized, escaped, filled, indented, is_space, replaced, stripped, titled, truncated},
    text::{Builder, Text},
    value::{List, Outcome, Value},
};

const KNOWN: &str = "abs attr batch capitalize center count d default dictsort e escape first float forceescape format \
    groupby indent int items join last length list lower map max min reject rejectattr replace reverse \
    round safe select selectattr slice sort string sum title tojson trim truncate unique upper urlencode \
    wordcount";

pub(super) fn is_known(name: &str) -> bool {
    is_among(KNOWN, name)
}

pub(super) fn apply<'t>(
    renderer: &mut Renderer<'t>,
    name: &str,
    value: Value<'t>,
    given: Given<'t>,
) -> Outcome<Value<'t>> {
    spend(1)?;
    if !is_known(name) {
        return Err(format!("No filter named {name:?}"));
    }
    if matches!(name, "map" | "select" | "reject" | "selectattr" | "rejectattr") {
        return each(renderer, name, &value, given);
    }
    if name == "format" {
        let mut given = given.of(name);
        let values = given.take_positional();
        given.done()?;
        return functions::printf(&value.to_text()?, &values).map(Value::Text);
    }
    let mut given = given.of(name);
    let result = match on_text(name, &value, &mut given)? {
        Some(result) => result,
        None => match on_list(name, &value, &mut given)? {
            Some(result) => result,
            None => on_any(name, value, &mut given)?,
        },
    };
    given.done()?;
    Ok(result)
}

/// Filters that take `str(value)`.
fn on_text<'t>(name: &str, value: &Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Option<Value<'t>>> {
    let text = match name {
        "capitalize" | "center" | "e" | "escape" | "forceescape" | "indent" | "lower" | "replace" | "safe"
        | "string" | "title" | "trim" | "truncate" | "upper" | "urlencode" | "wordcount" => match (name, value) {
            // These alone look at what a string has, and urlencode makes something else of a mapping.
            ("indent" | "truncate" | "urlencode", Value::List(_) | Value::Tuple(_) | Value::Dict(_)) => {
                return Err(format!("{name} wants a string, not {}", value.kind()));
            }
            _ => value.to_text()?,
        },
        _ => return Ok(None),
    };
    spend_bytes(text.as_str().len() * 8)?;
    let result = match name {
        "string" | "safe" => text,
        "lower" => text.map_chars(char::to_lowercase)?,
        "upper" => text.map_chars(char::to_uppercase)?,
        "capitalize" => capitalized(&text)?,
        // A word starts after white space or any of these.
        "title" => titled(&text, |before| before.is_none_or(|before| is_space(before) || "-({[<".contains(before)))?,
        "trim" => {
            let characters = match given.optional("chars") {
                None | Some(Value::None) => None,
                Some(characters) => Some(characters.to_text()?),
            };
            stripped(&text, characters.as_ref().map(Text::as_str), true, true)?
        }
        "replace" => {
            let old = given.required("old")?.to_text()?;
            let new = given.required("new")?.to_text()?;
            let most = given.int("count")?.and_then(|most| usize::try_from(most).ok());
            replaced(&text, old.as_str(), &new, most)?
        }
        "indent" => indented(&text, given)?,
        "center" => filled(
            &text,
            "center",
            given.int("width")?.and_then(|width| usize::try_from(width).ok()).unwrap_or(80),
            ' ',
        )?,
        "truncate" => truncated(&text, given)?,
        "wordcount" => {
            let word = |character: char| character.is_alphanumeric() || character == '_';
            let words = text.as_str().split(|character| !word(character)).filter(|word| !word.is_empty());
            return Ok(Some(Value::Int(words.count() as i64)));
        }
        "urlencode" => {
            let plain = |character: char| character.is_ascii_alphanumeric() || "_.-~/".contains(character);
            text.map_chars(|character| {
                let bytes = character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
                let spelled: String = if plain(character) { character.into() } else { bytes };
                spelled.chars().collect::<Vec<char>>().into_iter()
            })?
        }
        _ => escaped(&text)?,
    };
    Ok(Some(Value::Text(result)))
}

/// Filters that go through the value's items.
fn on_list<'t>(name: &str, value: &Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Option<Value<'t>>> {
    if !matches!(
        name,
        "batch" | "first" | "groupby" | "join" | "last" | "list" | "max" | "min" | "slice" | "sort" | "sum" | "unique"
    ) {
        return Ok(None);
    }
    let list = value.items()?;
    let items = &list.items;
    spend(items.len() as u64)?;
    let nothing = || Value::undefined(format!("the {name} item of an empty sequence"));
    Ok(Some(match name {
        "list" => Value::list(items.clone())?,
        "first" => items.first().cloned().unwrap_or_else(nothing),
        "last" => items.last().cloned().unwrap_or_else(nothing),
        "join" => {
            let separator = given.optional("d").map(|separator| separator.to_text()).transpose()?;
            let path = given.optional("attribute");
            let mut builder = Builder::default();
            for (at, item) in items.iter().enumerate() {
                if let Some(separator) = separator.as_ref().filter(|_| at > 0) {
                    builder.push(separator)?;
                }
                follow(item, path.as_ref())?.print(&mut builder)?;
            }
            Value::Text(builder.build()?)
        }
        "sum" => {
            let path = given.optional("attribute");
            let mut total = given.optional("start").unwrap_or(Value::Int(0));
            for item in items {
                let item = follow(item, path.as_ref())?;
                total = match (total.as_int(), item.as_int()) {
                    (Some(total), Some(item)) => Value::Int(total.checked_add(item).ok_or("a number is too large")?),
                    _ => match (total.as_float(), item.as_float()) {
                        (Some(total), Some(item)) => Value::Float(total + item),
                        _ => return Err(format!("cannot add '{}' and '{}'", total.kind(), item.kind())),
                    },
                };
            }
            total
        }
        "min" | "max" => {
            let cased = given.flag("case_sensitive");
            let path = given.optional("attribute");
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut best: Option<(&Value, Value)> = None;
            for item in items {
                let key = sort_key(follow(item, path.as_ref())?, cased)?;
                let better = match &best {
                    Some((_, other)) => key.compare(other)? == Some(wanted),
                    None => true,
                };
                if better {
                    best = Some((item, key));
                }
            }
            best.map_or_else(nothing, |(item, _)| item.clone())
        }
        "sort" => {
            let reversed = given.flag("reverse");
            let cased = given.flag("case_sensitive");
            let path = given.optional("attribute");
            Value::list(sorted(items, path.as_ref(), cased, reversed)?)?
        }
        "unique" => {
            let cased = given.flag("case_sensitive");
            let path = given.optional("attribute");
            let mut seen: Vec<Value> = Vec::new();
            let mut kept = Vec::new();
            for item in items {
                spend(seen.len() as u64 / 4)?;
                let key = sort_key(follow(item, path.as_ref())?, cased)?;
                if !seen.iter().any(|other| other.equals(&key)) {
                    seen.push(key);
                    kept.push(item.clone());
                }
            }
            Value::list(kept)?
        }
        "groupby" => {
            let path = given.required("attribute")?;
            let default = given.optional("default");
            let cased = given.flag("case_sensitive");
            // What a group is called, and what that is without its case.
            let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
            for item in sorted(items, Some(&path), cased, false)? {
                let key = match (follow(&item, Some(&path))?, &default) {
                    (Value::Undefined(_), Some(default)) => default.clone(),
                    (key, _) => key,
                };
                let plain = sort_key(key.clone(), cased)?;
                match groups.last_mut() {
                    Some((_, last, group)) if last.equals(&plain) => group.push(item),
                    _ => groups.push((key, plain, vec![item])),
                }
            }
            let groups: Outcome<Vec<Value>> =
                groups.into_iter().map(|(key, _, group)| Value::tuple(vec![key, Value::list(group)?])).collect();
            Value::list(groups?)?
        }
        "batch" => {
            let size = positive(given, "linecount")?;
            let fill = given.optional("fill_with");
            let mut batches = Vec::new();
            for chunk in items.chunks(size) {
                let mut chunk = chunk.to_vec();
                if let Some(fill) = &fill {
                    spend((size - chunk.len()) as u64)?;
                    chunk.resize(size, fill.clone());
                }
                batches.push(Value::list(chunk)?);
            }
            Value::list(batches)?
        }
        _ => {
            let count = positive(given, "slices")?;
            let fill = given.optional("fill_with");
            spend(count as u64)?;
            let (each, longer) = (items.len() / count, items.len() % count);
            let mut rest = items.iter();
            let mut slices = Vec::new();
            for at in 0..count {
                let mut slice: Vec<Value> = rest.by_ref().take(each + usize::from(at < longer)).cloned().collect();
                if at >= longer && longer > 0 {
                    slice.extend(fill.clone());
                }
                slices.push(Value::list(slice)?);
            }
            Value::list(slices)?
        }
    }))
}

fn positive(given: &mut Bound, name: &str) -> Outcome<usize> {
    let number = given.int(name)?.and_then(|number| usize::try_from(number).ok());
    number.filter(|number| (1..=1 << 20).contains(number)).ok_or_else(|| format!("'{name}' must be a positive integer"))
}

/// What an attribute's dotted path leads to.
fn follow<'t>(value: &Value<'t>, path: Option<&Value<'t>>) -> Outcome<Value<'t>> {
    let mut value = value.clone();
    match path {
        None | Some(Value::None) => {}
        Some(Value::Text(path)) => {
            for part in path.as_str().split('.') {
                let index = part.parse().map_or_else(|_| Value::own(part), Value::Int);
                value = item(&value, &index)?;
            }
        }
        Some(index) => value = item(&value, index)?,
    }
    Ok(value)
}

/// What a value is sorted by: strings without their case unless asked for.
fn sort_key<'t>(value: Value<'t>, cased: bool) -> Outcome<Value<'t>> {
    match value {
        Value::Text(text) if !cased => text.map_chars(char::to_lowercase).map(Value::Text),
        other => Ok(other),
    }
}

/// What an item is sorted by, and the item.
type Keyed<'t, 'v> = (Vec<Value<'t>>, &'v Value<'t>);

fn sorted<'t>(items: &[Value<'t>], path: Option<&Value<'t>>, cased: bool, reversed: bool) -> Outcome<Vec<Value<'t>>> {
    let mut keyed: Vec<Keyed> = Vec::with_capacity(items.len());
    for item in items {
        let paths: Vec<Value> = match path {
            Some(Value::Text(paths)) => paths.as_str().split(',').map(Value::own).collect(),
            other => other.cloned().into_iter().collect(),
        };
        let mut keys = Vec::new();
        for path in paths.iter().map(Some).chain(if paths.is_empty() { Some(None) } else { None }) {
            keys.push(sort_key(follow(item, path)?, cased)?);
        }
        keyed.push((keys, item));
    }
    let wanted = if reversed { Ordering::Greater } else { Ordering::Less };
    let goes_before = |(one, _): &Keyed<'t, '_>, (two, _): &Keyed<'t, '_>| {
        // As Python compares lists: what is equal, be it undefined, need not have an order.
        for (one, two) in one.iter().zip(two).filter(|(one, two)| !one.equals(two)) {
            match one.compare(two)? {
                Some(Ordering::Equal) | None => {}
                Some(order) => return Ok(order == wanted),
            }
        }
        Ok(false)
    };
    Ok(merge_sorted(keyed, &goes_before)?.into_iter().map(|(_, item)| item.clone()).collect())
}

/// Equals keep their order. Not the standard library's sort, which may panic where `goes_before` is no order: NaN has none.
fn merge_sorted<T>(mut items: Vec<T>, goes_before: &impl Fn(&T, &T) -> Outcome<bool>) -> Outcome<Vec<T>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let last = merge_sorted(items.split_off(items.len() / 2), goes_before)?;
    let first = merge_sorted(items, goes_before)?;
    let mut merged = Vec::with_capacity(first.len() + last.len());
    let (mut first, mut last) = (first.into_iter().peekable(), last.into_iter().peekable());
    while let (Some(one), Some(other)) = (first.peek(), last.peek()) {
        spend(1)?;
        merged.extend(if goes_before(other, one)? { last.next() } else { first.next() });
    }
    merged.extend(first.chain(last));
    Ok(merged)
}

/// Filters on values of any kind.
fn on_any<'t>(name: &str, value: Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    Ok(match name {
        "d" | "default" => {
            let otherwise = given.optional("default_value").unwrap_or_else(|| Value::own(""));
            let replaces = match value {
                Value::Undefined(_) => true,
                _ => given.flag("boolean") && !value.is_true(),
            };
            if replaces {
                given.flag("boolean");
                otherwise
            } else {
                value
            }
        }
        "count" | "length" => Value::Int(match &value {
            Value::Text(text) => text.as_str().chars().count(),
            Value::List(list) | Value::Tuple(list) => list.items.len(),
            Value::Dict(dict) => dict.entries.len(),
            Value::Undefined(_) => 0,
            Value::Loop(running) => running.items.items.len(),
            other => return Err(format!("object of type '{}' has no len()", other.kind())),
        } as i64),
        "items" => match &value {
            Value::Undefined(_) => Value::list(Vec::new())?,
            Value::Dict(dict) => dict_items(dict)?,
            other => return Err(format!("Can only get item pairs from a mapping, not {}", other.kind())),
        },
        "reverse" => match &value {
            Value::Text(text) => {
                let mut characters = text.chars()?;
                characters.reverse();
                let mut builder = Builder::default();
                for character in &characters {
                    builder.push(character)?;
                }
                Value::Text(builder.build()?)
            }
            other => Value::list(other.items()?.items.iter().rev().cloned().collect())?,
        },
        "attr" => {
            let name = given.required("name")?.to_text()?;
            match (&value, attribute(&value, name.as_str())?) {
                // Attributes only, no items.
                (Value::Dict(_), found) if !matches!(found, Value::Method(_)) => {
                    Value::undefined(format!("'dict object' has no attribute '{}', which", name.as_str()))
                }
                (_, found) => found,
            }
        }
        "tojson" => to_json(&value, given)?,
        "dictsort" => dict_sorted(&value, given)?,
        "int" => to_int(&value, given)?,
        "float" => {
            let otherwise = given.optional("default").unwrap_or(Value::Float(0.0));
            let number = value.as_float().or_else(|| value.as_str()?.trim().replace('_', "").parse().ok());
            number.map_or(otherwise, Value::Float)
        }
        "abs" => match &value {
            Value::Float(number) => Value::Float(number.abs()),
            other => {
                let number = other.as_int().ok_or_else(|| format!("bad operand for abs(): '{}'", other.kind()))?;
                Value::Int(number.checked_abs().ok_or("a number is too large")?)
            }
        },
        "round" => {
            let precision = given.int("precision")?.unwrap_or(0).clamp(-300, 300) as i32;
            let method = given.optional("method").map(|method| method.to_text()).transpose()?;
            let number = value.as_float().ok_or_else(|| format!("cannot round '{}'", value.kind()))?;
            let scale = 10f64.powi(precision);
            match method.as_ref().map(Text::as_str) {
                None | Some("common") if !matches!(value, Value::Float(_)) => {
                    Value::Int(rounded(value.as_int().unwrap_or(0), precision.min(0).unsigned_abs())?)
                }
                None | Some("common") if precision >= 0 => {
                    Value::Float(format!("{number:.0$}", precision as usize).parse().unwrap_or(number))
                }
                None | Some("common") => Value::Float((number * scale).round_ties_even() / scale),
                Some("ceil") => Value::Float((number * scale).ceil() / scale),
                Some("floor") => Value::Float((number * scale).floor() / scale),
                Some(_) => return Err("method must be common, ceil or floor".into()),
            }
        }
        other => return Err(format!("No filter named {other:?}")),
    })
}

/// A whole number without its last digits, ties to the even one.
fn rounded(number: i64, digits: u32) -> Outcome<i64> {
    let Some(unit) = 10i64.checked_pow(digits) else { return Ok(0) };
    let (below, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = rest > unit - rest || (rest == unit - rest && below % 2 != 0);
    (below + i64::from(up)).checked_mul(unit).ok_or_else(|| "a number is too large".to_owned())
}

fn to_json<'t>(value: &Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    let ascii = given.flag("ensure_ascii");
    let indent = match given.optional("indent") {
        None | Some(Value::None) => None,
        Some(Value::Text(indent)) => Some(indent.as_str().to_owned()),
        Some(width) => {
            let width = width.as_int().ok_or("tojson wants an integer as 'indent'")?;
            Some(" ".repeat(usize::try_from(width).unwrap_or(0).min(1000)))
        }
    };
    let separators = match given.optional("separators") {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match pair.items()?.items.as_slice() {
            [comma, colon] => (comma.to_text()?.as_str().to_owned(), colon.to_text()?.as_str().to_owned()),
            _ => return Err("tojson wants two separators".into()),
        },
    };
    let sorted = given.flag("sort_keys");
    dump(value, &Style { ascii, indent, separators, sorted }).map(Value::Text)
}

fn dict_sorted<'t>(value: &Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    let cased = given.flag("case_sensitive");
    let by = given.optional("by").map(|by| by.to_text()).transpose()?;
    let reversed = given.flag("reverse");
    let position = match by.as_ref().map(Text::as_str) {
        None | Some("key") => 0,
        Some("value") => 1,
        Some(_) => return Err("you can only sort by either \"key\" or \"value\"".into()),
    };
    let pairs = match value {
        Value::Dict(dict) => dict_items(dict)?.items()?,
        other => return Err(format!("'{}' is no mapping", other.kind())),
    };
    Value::list(sorted(&pairs.items, Some(&Value::Int(position)), cased, reversed)?)
}

/// A float without its fraction.
fn whole(number: f64) -> Outcome<i64> {
    // 2^63; the next smaller float is within.
    if number.abs() < 9_223_372_036_854_775_808.0 {
        Ok(number.trunc() as i64)
    } else {
        Err("a number is too large".into())
    }
}

fn to_int<'t>(value: &Value<'t>, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    let otherwise = given.optional("default").unwrap_or(Value::Int(0));
    let base = given.int("base")?.unwrap_or(10);
    let number = match value {
        Value::Float(number) if number.is_finite() => Some(whole(*number)?),
        Value::Text(text) => {
            let text = text.as_str().trim().replace('_', "");
            let radix = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix)).unwrap_or(10);
            let digits = match radix {
                16 => text.strip_prefix("0x").unwrap_or(&text),
                8 => text.strip_prefix("0o").unwrap_or(&text),
                2 => text.strip_prefix("0b").unwrap_or(&text),
                _ => &text,
            };
            match i64::from_str_radix(digits, radix) {
                Ok(number) => Some(number),
                Err(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(whole).transpose()?,
            }
        }
        other => other.as_int(),
    };
    Ok(number.map_or(otherwise, Value::Int))
}

/// map, select, reject, selectattr and rejectattr.
fn each<'t>(renderer: &mut Renderer<'t>, name: &str, value: &Value<'t>, given: Given<'t>) -> Outcome<Value<'t>> {
    // Anything that is false has no items here, be it None.
    let list: Rc<List> = if value.is_true() { value.items()? } else { List::new(Vec::new())? };
    let mut given = given.of(name);
    let mut kept = Vec::with_capacity(list.items.len());
    if name == "map" {
        let path = given.named("attribute");
        if let Some(path) = path {
            let default = given.named("default");
            given.done()?;
            for item in &list.items {
                let found = match follow(item, Some(&path)) {
                    Ok(Value::Undefined(_)) if default.is_some() => default.clone(),
                    found => Some(found?),
                };
                kept.extend(found);
            }
            return Value::list(kept);
        }
        let filter = given.required("filter")?.to_text()?;
        let (positional, named) = (given.take_positional(), given.take_named());
        for item in &list.items {
            kept.push(apply(renderer, filter.as_str(), item.clone(), again(&positional, &named))?);
        }
        return Value::list(kept);
    }
    let path = if name.ends_with("attr") { Some(given.required("attribute")?) } else { None };
    let test = given.optional("test").map(|test| test.to_text()).transpose()?;
    let (positional, named) = (given.take_positional(), given.take_named());
    for item in &list.items {
        spend(1)?;
        let value = follow(item, path.as_ref())?;
        let holds = match &test {
            Some(test) => holds(test.as_str(), &value, again(&positional, &named))?,
            None => value.is_true(),
        };
        if holds == name.starts_with("select") {
            kept.push(item.clone());
        }
    }
    Value::list(kept)
}

fn again<'t>(positional: &[Value<'t>], named: &[(String, Value<'t>)]) -> Given<'t> {
    let mut given = Given::default();
    given.positional.extend_from_slice(positional);
    for (name, value) in named {
        given.name(name, value.clone());
    }
    given
}
