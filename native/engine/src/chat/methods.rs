//! What stands after a dot or in brackets: attributes, items, slices, and the methods of strings, lists and dicts.
//!
//! Python's names and rules; those that would change a value do not exist, as in Jinja's immutable sandbox. The
//! surprise: `value.name` asks for a method first, `value['name']` for an item first.

use std::{ops::Range, rc::Rc};

use super::{
    arguments::{Bound, Given},
    functions,
    meter::{spend, spend_bytes},
    strings::{all, capitalized, filled, found, is_space, lines, replaced, split_at, split_space, stripped, titled},
    text::{Builder, Text},
    value::{Dict, List, Loop, Outcome, Value},
};

const TEXT_METHODS: &str = "capitalize casefold center count endswith find format index isalnum isalpha isdecimal isdigit \
    islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix \
    removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip \
    swapcase title upper zfill";
const DICT_METHODS: [&str; 5] = ["get", "items", "keys", "values", "copy"];
const LIST_METHODS: [&str; 3] = ["index", "count", "copy"];
/// They change their value: known, and refused when called.
const CHANGING: &str = "append extend insert remove pop clear sort reverse update setdefault popitem add discard";

/// Whether a name is one of those in a list with spaces between.
pub(super) fn is_among(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

fn method<'t>(value: &Value<'t>, name: &str) -> Option<Value<'t>> {
    let known = match value {
        Value::Text(_) => is_among(TEXT_METHODS, name),
        Value::Dict(_) => DICT_METHODS.contains(&name) || ["pop", "clear", "update", "setdefault"].contains(&name),
        Value::List(_) | Value::Tuple(_) => LIST_METHODS.contains(&name) || is_among(CHANGING, name),
        Value::Loop(_) => ["cycle", "changed"].contains(&name),
        Value::Cycler(_) => ["next", "reset"].contains(&name),
        _ => false,
    };
    known.then(|| Value::Method(Rc::new((value.clone(), name.to_owned()))))
}

/// `value.name`
pub(super) fn attribute<'t>(value: &Value<'t>, name: &str) -> Outcome<Value<'t>> {
    if let Value::Undefined(what) = value {
        return Err(format!("{what} is undefined"));
    }
    if let Some(method) = method(value, name) {
        return Ok(method);
    }
    let found = match value {
        Value::Dict(dict) => {
            spend(dict.entries.len() as u64 / 16)?;
            dict.get_str(name).cloned()
        }
        Value::Namespace(namespace) => {
            let attributes = namespace.attributes.borrow();
            attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        }
        Value::Loop(running) => loop_attribute(running, name)?,
        Value::Cycler(cycler) if name == "current" => {
            Some(cycler.0.items()?.items.get(cycler.1.get()).cloned().unwrap_or(Value::None))
        }
        Value::Macro(closure) if name == "name" => Some(Value::own(closure.definition.name.as_str())),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| Value::undefined(format!("'{} object' has no attribute '{name}', which", value.kind()))))
}

fn loop_attribute<'t>(running: &Rc<Loop<'t>>, name: &str) -> Outcome<Option<Value<'t>>> {
    let (at, length) = (running.at.get(), running.items.items.len());
    let number = |number: usize| Some(Value::Int(number as i64));
    let neighbour = |at: Option<usize>| {
        let item = at.and_then(|at| running.items.items.get(at)).cloned();
        Some(item.unwrap_or_else(|| Value::undefined(format!("'loop.{name}'"))))
    };
    Ok(match name {
        "index" => number(at + 1),
        "index0" => number(at),
        "revindex" => number(length - at),
        "revindex0" => number(length - at - 1),
        "first" => Some(Value::Bool(at == 0)),
        "last" => Some(Value::Bool(at + 1 == length)),
        "length" => number(length),
        "depth" => number(running.depth + 1),
        "depth0" => number(running.depth),
        "previtem" => neighbour(at.checked_sub(1)),
        "nextitem" => neighbour(at.checked_add(1)),
        _ => None,
    })
}

/// `value[index]`
pub(super) fn item<'t>(value: &Value<'t>, index: &Value<'t>) -> Outcome<Value<'t>> {
    let found = match (value, index) {
        (Value::Undefined(what), _) => return Err(format!("{what} is undefined")),
        (Value::Dict(dict), _) => {
            spend(dict.entries.len() as u64 / 16)?;
            dict.get(index).cloned()
        }
        (Value::List(list) | Value::Tuple(list), _) => index.as_int().and_then(|at| {
            let at = if at < 0 { at.checked_add(list.items.len() as i64)? } else { at };
            list.items.get(usize::try_from(at).ok()?).cloned()
        }),
        (Value::Text(text), _) => match index.as_int() {
            Some(at) => {
                spend_bytes(text.as_str().len())?;
                character(text, at)?.map(Value::Text)
            }
            None => None,
        },
        _ => None,
    };
    match (found, index) {
        (Some(found), _) => Ok(found),
        (None, Value::Text(name)) => attribute(value, name.as_str()),
        (None, _) => {
            let index = index.to_text()?;
            Ok(Value::undefined(format!("'{} object' has no element {}, which", value.kind(), index.as_str())))
        }
    }
}

fn character(text: &Text, at: i64) -> Outcome<Option<Text>> {
    let mut characters = text.as_str().char_indices();
    let found = match usize::try_from(at) {
        Ok(at) => characters.nth(at),
        Err(_) => usize::try_from(-(at + 1)).ok().and_then(|at| characters.rev().nth(at)),
    };
    found.map(|(at, character)| text.slice(at..at + character.len_utf8())).transpose()
}

/// `value[start:stop:step]`
pub(super) fn slice<'t>(value: &Value<'t>, bounds: [Option<i64>; 3]) -> Outcome<Value<'t>> {
    match value {
        Value::List(list) => Value::list(picked(&list.items, bounds)?),
        Value::Tuple(list) => Value::tuple(picked(&list.items, bounds)?),
        Value::Text(text) => {
            spend_bytes(text.as_str().len() * 16)?;
            let ends = text.as_str().char_indices().map(|(at, character)| at..at + character.len_utf8());
            let characters: Vec<Range<usize>> = ends.collect();
            let kept = picked(&characters, bounds)?;
            if bounds.get(2).copied().flatten().unwrap_or(1) == 1 {
                let range = kept.first().map_or(0, |first| first.start)..kept.last().map_or(0, |last| last.end);
                return text.slice(range).map(Value::Text);
            }
            let mut builder = Builder::default();
            for range in kept {
                builder.push_part(text, range)?;
            }
            builder.build().map(Value::Text)
        }
        Value::Undefined(what) => Err(format!("{what} is undefined")),
        other => Err(format!("'{}' object cannot be sliced", other.kind())),
    }
}

fn picked<T: Clone>(items: &[T], [start, stop, step]: [Option<i64>; 3]) -> Outcome<Vec<T>> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err("slice step cannot be zero".into());
    }
    let length = items.len() as i64;
    // Where a forward slice may start and end, or a backward one.
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i64>, otherwise: i64| match given {
        None => otherwise,
        Some(at) if at < 0 => at.saturating_add(length).clamp(lowest, highest),
        Some(at) => at.clamp(lowest, highest),
    };
    let (mut at, stop) =
        if step > 0 { (bound(start, 0), bound(stop, length)) } else { (bound(start, length - 1), bound(stop, -1)) };
    let mut kept = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        kept.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at = at.saturating_add(step);
    }
    Ok(kept)
}

/// `value.name(...)`
pub(super) fn call<'t>(value: &Value<'t>, name: &str, given: Given<'t>) -> Outcome<Value<'t>> {
    let mut given = given.of(name);
    match value {
        Value::Text(text) => text_method(text, name, given),
        _ if is_among(CHANGING, name) => Err(format!("{name} would change a value, which templates may not")),
        Value::Dict(dict) => {
            let result = dict_method(dict, name, &mut given)?;
            given.done()?;
            Ok(result)
        }
        Value::List(list) | Value::Tuple(list) => {
            let result = list_method(value, list, name, &mut given)?;
            given.done()?;
            Ok(result)
        }
        Value::Loop(running) if name == "cycle" => {
            let items = given.take_positional();
            given.done()?;
            let at = running.at.get().checked_rem(items.len()).ok_or("no items for cycling given")?;
            Ok(items.get(at).cloned().unwrap_or(Value::None))
        }
        Value::Loop(running) => {
            let value = Value::tuple(given.take_positional())?;
            given.done()?;
            let changed = !running.changed.borrow().as_ref().is_some_and(|last| last.equals(&value));
            *running.changed.borrow_mut() = Some(value);
            Ok(Value::Bool(changed))
        }
        Value::Cycler(cycler) => {
            given.done()?;
            let items = cycler.0.items()?;
            let at = cycler.1.get();
            cycler.1.set(if name == "next" { (at + 1).checked_rem(items.items.len()).unwrap_or(0) } else { 0 });
            Ok(if name == "next" { items.items.get(at).cloned().unwrap_or(Value::None) } else { Value::None })
        }
        other => Err(format!("'{}' object has no method '{name}'", other.kind())),
    }
}

pub(super) fn dict_items<'t>(dict: &Dict<'t>) -> Outcome<Value<'t>> {
    let pairs: Outcome<Vec<Value>> =
        dict.entries.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])).collect();
    Value::list(pairs?)
}

fn dict_method<'t>(dict: &Rc<Dict<'t>>, name: &str, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    match name {
        "get" => {
            let key = given.required("key")?;
            let otherwise = given.optional("default").unwrap_or(Value::None);
            Ok(dict.get(&key).cloned().unwrap_or(otherwise))
        }
        "items" => dict_items(dict),
        "keys" => Value::list(dict.entries.iter().map(|(key, _)| key.clone()).collect()),
        "values" => Value::list(dict.entries.iter().map(|(_, value)| value.clone()).collect()),
        _ => Ok(Value::Dict(Rc::clone(dict))),
    }
}

fn list_method<'t>(value: &Value<'t>, list: &List<'t>, name: &str, given: &mut Bound<'t, '_>) -> Outcome<Value<'t>> {
    spend(list.items.len() as u64)?;
    match name {
        "index" => {
            let item = given.required("value")?;
            let at = list.items.iter().position(|other| other.equals(&item));
            at.map(|at| Value::Int(at as i64)).ok_or_else(|| "value is not in list".to_owned())
        }
        "count" => {
            let item = given.required("value")?;
            Ok(Value::Int(list.items.iter().filter(|other| other.equals(&item)).count() as i64))
        }
        _ => Ok(value.clone()),
    }
}

fn wants_text(name: &str, value: Value) -> Outcome<Text> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("{name}() wants a string, not {}", other.kind())),
    }
}

/// An optional string parameter; None counts as not given.
fn optional_text(given: &mut Bound, of: &str, name: &str) -> Outcome<Option<Text>> {
    match given.optional(name) {
        None | Some(Value::None) => Ok(None),
        Some(value) => wants_text(of, value).map(Some),
    }
}

fn text_method<'t>(text: &Text, name: &str, mut given: Bound<'t, '_>) -> Outcome<Value<'t>> {
    let whole = text.as_str();
    // Most go character by character.
    spend_bytes(whole.len() * 8)?;
    let value = match name {
        "strip" | "lstrip" | "rstrip" => {
            let characters = optional_text(&mut given, name, "chars")?;
            let characters = characters.as_ref().map(Text::as_str);
            Value::Text(stripped(text, characters, name != "rstrip", name != "lstrip")?)
        }
        "upper" => Value::Text(text.map_chars(char::to_uppercase)?),
        "lower" | "casefold" => Value::Text(text.map_chars(char::to_lowercase)?),
        "swapcase" => Value::Text(text.map_chars(|character| {
            let swapped: Vec<char> = if character.is_uppercase() {
                character.to_lowercase().collect()
            } else {
                character.to_uppercase().collect()
            };
            swapped.into_iter()
        })?),
        "capitalize" => Value::Text(capitalized(text)?),
        "title" => Value::Text(titled(text, |before| before.is_none_or(|before| !before.is_alphabetic()))?),
        "startswith" | "endswith" => {
            let wanted = given.required("prefix")?;
            let start = given.int("start")?;
            let end = given.int("end")?;
            let part = slice(&Value::Text(text.clone()), [start, end, None])?;
            let part = part.as_str().unwrap_or_default();
            // Behind the end there is nothing, not even an empty string.
            let beyond = start.is_some_and(|start| usize::try_from(start).is_ok_and(|at| at > whole.chars().count()));
            let matches = |wanted: &Value| -> Outcome<bool> {
                let wanted = wants_text(name, wanted.clone())?;
                Ok(!beyond
                    && if name == "startswith" {
                        part.starts_with(wanted.as_str())
                    } else {
                        part.ends_with(wanted.as_str())
                    })
            };
            match &wanted {
                Value::Tuple(any) => {
                    let mut found = false;
                    for wanted in &any.items {
                        found = found || matches(wanted)?;
                    }
                    Value::Bool(found)
                }
                wanted => Value::Bool(matches(wanted)?),
            }
        }
        "removeprefix" | "removesuffix" => {
            let affix = wants_text(name, given.required("affix")?)?;
            let range = if name == "removeprefix" {
                whole.strip_prefix(affix.as_str()).map(|rest| whole.len() - rest.len()..whole.len())
            } else {
                whole.strip_suffix(affix.as_str()).map(|rest| 0..rest.len())
            };
            Value::Text(text.slice(range.unwrap_or(0..whole.len()))?)
        }
        "split" | "rsplit" => {
            let separator = optional_text(&mut given, name, "sep")?;
            let most = given.int("maxsplit")?.and_then(|most| usize::try_from(most).ok());
            let ranges = match &separator {
                Some(separator) if separator.as_str().is_empty() => return Err("empty separator".into()),
                Some(separator) => split_at(whole, separator.as_str(), most, name == "rsplit"),
                None => split_space(whole, most, name == "rsplit"),
            };
            texts(text, ranges)?
        }
        "splitlines" => {
            let keeps = given.flag("keepends");
            texts(text, lines(whole, keeps))?
        }
        "partition" | "rpartition" => {
            let separator = wants_text(name, given.required("sep")?)?;
            if separator.as_str().is_empty() {
                return Err("empty separator".into());
            }
            let found =
                if name == "partition" { whole.find(separator.as_str()) } else { whole.rfind(separator.as_str()) };
            let end = whole.len();
            let ranges = match found {
                Some(at) => [0..at, at..at + separator.as_str().len(), at + separator.as_str().len()..end],
                None if name == "partition" => [0..end, end..end, end..end],
                None => [0..0, 0..0, 0..end],
            };
            Value::tuple(ranges.into_iter().map(|range| text.slice(range).map(Value::Text)).collect::<Outcome<_>>()?)?
        }
        "replace" => {
            let old = wants_text(name, given.required("old")?)?;
            let new = wants_text(name, given.required("new")?)?;
            let most = given.int("count")?.and_then(|most| usize::try_from(most).ok());
            Value::Text(replaced(text, old.as_str(), &new, most)?)
        }
        "join" => {
            let items = given.required("iterable")?.items()?;
            let mut builder = Builder::default();
            for (at, item) in items.items.iter().enumerate() {
                if at > 0 {
                    builder.push(text)?;
                }
                builder.push(&wants_text("join", item.clone())?)?;
            }
            Value::Text(builder.build()?)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let wanted = wants_text(name, given.required("sub")?)?;
            let start = given.int("start")?;
            let end = given.int("end")?;
            found(whole, name, wanted.as_str(), start, end)?
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let width = given.int("width")?.ok_or("a width is missing")?;
            let fill = match optional_text(&mut given, name, "fillchar")? {
                Some(fill) => fill.as_str().chars().next().unwrap_or(' '),
                None => ' ',
            };
            Value::Text(filled(text, name, usize::try_from(width).unwrap_or(0), fill)?)
        }
        "format" => {
            let named = given.take_named();
            Value::Text(functions::brace_format(text, &given.take_positional(), &named)?)
        }
        "isalpha" => Value::Bool(all(whole, char::is_alphabetic)),
        "isalnum" => Value::Bool(all(whole, char::is_alphanumeric)),
        "isdigit" | "isdecimal" => Value::Bool(all(whole, |character| character.is_ascii_digit())),
        "isnumeric" => Value::Bool(all(whole, char::is_numeric)),
        "isspace" => Value::Bool(all(whole, is_space)),
        "isupper" => Value::Bool(whole.chars().any(char::is_uppercase) && !whole.chars().any(char::is_lowercase)),
        "islower" => Value::Bool(whole.chars().any(char::is_lowercase) && !whole.chars().any(char::is_uppercase)),
        "istitle" => {
            let title = titled(text, |before| before.is_none_or(|before| !before.is_alphabetic()))?;
            Value::Bool(title.as_str() == whole && whole.chars().any(char::is_alphabetic))
        }
        other => return Err(format!("'str' object has no method '{other}'")),
    };
    given.done()?;
    Ok(value)
}

fn texts<'t>(text: &Text, ranges: Vec<Range<usize>>) -> Outcome<Value<'t>> {
    Value::list(ranges.into_iter().map(|range| text.slice(range).map(Value::Text)).collect::<Outcome<_>>()?)
}
