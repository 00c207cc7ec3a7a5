//! Tokens to a tree: Jinja's statements and expressions, as far as chat templates can use them.
//!
//! Recursive descent, one function a level of binding. What would reach other files (include, import, extends) is
//! refused by name. The surprise: `{% generation %}`, which marks the assistant's words for training, is a block
//! that prints its body.

use super::{
    ast::{Arguments, Comparison, Expression, Filter, For, Macro, Operator, Statement, Target},
    lexer::{Token, tokens},
};

/// Nesting beyond this is no template that anybody wrote.
const MAX_DEPTH: usize = 200;

/// Nor are chains of operators, filters or subscripts that are longer.
const MAX_CHAIN: usize = 256;

type Parsed<T> = Result<T, String>;

pub(super) fn parse(source: &str) -> Parsed<Vec<Statement>> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, loops: 0 };
    let body = parser.body(&[]).map_err(|reason| format!("line {}: {reason}", parser.line()))?;
    Ok(body)
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    /// Loops around the statement, for break and continue.
    loops: usize,
}

/// Counts one more link of a chain that nests to the left.
fn link(links: &mut usize) -> Parsed<()> {
    *links += 1;
    if *links > MAX_CHAIN { Err(format!("a chain of more than {MAX_CHAIN} operations")) } else { Ok(()) }
}

fn boxed(expression: Expression) -> Box<Expression> {
    Box::new(expression)
}

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let (token, _) = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token.clone())
    }

    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the template".into(),
            Some(Token::Name(name)) => format!("{name:?}"),
            Some(Token::Symbol(symbol)) => format!("{symbol:?}"),
            Some(Token::String(_)) => "a string".into(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".into(),
            Some(Token::Text(_)) => "text".into(),
            Some(Token::PrintStart | Token::BlockStart) => "the start of a tag".into(),
            Some(Token::PrintEnd | Token::BlockEnd) => "the end of the tag".into(),
        }
    }

    fn wanted<T>(&self, expected: &str) -> Parsed<T> {
        Err(format!("expected {expected}, found {}", self.found()))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn skip_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.skip_symbol(symbol) { Ok(()) } else { self.wanted(&format!("{symbol:?}")) }
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect_name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.wanted("a name"),
        }
    }

    fn expect_block_end(&mut self) -> Parsed<()> {
        match self.peek() {
            Some(Token::BlockEnd) => {
                self.at += 1;
                Ok(())
            }
            _ => self.wanted("the end of the tag"),
        }
    }

    /// Runs one level of nesting deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a block tag of one of these names, which stays; or, without names, to the end.
    fn body(&mut self, ends: &[&str]) -> Parsed<Vec<Statement>> {
        let mut body = Vec::new();
        loop {
            match self.peek() {
                None if ends.is_empty() => return Ok(body),
                None => return self.wanted(&format!("{{% {} %}}", ends.join(" or "))),
                Some(Token::Text(text)) => {
                    body.push(Statement::Text(text.clone()));
                    self.at += 1;
                }
                Some(Token::PrintStart) => {
                    self.at += 1;
                    body.push(Statement::Print(self.tuple(true, &[])?));
                    match self.next() {
                        Some(Token::PrintEnd) => {}
                        _ => {
                            self.at -= 1;
                            return self.wanted("the end of the tag");
                        }
                    }
                }
                Some(Token::BlockStart) => {
                    self.at += 1;
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    self.deeper(|parser| parser.statement(&mut body))?;
                }
                Some(_) => return self.wanted("text or a tag"),
            }
        }
    }

    /// A body, the tag `end` after it included.
    fn body_to(&mut self, end: &str) -> Parsed<Vec<Statement>> {
        self.expect_block_end()?;
        let body = self.body(&[end])?;
        self.at += 1;
        self.expect_block_end()?;
        Ok(body)
    }

    fn statement(&mut self, out: &mut Vec<Statement>) -> Parsed<()> {
        let name = self.expect_name()?;
        out.push(match name.as_str() {
            "if" => self.if_statement()?,
            "for" => self.for_statement()?,
            "set" => self.set_statement()?,
            "macro" => {
                let name = self.expect_name()?;
                let parameters = self.parameters()?;
                Statement::Macro(Box::new(self.macro_body(name, parameters, "endmacro")?))
            }
            "call" => {
                let parameters = if self.is_symbol("(") { self.parameters()? } else { Vec::new() };
                let call = self.expression()?;
                if !matches!(call, Expression::Call(..)) {
                    return Err("expected a call after {% call %}".into());
                }
                Statement::Call { body: Box::new(self.macro_body("caller".into(), parameters, "endcall")?), call }
            }
            "filter" => {
                let mut filters = vec![self.filter()?];
                while self.skip_symbol("|") {
                    filters.push(self.filter()?);
                }
                Statement::FilterBlock { filters, body: self.body_to("endfilter")? }
            }
            "with" => {
                let mut bindings = Vec::new();
                while !matches!(self.peek(), Some(Token::BlockEnd) | None) {
                    if !bindings.is_empty() {
                        self.expect_symbol(",")?;
                    }
                    let target = self.target()?;
                    self.expect_symbol("=")?;
                    bindings.push((target, self.expression()?));
                }
                Statement::With { bindings, body: self.body_to("endwith")? }
            }
            "generation" => Statement::With { bindings: Vec::new(), body: self.body_to("endgeneration")? },
            "autoescape" => {
                self.expression()?;
                Statement::With { bindings: Vec::new(), body: self.body_to("endautoescape")? }
            }
            "block" => {
                self.expect_name()?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                self.expect_block_end()?;
                let body = self.body(&["endblock"])?;
                self.at += 1;
                if !matches!(self.peek(), Some(Token::BlockEnd)) {
                    self.expect_name()?;
                }
                self.expect_block_end()?;
                Statement::With { bindings: Vec::new(), body }
            }
            "break" | "continue" if self.loops > 0 => {
                self.expect_block_end()?;
                if name == "break" { Statement::Break } else { Statement::Continue }
            }
            "break" | "continue" => return Err(format!("{name} outside of a loop")),
            "include" | "import" | "from" | "extends" => {
                return Err(format!("{name} reaches for another file, which a chat template does not have"));
            }
            other => return Err(format!("unknown tag {other:?}")),
        });
        Ok(())
    }

    fn if_statement(&mut self) -> Parsed<Statement> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(true, &[])?;
            self.expect_block_end()?;
            branches.push((condition, self.body(&["elif", "else", "endif"])?));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") {
                self.expect_block_end()?;
                self.body(&["endif"])?
            } else {
                Vec::new()
            };
            self.at += 1;
            self.expect_block_end()?;
            return Ok(Statement::If { branches, otherwise });
        }
    }

    fn for_statement(&mut self) -> Parsed<Statement> {
        let target = self.target()?;
        if !self.skip_name("in") {
            return self.wanted("\"in\"");
        }
        let over = self.tuple(false, &["recursive"])?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.expect_block_end()?;
        self.loops += 1;
        let body = self.body(&["endfor", "else"]);
        self.loops -= 1;
        let body = body?;
        let otherwise = if self.skip_name("else") {
            self.expect_block_end()?;
            self.body(&["endfor"])?
        } else {
            Vec::new()
        };
        self.at += 1;
        self.expect_block_end()?;
        Ok(Statement::For(Box::new(For { target, over, condition, recursive, body, otherwise })))
    }

    fn set_statement(&mut self) -> Parsed<Statement> {
        let target = self.target()?;
        if self.skip_symbol("=") {
            let value = self.tuple(true, &[])?;
            self.expect_block_end()?;
            return Ok(Statement::Set { target, value });
        }
        let mut filters = Vec::new();
        while self.skip_symbol("|") {
            filters.push(self.filter()?);
        }
        Ok(Statement::SetBlock { target, filters, body: self.body_to("endset")? })
    }

    fn target(&mut self) -> Parsed<Target> {
        let mut targets = vec![self.one_target()?];
        let mut is_tuple = false;
        while self.skip_symbol(",") {
            is_tuple = true;
            if matches!(self.peek(), Some(Token::Name(name)) if name != "in") || self.is_symbol("(") {
                targets.push(self.one_target()?);
            }
        }
        match targets.pop() {
            Some(only) if !is_tuple && targets.is_empty() => Ok(only),
            last => Ok(Target::Tuple(targets.into_iter().chain(last).collect())),
        }
    }

    fn one_target(&mut self) -> Parsed<Target> {
        if self.skip_symbol("(") {
            let target = self.deeper(Self::target)?;
            self.expect_symbol(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if ["true", "false", "none", "True", "False", "None"].contains(&name.as_str()) {
            return Err(format!("{name} cannot be assigned to"));
        }
        if self.skip_symbol(".") { Ok(Target::Attribute(name, self.expect_name()?)) } else { Ok(Target::Name(name)) }
    }

    fn parameters(&mut self) -> Parsed<Vec<(String, Option<Expression>)>> {
        self.expect_symbol("(")?;
        let mut parameters: Vec<(String, Option<Expression>)> = Vec::new();
        while !self.skip_symbol(")") {
            if !parameters.is_empty() {
                self.expect_symbol(",")?;
            }
            let name = self.expect_name()?;
            let default = if self.skip_symbol("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err("a parameter without a default follows one with a default".into());
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    fn macro_body(
        &mut self,
        name: String,
        parameters: Vec<(String, Option<Expression>)>,
        end: &str,
    ) -> Parsed<Macro> {
        let outer_loops = std::mem::take(&mut self.loops);
        let from = self.at;
        let body = self.body_to(end);
        self.loops = outer_loops;
        let body = body?;
        let speaks_of = |name: &str| {
            let tokens = self.tokens.get(from..self.at).unwrap_or_default();
            let named = |(token, _): &(Token, usize)| matches!(token, Token::Name(found) if found == name);
            tokens.iter().any(named) && !parameters.iter().any(|(parameter, _)| parameter == name)
        };
        let (varargs, kwargs, caller) = (speaks_of("varargs"), speaks_of("kwargs"), speaks_of("caller"));
        Ok(Macro { varargs, kwargs, caller, name, parameters, body })
    }

    /// An expression, or several with commas between as a tuple.
    fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Parsed<Expression> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.peek(), None | Some(Token::PrintEnd | Token::BlockEnd | Token::Symbol(")")))
                || ends.iter().any(|end| self.is_name(end));
            if at_end {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.deeper(Self::or)? });
            if !self.skip_symbol(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            None => self.wanted("an expression"),
            last => Ok(Expression::Tuple(items.into_iter().chain(last).collect())),
        }
    }

    fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|parser| {
            let mut value = parser.or()?;
            let mut links = 0;
            while parser.skip_name("if") {
                link(&mut links)?;
                let condition = boxed(parser.or()?);
                let otherwise = if parser.skip_name("else") { Some(boxed(parser.expression()?)) } else { None };
                value = Expression::Conditional { condition, then: boxed(value), otherwise };
            }
            Ok(value)
        })
    }

    fn or(&mut self) -> Parsed<Expression> {
        let mut left = self.and()?;
        let mut links = 0;
        while self.skip_name("or") {
            link(&mut links)?;
            left = Expression::Or(boxed(left), boxed(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expression> {
        let mut left = self.not()?;
        let mut links = 0;
        while self.skip_name("and") {
            link(&mut links)?;
            left = Expression::And(boxed(left), boxed(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Expression> {
        if self.skip_name("not") {
            return Ok(Expression::Not(boxed(self.deeper(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Parsed<Expression> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Some(Token::Symbol("==")) => Comparison::Equal,
                Some(Token::Symbol("!=")) => Comparison::NotEqual,
                Some(Token::Symbol("<")) => Comparison::Less,
                Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
                Some(Token::Symbol(">")) => Comparison::Greater,
                Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
                Some(Token::Name(name)) if name == "in" => Comparison::In,
                Some(Token::Name(name)) if name == "not" => {
                    let after = self.tokens.get(self.at + 1).map(|(token, _)| token);
                    if !matches!(after, Some(Token::Name(name)) if name == "in") {
                        break;
                    }
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Compare(boxed(first), rest) })
    }

    fn sum(&mut self) -> Parsed<Expression> {
        let mut left = self.concat()?;
        let mut links = 0;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol("+")) => Operator::Add,
                Some(Token::Symbol("-")) => Operator::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            link(&mut links)?;
            left = Expression::Binary(operator, boxed(left), boxed(self.concat()?));
        }
    }

    fn concat(&mut self) -> Parsed<Expression> {
        let first = self.product()?;
        if !self.is_symbol("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_symbol("~") {
            parts.push(self.product()?);
        }
        Ok(Expression::Concat(parts))
    }

    fn product(&mut self) -> Parsed<Expression> {
        let mut left = self.power()?;
        let mut links = 0;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol("*")) => Operator::Multiply,
                Some(Token::Symbol("/")) => Operator::Divide,
                Some(Token::Symbol("//")) => Operator::FloorDivide,
                Some(Token::Symbol("%")) => Operator::Remainder,
                _ => return Ok(left),
            };
            self.at += 1;
            link(&mut links)?;
            left = Expression::Binary(operator, boxed(left), boxed(self.power()?));
        }
    }

    fn power(&mut self) -> Parsed<Expression> {
        let mut left = self.unary(true)?;
        let mut links = 0;
        while self.skip_symbol("**") {
            link(&mut links)?;
            left = Expression::Binary(Operator::Power, boxed(left), boxed(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Parsed<Expression> {
        let value = if self.skip_symbol("-") {
            Expression::Negative(boxed(self.deeper(|parser| parser.unary(false))?))
        } else if self.skip_symbol("+") {
            Expression::Positive(boxed(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filters(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let Some(token) = self.next() else { return self.wanted("an expression") };
        Ok(match token {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expression::Bool(true),
                "false" | "False" => Expression::Bool(false),
                "none" | "None" => Expression::None,
                _ => Expression::Name(name),
            },
            Token::String(mut value) => {
                while let Some(Token::String(more)) = self.peek() {
                    value.push_str(more);
                    self.at += 1;
                }
                Expression::String(value)
            }
            Token::Int(value) => Expression::Int(value),
            Token::Float(value) => Expression::Float(value),
            Token::Symbol("(") => {
                if self.skip_symbol(")") {
                    return Ok(Expression::Tuple(Vec::new()));
                }
                let value = self.deeper(|parser| parser.tuple(true, &[]))?;
                self.expect_symbol(")")?;
                value
            }
            Token::Symbol("[") => {
                let mut items = Vec::new();
                while !self.skip_symbol("]") {
                    if !items.is_empty() {
                        self.expect_symbol(",")?;
                        if self.skip_symbol("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Expression::List(items)
            }
            Token::Symbol("{") => {
                let mut items = Vec::new();
                while !self.skip_symbol("}") {
                    if !items.is_empty() {
                        self.expect_symbol(",")?;
                        if self.skip_symbol("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_symbol(":")?;
                    items.push((key, self.expression()?));
                }
                Expression::Dict(items)
            }
            _ => {
                self.at -= 1;
                return self.wanted("an expression");
            }
        })
    }

    fn postfix(&mut self, mut value: Expression) -> Parsed<Expression> {
        let mut links = 0;
        loop {
            link(&mut links)?;
            if self.skip_symbol(".") {
                value = match self.next() {
                    Some(Token::Name(name)) => Expression::Attribute(boxed(value), name),
                    Some(Token::Int(index)) => Expression::Item(boxed(value), boxed(Expression::Int(index))),
                    _ => {
                        self.at -= 1;
                        return self.wanted("a name");
                    }
                };
            } else if self.skip_symbol("[") {
                value = self.deeper(|parser| parser.subscript(value))?;
            } else if self.is_symbol("(") {
                value = Expression::Call(boxed(value), Box::new(self.arguments()?));
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, value: Expression) -> Parsed<Expression> {
        let mut parts: [Option<Expression>; 3] = [None, None, None];
        let mut colons = 0;
        while !self.skip_symbol("]") {
            if colons < 2 && self.skip_symbol(":") {
                colons += 1;
                continue;
            }
            match parts.get_mut(colons) {
                Some(slot @ None) => *slot = Some(self.expression()?),
                _ => return self.wanted("\"]\""),
            }
        }
        match parts {
            [Some(index), ..] if colons == 0 => Ok(Expression::Item(boxed(value), boxed(index))),
            _ if colons == 0 => self.wanted("an index"),
            parts => Ok(Expression::Slice(boxed(value), Box::new(parts))),
        }
    }

    fn arguments(&mut self) -> Parsed<Arguments> {
        self.expect_symbol("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.skip_symbol(")") {
            if !first {
                self.expect_symbol(",")?;
                if self.skip_symbol(")") {
                    break;
                }
            }
            first = false;
            let named = matches!(self.peek(), Some(Token::Name(_)))
                && matches!(self.tokens.get(self.at + 1), Some((Token::Symbol("="), _)));
            if self.skip_symbol("**") {
                arguments.dict = Some(boxed(self.expression()?));
            } else if self.skip_symbol("*") {
                arguments.list = Some(boxed(self.expression()?));
            } else if named {
                let name = self.expect_name()?;
                self.at += 1;
                arguments.named.push((name, self.expression()?));
            } else if arguments.named.is_empty() && arguments.dict.is_none() {
                arguments.positional.push(self.expression()?);
            } else {
                return Err("a positional argument follows a named one".into());
            }
        }
        Ok(arguments)
    }

    /// Filters, tests and calls after a value.
    fn filters(&mut self, mut value: Expression) -> Parsed<Expression> {
        let mut links = 0;
        loop {
            link(&mut links)?;
            if self.skip_symbol("|") {
                value = Expression::Filtered(boxed(value), Box::new(self.filter()?));
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.is_symbol("(") {
                value = Expression::Call(boxed(value), Box::new(self.arguments()?));
            } else {
                return Ok(value);
            }
        }
    }

    fn filter(&mut self) -> Parsed<Filter> {
        let mut name = self.expect_name()?;
        while self.skip_symbol(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        let arguments = if self.is_symbol("(") { self.arguments()? } else { Arguments::default() };
        Ok(Filter { name, arguments })
    }

    fn test(&mut self, value: Expression) -> Parsed<Expression> {
        let negated = self.skip_name("not");
        let mut name = self.expect_name()?;
        while self.skip_symbol(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        let takes_one = match self.peek() {
            Some(Token::Name(next)) => !["else", "or", "and", "if", "is", "not", "in"].contains(&next.as_str()),
            Some(Token::String(_) | Token::Int(_) | Token::Float(_) | Token::Symbol("[" | "{")) => true,
            _ => false,
        };
        let arguments = if self.is_symbol("(") {
            self.arguments()?
        } else if takes_one {
            let argument = self.deeper(Self::primary)?;
            Arguments { positional: vec![self.postfix(argument)?], ..Arguments::default() }
        } else {
            Arguments::default()
        };
        if self.is_name("is") {
            return Err("tests cannot be chained".into());
        }
        Ok(Expression::Test { value: boxed(value), test: Box::new(Filter { name, arguments }), negated })
    }
}
