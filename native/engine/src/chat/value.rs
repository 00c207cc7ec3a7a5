//! The values of a template, with Python's truth, equality, order and spelling.
//!
//! Strings carry their provenance (`Text`); lists and dicts know how deep they nest, so that nothing which walks
//! or drops them can run out of stack. The surprise: namespaces and scopes may hold each other in circles, so the
//! renderer keeps a list of them and empties them at the end.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::HashMap,
    rc::Rc,
};

use super::{
    ast::{For, Macro},
    meter::{Held, spend, spend_bytes},
    text::{Builder, Text},
};

/// Lists in lists beyond this are refused.
const MAX_NESTING: usize = 200;

pub(super) type Outcome<T> = Result<T, String>;

#[derive(Clone)]
pub(super) enum Value<'t> {
    /// Printed as nothing; with what was asked for, for errors.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    List(Rc<List<'t>>),
    Tuple(Rc<List<'t>>),
    Dict(Rc<Dict<'t>>),
    Namespace(Rc<Namespace<'t>>),
    Loop(Rc<Loop<'t>>),
    Macro(Rc<Closure<'t>>),
    /// A function of the environment, by its name.
    Function(&'static str),
    /// A method of a value, not called yet.
    Method(Rc<(Value<'t>, String)>),
    /// `cycler` and `joiner`: items and where they stand.
    Cycler(Rc<(Value<'t>, Cell<usize>)>),
    Joiner(Rc<(Text, Cell<bool>)>),
}

pub(super) struct List<'t> {
    pub items: Vec<Value<'t>>,
    depth: usize,
    _held: Held,
}

pub(super) struct Dict<'t> {
    pub entries: Vec<(Value<'t>, Value<'t>)>,
    depth: usize,
    _held: Held,
}

#[derive(Default)]
pub(super) struct Namespace<'t> {
    pub attributes: RefCell<Vec<(String, Value<'t>)>>,
}

/// Names visible in a part of a template.
pub(super) struct Scope<'t> {
    pub names: RefCell<HashMap<String, Value<'t>>>,
    pub parent: Option<Rc<Scope<'t>>>,
}

/// A macro, or a call block's body, with the names that it sees.
pub(super) struct Closure<'t> {
    pub definition: &'t Macro,
    pub scope: Rc<Scope<'t>>,
}

/// A running loop.
pub(super) struct Loop<'t> {
    pub items: Rc<List<'t>>,
    pub at: Cell<usize>,
    pub depth: usize,
    /// What `loop(...)` runs again.
    pub recursion: Option<(&'t For, Rc<Scope<'t>>)>,
    pub changed: RefCell<Option<Value<'t>>>,
}

impl<'t> Scope<'t> {
    pub fn inside(parent: &Rc<Scope<'t>>) -> Rc<Self> {
        Rc::new(Scope { names: RefCell::default(), parent: Some(Rc::clone(parent)) })
    }

    pub fn get(&self, name: &str) -> Option<Value<'t>> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.names.borrow().get(name) {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    pub fn set(&self, name: &str, value: Value<'t>) {
        self.names.borrow_mut().insert(name.to_owned(), value);
    }
}

fn nesting<'t, 'v>(values: impl Iterator<Item = &'v Value<'t>>) -> Outcome<usize>
where
    't: 'v,
{
    let deepest = values.map(|value| match value {
        Value::List(list) | Value::Tuple(list) => list.depth,
        Value::Dict(dict) => dict.depth,
        Value::Method(method) => method.0.depth(),
        Value::Cycler(cycler) => cycler.0.depth(),
        _ => 0,
    });
    let depth = deepest.max().unwrap_or(0) + 1;
    if depth > MAX_NESTING { Err(format!("lists nest more than {MAX_NESTING} deep")) } else { Ok(depth) }
}

impl<'t> List<'t> {
    pub fn new(items: Vec<Value<'t>>) -> Outcome<Rc<Self>> {
        spend(items.len() as u64)?;
        let held = Held::new((items.len() + 2) * size_of::<Value>())?;
        Ok(Rc::new(List { depth: nesting(items.iter())?, items, _held: held }))
    }
}

impl<'t> Dict<'t> {
    /// Of equal keys the first keeps its place, the last its value.
    pub fn new(given: Vec<(Value<'t>, Value<'t>)>) -> Outcome<Rc<Self>> {
        let held = Held::new((given.len() + 1) * 2 * size_of::<Value>())?;
        let mut entries: Vec<(Value, Value)> = Vec::with_capacity(given.len());
        for (key, value) in given {
            spend(1 + entries.len() as u64 / 4)?;
            if matches!(key, Value::List(_) | Value::Dict(_)) {
                return Err(format!("unhashable type: '{}'", key.kind()));
            }
            match entries.iter_mut().find(|(known, _)| known.equals(&key)) {
                Some((_, slot)) => *slot = value,
                None => entries.push((key, value)),
            }
        }
        let depth = nesting(entries.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Rc::new(Dict { entries, depth, _held: held }))
    }

    pub fn get(&self, key: &Value<'t>) -> Option<&Value<'t>> {
        self.entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value)
    }

    pub fn get_str(&self, key: &str) -> Option<&Value<'t>> {
        self.entries.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }
}

impl<'t> Value<'t> {
    pub fn undefined(what: impl Into<Rc<str>>) -> Self {
        Value::Undefined(what.into())
    }

    pub fn own(text: impl Into<String>) -> Self {
        Value::Text(Text::own(text))
    }

    pub fn list(items: Vec<Value<'t>>) -> Outcome<Self> {
        Ok(Value::List(List::new(items)?))
    }

    pub fn tuple(items: Vec<Value<'t>>) -> Outcome<Self> {
        Ok(Value::Tuple(List::new(items)?))
    }

    pub fn dict(entries: Vec<(Value<'t>, Value<'t>)>) -> Outcome<Self> {
        Ok(Value::Dict(Dict::new(entries)?))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    fn depth(&self) -> usize {
        nesting(std::iter::once(self)).unwrap_or(MAX_NESTING) - 1
    }

    /// Python's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Macro(_) => "Macro",
            Value::Function(_) => "function",
            Value::Method(_) => "method",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.as_str().is_empty(),
            Value::List(list) | Value::Tuple(list) => !list.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    /// An int, booleans included as in Python.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    /// Shared parts make a comparison exponential: out of steps, nothing is equal any more.
    pub fn equals(&self, other: &Value<'t>) -> bool {
        if spend(1).is_err() {
            return false;
        }
        match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Text(one), Value::Text(two)) => one.as_str() == two.as_str(),
            (Value::List(one), Value::List(two)) | (Value::Tuple(one), Value::Tuple(two)) => {
                one.items.len() == two.items.len() && one.items.iter().zip(&two.items).all(|(one, two)| one.equals(two))
            }
            (Value::Dict(one), Value::Dict(two)) => {
                one.entries.len() == two.entries.len()
                    && one.entries.iter().all(|(key, value)| two.get(key).is_some_and(|other| other.equals(value)))
            }
            (Value::Namespace(one), Value::Namespace(two)) => Rc::ptr_eq(one, two),
            (Value::Macro(one), Value::Macro(two)) => Rc::ptr_eq(one, two),
            (Value::Function(one), Value::Function(two)) => one == two,
            _ => match (self.as_int(), other.as_int()) {
                (Some(one), Some(two)) => one == two,
                _ => matches!((self.as_float(), other.as_float()), (Some(one), Some(two)) if one == two),
            },
        }
    }

    /// Python's order; values that have none are an error.
    pub fn compare(&self, other: &Value<'t>) -> Outcome<Option<Ordering>> {
        if let (Some(one), Some(two)) = (self.as_int(), other.as_int()) {
            return Ok(Some(one.cmp(&two)));
        }
        if let (Some(one), Some(two)) = (self.as_float(), other.as_float()) {
            return Ok(one.partial_cmp(&two));
        }
        match (self, other) {
            (Value::Text(one), Value::Text(two)) => Ok(Some(one.as_str().cmp(two.as_str()))),
            (Value::List(one), Value::List(two)) | (Value::Tuple(one), Value::Tuple(two)) => {
                for (one, two) in one.items.iter().zip(&two.items) {
                    if !one.equals(two) {
                        return one.compare(two);
                    }
                }
                Ok(Some(one.items.len().cmp(&two.items.len())))
            }
            _ => Err(format!("'{}' and '{}' have no order", self.kind(), other.kind())),
        }
    }

    /// What a loop over the value goes through.
    pub fn items(&self) -> Outcome<Rc<List<'t>>> {
        match self {
            Value::List(list) | Value::Tuple(list) => Ok(Rc::clone(list)),
            Value::Undefined(_) => List::new(Vec::new()),
            Value::Dict(dict) => List::new(dict.entries.iter().map(|(key, _)| key.clone()).collect()),
            Value::Text(text) => {
                let _room = Held::new(text.as_str().len().saturating_mul(64))?;
                List::new(text.chars()?.into_iter().map(Value::Text).collect())
            }
            other => Err(format!("'{}' object is not iterable", other.kind())),
        }
    }

    /// `str(value)`
    pub fn to_text(&self) -> Outcome<Text> {
        if let Value::Text(text) = self {
            return Ok(text.clone());
        }
        let mut builder = Builder::default();
        self.print(&mut builder)?;
        builder.build()
    }

    /// Appends `str(value)`.
    pub fn print(&self, out: &mut Builder) -> Outcome<()> {
        match self {
            Value::Text(text) => out.push(text),
            Value::Undefined(_) => Ok(()),
            other => other.represent(out),
        }
    }

    /// Appends `repr(value)`.
    pub fn represent(&self, out: &mut Builder) -> Outcome<()> {
        spend(1)?;
        match self {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Float(number) => out.push_str(&float_text(*number)),
            Value::Text(text) => quoted(text, out),
            Value::List(list) => represent_all(&list.items, "[", "]", out),
            Value::Tuple(list) if list.items.len() == 1 => represent_all(&list.items, "(", ",)", out),
            Value::Tuple(list) => represent_all(&list.items, "(", ")", out),
            Value::Dict(dict) => {
                out.push_str("{")?;
                for (at, (key, value)) in dict.entries.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" })?;
                    key.represent(out)?;
                    out.push_str(": ")?;
                    value.represent(out)?;
                }
                out.push_str("}")
            }
            Value::Joiner(_) | Value::Cycler(_) | Value::Loop(_) | Value::Namespace(_) => {
                out.push_str(&format!("<{}>", self.kind()))
            }
            Value::Macro(closure) => out.push_str(&format!("<Macro '{}'>", closure.definition.name)),
            Value::Function(name) => out.push_str(&format!("<function {name}>")),
            Value::Method(method) => out.push_str(&format!("<method {}>", method.1)),
        }
    }

    /// `needle in self`
    pub fn contains(&self, needle: &Value<'t>) -> Outcome<bool> {
        match (self, needle) {
            (Value::Text(text), Value::Text(needle)) => {
                spend_bytes(text.as_str().len())?;
                Ok(text.as_str().contains(needle.as_str()))
            }
            (Value::Text(_), other) => Err(format!("'in <string>' requires string, not {}", other.kind())),
            (Value::List(list) | Value::Tuple(list), _) => {
                spend(list.items.len() as u64)?;
                Ok(list.items.iter().any(|item| item.equals(needle)))
            }
            (Value::Dict(dict), _) => Ok(dict.get(needle).is_some()),
            (Value::Undefined(_), _) => Ok(false),
            (other, _) => Err(format!("argument of type '{}' is not iterable", other.kind())),
        }
    }
}

fn represent_all(items: &[Value], open: &str, close: &str, out: &mut Builder) -> Outcome<()> {
    out.push_str(open)?;
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" })?;
        item.represent(out)?;
    }
    out.push_str(close)
}

/// Python's shortest spelling that reads back the same.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// A string as Python writes it, between single quotes if it can be.
fn quoted(text: &Text, out: &mut Builder) -> Outcome<()> {
    let quote = if text.as_str().contains('\'') && !text.as_str().contains('"') { '"' } else { '\'' };
    out.push_char(quote, false)?;
    let mut marks = text.marks();
    for (at, character) in text.as_str().char_indices() {
        let content = marks.contains(at);
        match character {
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            '\\' => out.push_str("\\\\")?,
            _ if character == quote => {
                out.push_str("\\")?;
                out.push_char(character, content)?;
            }
            _ if is_printable(character) => out.push_char(character, content)?,
            _ => out.push_str(&match u32::from(character) {
                code @ 0..=0xFF => format!("\\x{code:02x}"),
                code @ 0x100..=0xFFFF => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            })?,
        }
    }
    out.push_char(quote, false)
}

/// Close to Python's `str.isprintable` of one character: separators other than the space are not.
fn is_printable(character: char) -> bool {
    let noncharacter = u32::from(character) & 0xFFFE == 0xFFFE || ('\u{FDD0}'..='\u{FDEF}').contains(&character);
    let invisible = matches!(u32::from(character),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x2064 | 0x2066..=0x206F | 0xE000..=0xF8FF | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0001
        | 0xE0020..=0xE007F | 0xF0000..=0x10FFFF);
    character == ' ' || !(character.is_control() || character.is_whitespace() || noncharacter || invisible)
}
