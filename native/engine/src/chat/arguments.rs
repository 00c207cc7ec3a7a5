//! The arguments of one call, taken one by one and by name, as Python binds them.
//!
//! A function asks for its parameters in order; what is left over at the end is an error.

use super::value::{Outcome, Value};

/// Arguments as they were written.
#[derive(Default)]
pub(super) struct Given<'t> {
    pub positional: Vec<Value<'t>>,
    named: Vec<(String, Value<'t>)>,
}

/// Arguments on their way into the parameters of a function.
pub(super) struct Bound<'t, 'n> {
    of: &'n str,
    positional: std::vec::IntoIter<Value<'t>>,
    named: Vec<(String, Value<'t>)>,
}

impl<'t> Given<'t> {
    pub fn name(&mut self, name: &str, value: Value<'t>) {
        self.named.push((name.to_owned(), value));
    }

    pub fn of<'n>(self, of: &'n str) -> Bound<'t, 'n> {
        Bound { of, positional: self.positional.into_iter(), named: self.named }
    }
}

impl<'t> Bound<'t, '_> {
    /// The next parameter, if it was given.
    pub fn optional(&mut self, name: &str) -> Option<Value<'t>> {
        self.positional.next().or_else(|| self.named(name))
    }

    pub fn required(&mut self, name: &str) -> Outcome<Value<'t>> {
        let of = self.of;
        self.optional(name).ok_or_else(|| format!("{of}() missing required argument '{name}'"))
    }

    /// A parameter that is given by its name only.
    pub fn named(&mut self, name: &str) -> Option<Value<'t>> {
        let at = self.named.iter().position(|(given, _)| given == name)?;
        Some(self.named.remove(at).1)
    }

    pub fn int(&mut self, name: &str) -> Outcome<Option<i64>> {
        match self.optional(name) {
            None | Some(Value::None) => Ok(None),
            Some(value) => match value.as_int() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{}() wants an integer as '{name}', not {}", self.of, value.kind())),
            },
        }
    }

    pub fn flag(&mut self, name: &str) -> bool {
        self.optional(name).is_some_and(|value| value.is_true())
    }

    pub fn take_positional(&mut self) -> Vec<Value<'t>> {
        std::mem::take(&mut self.positional).collect()
    }

    pub fn take_named(&mut self) -> Vec<(String, Value<'t>)> {
        std::mem::take(&mut self.named)
    }

    /// Nothing may be left.
    pub fn done(mut self) -> Outcome<()> {
        if self.positional.next().is_some() {
            return Err(format!("{}() got too many arguments", self.of));
        }
        match self.named.first() {
            Some((name, _)) => Err(format!("{}() got an unexpected keyword argument '{name}'", self.of)),
            None => Ok(()),
        }
    }
}
