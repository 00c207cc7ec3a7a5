//! Walks a template's tree and writes the prompt.
//!
//! Statements write into a `Builder`, expressions make values; names are looked up through a chain of scopes as
//! Jinja's are (a loop's body has its own, an `if` has not). Every step is counted and every call is measured in
//! depth, so a template that runs away ends in an error. The surprise: a macro sees the names of the place where it
//! is defined, at the time when it is called.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{
    arguments::Given,
    ast::{Arguments, Comparison, Expression, Filter, For, Macro, Operator, Statement, Target},
    filters, functions,
    meter::spend,
    methods, predicates,
    text::{Builder, Text},
    value::{Closure, List, Loop, Namespace, Outcome, Scope, Value},
};

/// Expressions, bodies and calls inside each other.
const MAX_DEPTH: usize = 2000;

#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Renderer<'t> {
    depth: usize,
    loop_depth: usize,
    /// What may be part of a circle: emptied at the end.
    scopes: Vec<Rc<Scope<'t>>>,
    namespaces: Vec<Rc<Namespace<'t>>>,
}

/// Renders `body` with these names.
pub(super) fn render<'t>(body: &'t [Statement], names: Vec<(String, Value<'t>)>) -> Outcome<Text> {
    let mut renderer = Renderer { depth: 0, loop_depth: 0, scopes: Vec::new(), namespaces: Vec::new() };
    let globals = Rc::new(Scope { names: RefCell::default(), parent: None });
    for name in functions::NAMES {
        globals.set(name, Value::Function(name));
    }
    for (name, value) in names {
        globals.set(&name, value);
    }
    let scope = Scope::inside(&globals);
    renderer.scopes.push(Rc::clone(&scope));
    let mut out = Builder::default();
    let result = renderer.body(body, &scope, &mut out).and_then(|_| out.build());
    for scope in &renderer.scopes {
        scope.names.take();
    }
    for namespace in &renderer.namespaces {
        namespace.attributes.take();
    }
    result
}

impl<'t> Renderer<'t> {
    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        spend(1)?;
        if self.depth >= MAX_DEPTH {
            return Err("it recurses too deep".into());
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    fn body(&mut self, body: &'t [Statement], scope: &Rc<Scope<'t>>, out: &mut Builder) -> Outcome<Flow> {
        self.deeper(|renderer| {
            for statement in body {
                let flow = renderer.statement(statement, scope, out)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    /// A body's output by itself, in a scope of its own.
    fn capture(&mut self, body: &'t [Statement], scope: &Rc<Scope<'t>>) -> Outcome<Text> {
        let mut out = Builder::default();
        self.body(body, &Scope::inside(scope), &mut out)?;
        out.build()
    }

    fn statement(&mut self, statement: &'t Statement, scope: &Rc<Scope<'t>>, out: &mut Builder) -> Outcome<Flow> {
        spend(1)?;
        match statement {
            Statement::Text(text) => out.push_str(text)?,
            Statement::Print(expression) => self.value(expression, scope)?.print(out)?,
            Statement::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.value(condition, scope)?.is_true() {
                        return self.body(body, scope, out);
                    }
                }
                return self.body(otherwise, scope, out);
            }
            Statement::For(definition) => {
                let over = self.value(&definition.over, scope)?;
                self.run_loop(definition, &over, scope, out)?;
            }
            Statement::Set { target, value } => {
                let value = self.value(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::SetBlock { target, filters, body } => {
                let text = self.capture(body, scope)?;
                let value = self.filtered(Value::Text(text), filters, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::With { bindings, body } => {
                let inner = Scope::inside(scope);
                for (target, value) in bindings {
                    let value = self.value(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.body(body, &inner, out);
            }
            Statement::Macro(definition) => {
                let closure = self.closure(definition, scope)?;
                scope.set(&definition.name, closure);
            }
            Statement::Call { body, call } => {
                let caller = self.closure(body, scope)?;
                let Expression::Call(callee, arguments) = call else { return Err("expected a call".into()) };
                let mut given = self.given(arguments, scope)?;
                given.name("caller", caller);
                self.call_expression(callee, given, scope)?.print(out)?;
            }
            Statement::FilterBlock { filters, body } => {
                let text = self.capture(body, scope)?;
                self.filtered(Value::Text(text), filters, scope)?.print(out)?;
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn filtered(&mut self, mut value: Value<'t>, filters: &'t [Filter], scope: &Rc<Scope<'t>>) -> Outcome<Value<'t>> {
        for filter in filters {
            let given = self.given(&filter.arguments, scope)?;
            value = filters::apply(self, &filter.name, value, given)?;
        }
        Ok(value)
    }

    fn closure(&mut self, definition: &'t Macro, scope: &Rc<Scope<'t>>) -> Outcome<Value<'t>> {
        spend(32)?;
        self.scopes.push(Rc::clone(scope));
        Ok(Value::Macro(Rc::new(Closure { definition, scope: Rc::clone(scope) })))
    }

    fn run_loop(
        &mut self,
        definition: &'t For,
        over: &Value<'t>,
        scope: &Rc<Scope<'t>>,
        out: &mut Builder,
    ) -> Outcome<()> {
        let mut items = over.items()?;
        if let Some(condition) = &definition.condition {
            let mut kept = Vec::new();
            for item in &items.items {
                let inner = Scope::inside(scope);
                self.assign(&definition.target, item.clone(), &inner)?;
                if self.value(condition, &inner)?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = List::new(kept)?;
        }
        if items.items.is_empty() {
            self.body(&definition.otherwise, &Scope::inside(scope), out)?;
            return Ok(());
        }
        let running = Rc::new(Loop {
            items: Rc::clone(&items),
            at: Cell::new(0),
            depth: self.loop_depth,
            recursion: definition.recursive.then(|| (definition, Rc::clone(scope))),
            changed: RefCell::default(),
        });
        for (at, item) in items.items.iter().enumerate() {
            running.at.set(at);
            let inner = Scope::inside(scope);
            inner.set("loop", Value::Loop(Rc::clone(&running)));
            self.assign(&definition.target, item.clone(), &inner)?;
            if self.body(&definition.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value<'t>, scope: &Rc<Scope<'t>>) -> Outcome<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attribute(name, attribute) => match scope.get(name) {
                Some(Value::Namespace(namespace)) => set_attribute(&namespace, attribute, value)?,
                _ => return Err(format!("cannot assign attribute on non-namespace object {name:?}")),
            },
            Target::Tuple(targets) => {
                let items = value.items()?;
                if items.items.len() != targets.len() {
                    let (wanted, found) = (targets.len(), items.items.len());
                    return Err(format!("expected {wanted} values to unpack, found {found}"));
                }
                for (target, item) in targets.iter().zip(&items.items) {
                    self.assign(target, item.clone(), scope)?;
                }
            }
        }
        Ok(())
    }

    pub fn namespace(&mut self, entries: Vec<(String, Value<'t>)>) -> Outcome<Value<'t>> {
        let namespace = Rc::new(Namespace::default());
        self.namespaces.push(Rc::clone(&namespace));
        spend(8)?;
        for (name, value) in entries {
            set_attribute(&namespace, &name, value)?;
        }
        Ok(Value::Namespace(namespace))
    }

    fn given(&mut self, arguments: &'t Arguments, scope: &Rc<Scope<'t>>) -> Outcome<Given<'t>> {
        let mut given = Given::default();
        for argument in &arguments.positional {
            given.positional.push(self.value(argument, scope)?);
        }
        if let Some(list) = &arguments.list {
            given.positional.extend(self.value(list, scope)?.items()?.items.iter().cloned());
        }
        for (name, argument) in &arguments.named {
            let value = self.value(argument, scope)?;
            given.name(name, value);
        }
        if let Some(dict) = &arguments.dict {
            match self.value(dict, scope)? {
                Value::Dict(dict) => {
                    for (key, value) in &dict.entries {
                        given.name(key.to_text()?.as_str(), value.clone());
                    }
                }
                other => return Err(format!("argument after ** must be a mapping, not {}", other.kind())),
            }
        }
        Ok(given)
    }

    pub fn value(&mut self, expression: &'t Expression, scope: &Rc<Scope<'t>>) -> Outcome<Value<'t>> {
        self.deeper(|renderer| renderer.evaluate(expression, scope))
    }

    fn values(&mut self, expressions: &'t [Expression], scope: &Rc<Scope<'t>>) -> Outcome<Vec<Value<'t>>> {
        expressions.iter().map(|expression| self.value(expression, scope)).collect()
    }

    fn evaluate(&mut self, expression: &'t Expression, scope: &Rc<Scope<'t>>) -> Outcome<Value<'t>> {
        Ok(match expression {
            Expression::None => Value::None,
            Expression::Bool(truth) => Value::Bool(*truth),
            Expression::Int(number) => Value::Int(*number),
            Expression::Float(number) => Value::Float(*number),
            Expression::String(text) => {
                let mut builder = Builder::default();
                builder.push_str(text)?;
                Value::Text(builder.build()?)
            }
            Expression::Name(name) => scope.get(name).unwrap_or_else(|| Value::undefined(format!("'{name}'"))),
            Expression::List(items) => Value::list(self.values(items, scope)?)?,
            Expression::Tuple(items) => Value::tuple(self.values(items, scope)?)?,
            Expression::Dict(items) => {
                let mut entries = Vec::with_capacity(items.len());
                for (key, value) in items {
                    entries.push((self.value(key, scope)?, self.value(value, scope)?));
                }
                Value::dict(entries)?
            }
            Expression::Attribute(value, name) => {
                let value = self.value(value, scope)?;
                methods::attribute(&value, name)?
            }
            Expression::Item(value, index) => {
                let value = self.value(value, scope)?;
                let index = self.value(index, scope)?;
                methods::item(&value, &index)?
            }
            Expression::Slice(value, parts) => {
                let value = self.value(value, scope)?;
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                    *bound = match part.as_ref().map(|part| self.value(part, scope)).transpose()? {
                        None | Some(Value::None) => None,
                        Some(number) => {
                            Some(number.as_int().ok_or("slice indices must be integers or None".to_owned())?)
                        }
                    };
                }
                methods::slice(&value, bounds)?
            }
            Expression::Call(callee, arguments) => {
                let given = self.given(arguments, scope)?;
                self.call_expression(callee, given, scope)?
            }
            Expression::Filtered(value, filter) => {
                let value = self.value(value, scope)?;
                let given = self.given(&filter.arguments, scope)?;
                filters::apply(self, &filter.name, value, given)?
            }
            Expression::Test { value, test, negated } => {
                let value = self.value(value, scope)?;
                let given = self.given(&test.arguments, scope)?;
                Value::Bool(predicates::holds(&test.name, &value, given)? != *negated)
            }
            Expression::Not(value) => Value::Bool(!self.value(value, scope)?.is_true()),
            Expression::Negative(value) => match self.value(value, scope)? {
                Value::Float(number) => Value::Float(-number),
                other => {
                    let number =
                        other.as_int().ok_or_else(|| format!("bad operand for unary -: '{}'", other.kind()))?;
                    Value::Int(number.checked_neg().ok_or("a number is too large")?)
                }
            },
            Expression::Positive(value) => match self.value(value, scope)? {
                number @ (Value::Float(_) | Value::Int(_)) => number,
                other => return Err(format!("bad operand for unary +: '{}'", other.kind())),
            },
            Expression::Binary(operator, left, right) => {
                let left = self.value(left, scope)?;
                let right = self.value(right, scope)?;
                binary(*operator, &left, &right)?
            }
            Expression::Concat(parts) => {
                let mut builder = Builder::default();
                for part in parts {
                    self.value(part, scope)?.print(&mut builder)?;
                }
                Value::Text(builder.build()?)
            }
            Expression::Compare(first, rest) => {
                let mut left = self.value(first, scope)?;
                for (comparison, right) in rest {
                    let right = self.value(right, scope)?;
                    if !compare(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expression::And(left, right) => {
                let left = self.value(left, scope)?;
                if left.is_true() { self.value(right, scope)? } else { left }
            }
            Expression::Or(left, right) => {
                let left = self.value(left, scope)?;
                if left.is_true() { left } else { self.value(right, scope)? }
            }
            Expression::Conditional { condition, then, otherwise } => {
                if self.value(condition, scope)?.is_true() {
                    self.value(then, scope)?
                } else if let Some(otherwise) = otherwise {
                    self.value(otherwise, scope)?
                } else {
                    Value::undefined("the inline if-expression without an else")
                }
            }
        })
    }

    fn call_expression(
        &mut self,
        callee: &'t Expression,
        given: Given<'t>,
        scope: &Rc<Scope<'t>>,
    ) -> Outcome<Value<'t>> {
        let callee = self.value(callee, scope)?;
        self.call(&callee, given)
    }

    pub fn call(&mut self, callee: &Value<'t>, given: Given<'t>) -> Outcome<Value<'t>> {
        self.deeper(|renderer| match callee {
            Value::Macro(closure) => renderer.call_macro(closure, given).map(Value::Text),
            Value::Function(name) => functions::call(renderer, name, given),
            Value::Method(method) => methods::call(&method.0, &method.1, given),
            Value::Loop(running) => {
                let (definition, scope) = running.recursion.clone().ok_or("the loop is not recursive")?;
                let mut given = given.of("loop");
                let over = given.required("iterable")?;
                given.done()?;
                let mut out = Builder::default();
                renderer.loop_depth += 1;
                let result = renderer.run_loop(definition, &over, &scope, &mut out);
                renderer.loop_depth -= 1;
                result?;
                out.build().map(Value::Text)
            }
            Value::Joiner(joiner) => {
                let joins = joiner.1.replace(true);
                Ok(Value::Text(if joins { joiner.0.clone() } else { Text::own("") }))
            }
            Value::Undefined(what) => Err(format!("{what} is undefined")),
            other => Err(format!("'{}' object is not callable", other.kind())),
        })
    }

    fn call_macro(&mut self, closure: &Closure<'t>, given: Given<'t>) -> Outcome<Text> {
        let definition = closure.definition;
        let scope = Scope::inside(&closure.scope);
        let mut given = given.of(&definition.name);
        for (name, default) in &definition.parameters {
            let value = match (given.optional(name), default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.value(default, &scope)?,
                (None, None) => Value::undefined(format!("parameter '{name}'")),
            };
            scope.set(name, value);
        }
        let caller = given.named("caller");
        if definition.caller {
            scope.set("caller", caller.unwrap_or_else(|| Value::undefined("'caller'")));
        }
        if definition.kwargs {
            let named = given.take_named().into_iter().map(|(name, value)| (Value::own(name), value)).collect();
            scope.set("kwargs", Value::dict(named)?);
        }
        if definition.varargs {
            scope.set("varargs", Value::tuple(given.take_positional())?);
        }
        given.done()?;
        let mut out = Builder::default();
        self.body(&definition.body, &scope, &mut out)?;
        out.build()
    }
}

fn set_attribute<'t>(namespace: &Namespace<'t>, name: &str, value: Value<'t>) -> Outcome<()> {
    if name.starts_with('_') {
        return Err(format!("a namespace takes no attribute that starts with an underscore: {name:?}"));
    }
    let mut attributes = namespace.attributes.borrow_mut();
    spend(1 + attributes.len() as u64 / 8)?;
    match attributes.iter_mut().find(|(known, _)| known == name) {
        Some((_, slot)) => *slot = value,
        None => attributes.push((name.to_owned(), value)),
    }
    Ok(())
}

fn compare<'t>(comparison: Comparison, left: &Value<'t>, right: &Value<'t>) -> Outcome<bool> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    spend(1)?;
    Ok(match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::In => right.contains(left)?,
        Comparison::NotIn => !right.contains(left)?,
        Comparison::Less => left.compare(right)? == Some(Less),
        Comparison::LessOrEqual => matches!(left.compare(right)?, Some(Less | Equal)),
        Comparison::Greater => left.compare(right)? == Some(Greater),
        Comparison::GreaterOrEqual => matches!(left.compare(right)?, Some(Greater | Equal)),
    })
}

fn binary<'t>(operator: Operator, left: &Value<'t>, right: &Value<'t>) -> Outcome<Value<'t>> {
    match (operator, left, right) {
        (_, Value::Undefined(what), _) | (Operator::Add, _, Value::Undefined(what)) => {
            return Err(format!("{what} is undefined"));
        }
        (Operator::Add, Value::Text(one), Value::Text(two)) => {
            let mut builder = Builder::default();
            builder.push(one)?;
            builder.push(two)?;
            return Ok(Value::Text(builder.build()?));
        }
        (Operator::Add, Value::List(one), Value::List(two)) => {
            return Value::list(one.items.iter().chain(&two.items).cloned().collect());
        }
        (Operator::Add, Value::Tuple(one), Value::Tuple(two)) => {
            return Value::tuple(one.items.iter().chain(&two.items).cloned().collect());
        }
        (Operator::Remainder, Value::Text(format), _) => {
            let values = match right {
                Value::Tuple(values) => values.items.clone(),
                other => vec![other.clone()],
            };
            return functions::printf(format, &values).map(Value::Text);
        }
        (Operator::Multiply, Value::Text(text), count) | (Operator::Multiply, count, Value::Text(text)) => {
            if let Some(count) = count.as_int() {
                let mut builder = Builder::default();
                for _ in 0..if text.as_str().is_empty() { 0 } else { count } {
                    builder.push(text)?;
                }
                return Ok(Value::Text(builder.build()?));
            }
        }
        (Operator::Multiply, Value::List(list), count) | (Operator::Multiply, count, Value::List(list)) => {
            if let Some(count) = count.as_int() {
                let mut items = Vec::new();
                for _ in 0..if list.items.is_empty() { 0 } else { count } {
                    spend(list.items.len() as u64)?;
                    items.extend(list.items.iter().cloned());
                    if items.len() > 1 << 20 {
                        return Err("a list is too long".into());
                    }
                }
                return Value::list(items);
            }
        }
        _ => {}
    }
    arithmetic(operator, left, right)
}

fn arithmetic<'t>(operator: Operator, left: &Value<'t>, right: &Value<'t>) -> Outcome<Value<'t>> {
    let too_large = || "a number is too large".to_owned();
    let by_zero = || "division by zero".to_owned();
    if let (Some(one), Some(two)) = (left.as_int(), right.as_int()) {
        let whole = match operator {
            Operator::Add => one.checked_add(two),
            Operator::Subtract => one.checked_sub(two),
            Operator::Multiply => one.checked_mul(two),
            Operator::FloorDivide | Operator::Remainder if two == 0 => return Err(by_zero()),
            Operator::FloorDivide => one.checked_div_euclid(two).and_then(|quotient| {
                // Python rounds down, Euclid's remainder is never negative: they differ below a negative divisor.
                let exact = one.checked_rem(two)? == 0;
                if two < 0 && !exact { quotient.checked_sub(1) } else { Some(quotient) }
            }),
            Operator::Remainder => {
                one.checked_rem(two).map(|rest| if rest != 0 && (rest < 0) != (two < 0) { rest + two } else { rest })
            }
            Operator::Power if two >= 0 => u32::try_from(two).ok().and_then(|power| one.checked_pow(power)),
            Operator::Power | Operator::Divide => {
                return arithmetic(operator, &Value::Float(one as f64), &Value::Float(two as f64));
            }
        };
        return whole.map(Value::Int).ok_or_else(too_large);
    }
    let (Some(one), Some(two)) = (left.as_float(), right.as_float()) else {
        return Err(format!("unsupported operand types: '{}' and '{}'", left.kind(), right.kind()));
    };
    Ok(Value::Float(match operator {
        Operator::Add => one + two,
        Operator::Subtract => one - two,
        Operator::Multiply => one * two,
        Operator::Divide | Operator::FloorDivide | Operator::Remainder if two == 0.0 => return Err(by_zero()),
        Operator::Divide => one / two,
        Operator::FloorDivide => (one / two).floor(),
        Operator::Remainder => one - two * (one / two).floor(),
        Operator::Power if one < 0.0 && two.fract() != 0.0 => return Err("a power is a complex number".into()),
        Operator::Power if one == 0.0 && two < 0.0 => return Err(by_zero()),
        Operator::Power => one.powf(two),
    }))
}
