//! Jinja's tests: what may stand after `is`.

use super::{
    arguments::Given,
    methods::is_among,
    value::{Outcome, Value},
};

const KNOWN: &str = "defined undefined none boolean true false integer float number string mapping sequence iterable \
    callable sameas eq equalto == ne != lt lessthan < le <= gt greaterthan > ge >= in odd even \
    divisibleby lower upper escaped filter test";

pub(super) fn holds<'t>(name: &str, value: &Value<'t>, given: Given<'t>) -> Outcome<bool> {
    use std::cmp::Ordering::{Greater, Less};
    let mut given = given.of(name);
    let wants_int = |value: &Value| value.as_int().ok_or_else(|| format!("'{name}' wants an integer"));
    let result = match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Text(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => {
            matches!(value, Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined(_))
        }
        "iterable" => {
            matches!(value, Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined(_))
        }
        "callable" => matches!(
            value,
            Value::Macro(_)
                | Value::Function(_)
                | Value::Method(_)
                | Value::Joiner(_)
                | Value::Loop(_)
                | Value::Undefined(_)
        ),
        "sameas" => {
            let other = given.required("other")?;
            std::mem::discriminant(value) == std::mem::discriminant(&other) && value.equals(&other)
        }
        "eq" | "equalto" | "==" => value.equals(&given.required("other")?),
        "ne" | "!=" => !value.equals(&given.required("other")?),
        "lt" | "lessthan" | "<" => value.compare(&given.required("other")?)? == Some(Less),
        "gt" | "greaterthan" | ">" => value.compare(&given.required("other")?)? == Some(Greater),
        "le" | "<=" => value.compare(&given.required("other")?)?.is_some_and(|order| order != Greater),
        "ge" | ">=" => value.compare(&given.required("other")?)?.is_some_and(|order| order != Less),
        "in" => given.required("seq")?.contains(value)?,
        "odd" => wants_int(value)?.rem_euclid(2) == 1,
        "even" => wants_int(value)?.rem_euclid(2) == 0,
        "divisibleby" => {
            let divisor = wants_int(&given.required("num")?)?;
            wants_int(value)?.checked_rem(divisor).ok_or("division by zero")? == 0
        }
        "lower" => cased(value, char::is_lowercase, char::is_uppercase)?,
        "upper" => cased(value, char::is_uppercase, char::is_lowercase)?,
        "escaped" => false,
        "filter" => super::filters::is_known(value.to_text()?.as_str()),
        "test" => is_among(KNOWN, value.to_text()?.as_str()),
        other => return Err(format!("No test named {other:?}")),
    };
    given.done()?;
    Ok(result)
}

fn cased(value: &Value, wanted: fn(char) -> bool, unwanted: fn(char) -> bool) -> Outcome<bool> {
    let text = value.to_text()?;
    Ok(text.as_str().chars().any(wanted) && !text.as_str().chars().any(unwanted))
}
