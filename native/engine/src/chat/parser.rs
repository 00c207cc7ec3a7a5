//! Tokens to a tree: Jinja's statements and expressions, as far as chat templates can use them.
//!
//! Recursive descent: statements here, expressions in `expression`. What would reach other files (include, import, extends) is
//! refused by name. The surprise: `{% generation %}`, which marks the assistant's words for training, is a block
//! that prints its body.

use super::{
    ast::{Expression, For, Macro, Statement, Target},
    lexer::{Token, tokens},
};

/// Nesting beyond this is no template that anybody wrote.
const MAX_DEPTH: usize = 200;

pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn parse(source: &str) -> Parsed<Vec<Statement>> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, loops: 0 };
    let body = parser.body(&[]).map_err(|reason| format!("line {}: {reason}", parser.line()))?;
    Ok(body)
}

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, usize)>,
    pub(super) at: usize,
    depth: usize,
    /// Loops around the statement, for break and continue.
    loops: usize,
}

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
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

    pub(super) fn wanted<T>(&self, expected: &str) -> Parsed<T> {
        Err(format!("expected {expected}, found {}", self.found()))
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    pub(super) fn skip_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.skip_symbol(symbol) { Ok(()) } else { self.wanted(&format!("{symbol:?}")) }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_name(&mut self) -> Parsed<String> {
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
    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
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

    fn macro_body(&mut self, name: String, parameters: Vec<(String, Option<Expression>)>, end: &str) -> Parsed<Macro> {
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
}
