//! Expressions: the parser's other half, one function a level of binding.
//!
//! From the loosest (`a if b else c`) to the tightest (`a.b[c](d)`), each calls the next. The surprise: chains that
//! nest to the left (`a + b + c`, `a|f|g`) are bounded like nesting is, for the tree that they make is as deep.

use super::{
    ast::{Arguments, Comparison, Expression, Filter, Operator},
    lexer::Token,
    parser::{Parsed, Parser},
};

/// Longer chains of operators, filters or subscripts are in no template that anybody wrote.
const MAX_CHAIN: usize = 256;

/// Counts one more link of a chain that nests to the left.
fn link(links: &mut usize) -> Parsed<()> {
    *links += 1;
    if *links > MAX_CHAIN { Err(format!("a chain of more than {MAX_CHAIN} operations")) } else { Ok(()) }
}

fn boxed(expression: Expression) -> Box<Expression> {
    Box::new(expression)
}

impl Parser {
    /// An expression, or several with commas between as a tuple.
    pub(super) fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Parsed<Expression> {
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

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
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

    pub(super) fn or(&mut self) -> Parsed<Expression> {
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

    pub(super) fn arguments(&mut self) -> Parsed<Arguments> {
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

    pub(super) fn filter(&mut self) -> Parsed<Filter> {
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
