//// Chat templates to trees: the part of Jinja that chat templates are made of.
//// `for`, `if`, `set`, expressions, filters, tests and methods; a macro or
//// another block is an error that names it.
////
//// The surprise: as in transformers, a line break behind a block and white
//// space before it on its line are no output.

import viva_tensor/otp

pub type Node {
  Literal(String)
  Output(Expression)
  If(List(#(Expression, List(Node))), otherwise: List(Node))
  For(
    names: List(String),
    values: Expression,
    condition: Expression,
    body: List(Node),
    otherwise: List(Node),
  )
  Set(name: String, value: Expression)
  SetField(name: String, field: String, value: Expression)
}

pub type Expression {
  TextOf(String)
  IntegerOf(Int)
  NumberOf(Float)
  Truth(Bool)
  NoneOf
  /// What a choice without `else` leaves.
  Missing
  Name(String)
  ListOf(List(Expression))
  MapOf(List(#(Expression, Expression)))
  Item(Expression, Expression)
  Slice(Expression, from: Expression, to: Expression, step: Expression)
  Call(Expression, List(Expression), List(#(String, Expression)))
  Filter(Expression, String, List(Expression), List(#(String, Expression)))
  Test(Expression, String, List(Expression))
  Not(Expression)
  Negative(Expression)
  Binary(String, Expression, Expression)
  /// The condition, what holds then, and otherwise.
  Choice(Expression, Expression, Expression)
}

/// What the scanner finds, in viva_tensor_template_ffi.erl.
pub type Part {
  Plain(String)
  Print(List(Token))
  Block(List(Token))
}

pub type Token {
  Word(String)
  Quoted(String)
  Whole(Int)
  Fraction(Float)
  Sign(String)
}

@external(erlang, "viva_tensor_template_ffi", "scan")
fn scan(source: String) -> Result(List(Part), String)

pub fn parse(source: String) -> Result(List(Node), String) {
  use parts <- otp.try(scan(source))
  use #(nodes, end, _) <- otp.try(nodes(parts, []))
  case end {
    [] -> Ok(nodes)
    tokens -> Error("an unexpected " <> show(tokens))
  }
}

fn show(tokens: List(Token)) -> String {
  case tokens {
    [] -> "end"
    [Word(word), ..] -> "`" <> word <> "`"
    [Quoted(text), ..] -> "'" <> text <> "'"
    [Whole(number), ..] -> otp.int_to_string(number)
    [Fraction(number), ..] -> otp.float_to_string(number)
    [Sign(sign), ..] -> "`" <> sign <> "`"
  }
}

const constants = ["true", "True", "false", "False", "none", "None"]

type Parsed(a) =
  Result(#(a, List(Token)), String)

/// Nodes up to a block that begins none; that block's tokens, and the parts
/// behind it.
fn nodes(
  parts: List(Part),
  done: List(Node),
) -> Result(#(List(Node), List(Token), List(Part)), String) {
  case parts {
    [] -> Ok(#(otp.reverse(done), [], []))
    [Plain(text), ..rest] -> nodes(rest, [Literal(text), ..done])
    [Print(tokens), ..rest] -> {
      use value <- otp.try(whole(tokens))
      nodes(rest, [Output(value), ..done])
    }
    [Block([Word("if"), ..tokens]), ..rest] -> {
      use condition <- otp.try(whole(tokens))
      use #(node, rest) <- otp.try(branches(condition, rest, []))
      nodes(rest, [node, ..done])
    }
    [Block([Word("for"), ..tokens]), ..rest] -> {
      use #(node, rest) <- otp.try(loop(tokens, rest))
      nodes(rest, [node, ..done])
    }
    [Block([Word("set"), Word(name), Sign("="), ..tokens]), ..rest] -> {
      use Nil <- otp.try(case otp.contains(constants, name) {
        True -> Error("an assignment to `" <> name <> "`")
        False -> Ok(Nil)
      })
      use value <- otp.try(whole(tokens))
      nodes(rest, [Set(name, value), ..done])
    }
    [
      Block([
        Word("set"),
        Word(name),
        Sign("."),
        Word(field),
        Sign("="),
        ..tokens
      ]),
      ..rest
    ] -> {
      use Nil <- otp.try(case field {
        "_" <> _ -> Error("a namespace's field that begins with an underscore")
        _ -> Ok(Nil)
      })
      use value <- otp.try(whole(tokens))
      nodes(rest, [SetField(name, field, value), ..done])
    }
    // Marks for training, which say nothing here.
    [Block([Word("generation")]), ..rest]
    | [Block([Word("endgeneration")]), ..rest] -> nodes(rest, done)
    [Block([Word(word), ..] as tokens), ..rest] ->
      case otp.contains(["elif", "else", "endif", "endfor"], word) {
        True -> Ok(#(otp.reverse(done), tokens, rest))
        False ->
          Error(
            "the block "
            <> show(tokens)
            <> " needs the native library (run `make build`)",
          )
      }
    [Block(tokens), ..] -> Error("a block that begins with " <> show(tokens))
  }
}

fn branches(
  condition: Expression,
  parts: List(Part),
  done: List(#(Expression, List(Node))),
) -> Result(#(Node, List(Part)), String) {
  use #(body, end, rest) <- otp.try(nodes(parts, []))
  let done = [#(condition, body), ..done]
  case end {
    [Word("elif"), ..tokens] -> {
      use condition <- otp.try(whole(tokens))
      branches(condition, rest, done)
    }
    [Word("else")] -> {
      use #(otherwise, end, rest) <- otp.try(nodes(rest, []))
      case end {
        [Word("endif")] -> Ok(#(If(otp.reverse(done), otherwise), rest))
        _ -> Error("`endif` expected, found " <> show(end))
      }
    }
    [Word("endif")] -> Ok(#(If(otp.reverse(done), []), rest))
    _ -> Error("`endif` expected, found " <> show(end))
  }
}

fn loop(
  tokens: List(Token),
  parts: List(Part),
) -> Result(#(Node, List(Part)), String) {
  use #(names, tokens) <- otp.try(case tokens {
    [Word(one), Sign(","), Word(other), Word("in"), ..rest] ->
      Ok(#([one, other], rest))
    [Word(one), Word("in"), ..rest] -> Ok(#([one], rest))
    _ -> Error("a loop over " <> show(tokens))
  })
  use #(values, tokens) <- otp.try(either(tokens))
  use condition <- otp.try(case tokens {
    [] -> Ok(Truth(True))
    [Word("if"), ..tokens] -> whole(tokens)
    _ -> Error("an unexpected " <> show(tokens))
  })
  use #(body, end, rest) <- otp.try(nodes(parts, []))
  case end {
    [Word("endfor")] -> Ok(#(For(names, values, condition, body, []), rest))
    [Word("else")] -> {
      use #(otherwise, end, rest) <- otp.try(nodes(rest, []))
      case end {
        [Word("endfor")] ->
          Ok(#(For(names, values, condition, body, otherwise), rest))
        _ -> Error("`endfor` expected, found " <> show(end))
      }
    }
    _ -> Error("`endfor` expected, found " <> show(end))
  }
}

// Expressions, the loosest first.

fn whole(tokens: List(Token)) -> Result(Expression, String) {
  use #(value, rest) <- otp.try(choice(tokens))
  case rest {
    [] -> Ok(value)
    _ -> Error("an unexpected " <> show(rest))
  }
}

fn choice(tokens: List(Token)) -> Parsed(Expression) {
  use #(value, rest) <- otp.try(either(tokens))
  case rest {
    [Word("if"), ..rest] -> {
      use #(condition, rest) <- otp.try(either(rest))
      case rest {
        [Word("else"), ..rest] -> {
          use #(otherwise, rest) <- otp.map_ok(choice(rest))
          #(Choice(condition, value, otherwise), rest)
        }
        _ -> Ok(#(Choice(condition, value, Missing), rest))
      }
    }
    _ -> Ok(#(value, rest))
  }
}

fn chain(
  left: Expression,
  rest: List(Token),
  operators: List(#(Token, String)),
  next: fn(List(Token)) -> Parsed(Expression),
) -> Parsed(Expression) {
  let operator = case rest {
    [token, ..] -> otp.find(operators, token)
    [] -> Error(Nil)
  }
  case operator {
    Error(Nil) -> Ok(#(left, rest))
    Ok(operator) -> {
      use #(right, rest) <- otp.try(next(otp.drop(rest, 1)))
      chain(Binary(operator, left, right), rest, operators, next)
    }
  }
}

fn either(tokens: List(Token)) -> Parsed(Expression) {
  use #(left, rest) <- otp.try(both(tokens))
  chain(left, rest, [#(Word("or"), "or")], both)
}

fn both(tokens: List(Token)) -> Parsed(Expression) {
  use #(left, rest) <- otp.try(negation(tokens))
  chain(left, rest, [#(Word("and"), "and")], negation)
}

fn negation(tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Word("not"), ..rest] -> {
      use #(value, rest) <- otp.map_ok(negation(rest))
      #(Not(value), rest)
    }
    _ -> {
      use #(left, rest) <- otp.try(sum(tokens))
      comparison(left, rest)
    }
  }
}

fn comparison(left: Expression, tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Word("in"), ..rest] -> {
      use #(right, rest) <- otp.try(sum(rest))
      comparison(Binary("in", left, right), rest)
    }
    [Word("not"), Word("in"), ..rest] -> {
      use #(right, rest) <- otp.try(sum(rest))
      comparison(Not(Binary("in", left, right)), rest)
    }
    [Sign(sign), ..rest] ->
      case otp.contains(["==", "!=", "<", ">", "<=", ">="], sign) {
        False -> Ok(#(left, tokens))
        True -> {
          use #(right, rest) <- otp.try(sum(rest))
          comparison(Binary(sign, left, right), rest)
        }
      }
    _ -> Ok(#(left, tokens))
  }
}

fn sum(tokens: List(Token)) -> Parsed(Expression) {
  use #(left, rest) <- otp.try(joined(tokens))
  chain(left, rest, [#(Sign("+"), "+"), #(Sign("-"), "-")], joined)
}

fn joined(tokens: List(Token)) -> Parsed(Expression) {
  use #(left, rest) <- otp.try(product(tokens))
  chain(left, rest, [#(Sign("~"), "~")], product)
}

fn product(tokens: List(Token)) -> Parsed(Expression) {
  use #(left, rest) <- otp.try(unary(tokens))
  let operators = [#(Sign("*"), "*"), #(Sign("//"), "//"), #(Sign("%"), "%")]
  chain(left, rest, operators, unary)
}

fn unary(tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Sign("-"), ..rest] -> {
      use #(value, rest) <- otp.map_ok(unary(rest))
      #(Negative(value), rest)
    }
    _ -> {
      use #(value, rest) <- otp.try(primary(tokens))
      postfix(value, rest)
    }
  }
}

fn primary(tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Quoted(one), Quoted(other), ..rest] ->
      primary([Quoted(one <> other), ..rest])
    [Quoted(text), ..rest] -> Ok(#(TextOf(text), rest))
    [Whole(number), ..rest] -> Ok(#(IntegerOf(number), rest))
    [Fraction(number), ..rest] -> Ok(#(NumberOf(number), rest))
    [Word("true"), ..rest] | [Word("True"), ..rest] -> Ok(#(Truth(True), rest))
    [Word("false"), ..rest] | [Word("False"), ..rest] ->
      Ok(#(Truth(False), rest))
    [Word("none"), ..rest] | [Word("None"), ..rest] -> Ok(#(NoneOf, rest))
    [Word(name), ..rest] -> Ok(#(Name(name), rest))
    [Sign("("), ..rest] -> {
      use #(value, rest) <- otp.try(choice(rest))
      case rest {
        [Sign(")"), ..rest] -> Ok(#(value, rest))
        _ -> Error("`)` expected, found " <> show(rest))
      }
    }
    [Sign("["), ..rest] -> {
      use #(values, _, rest) <- otp.map_ok(arguments(rest, "]", [], []))
      #(ListOf(values), rest)
    }
    [Sign("{"), ..rest] -> pairs(rest, [])
    _ -> Error("a value expected, found " <> show(tokens))
  }
}

fn pairs(
  tokens: List(Token),
  done: List(#(Expression, Expression)),
) -> Parsed(Expression) {
  case tokens {
    [Sign("}"), ..rest] -> Ok(#(MapOf(otp.reverse(done)), rest))
    [Sign(","), ..rest] -> pairs(rest, done)
    _ -> {
      use #(key, rest) <- otp.try(choice(tokens))
      case rest {
        [Sign(":"), ..rest] -> {
          use #(value, rest) <- otp.try(choice(rest))
          pairs(rest, [#(key, value), ..done])
        }
        _ -> Error("`:` expected, found " <> show(rest))
      }
    }
  }
}

fn arguments(
  tokens: List(Token),
  close: String,
  done: List(Expression),
  named: List(#(String, Expression)),
) -> Result(
  #(List(Expression), List(#(String, Expression)), List(Token)),
  String,
) {
  case tokens {
    [Sign(sign), ..rest] if sign == close ->
      Ok(#(otp.reverse(done), otp.reverse(named), rest))
    [Sign(","), ..rest] -> arguments(rest, close, done, named)
    [Word(name), Sign("="), ..rest] -> {
      use #(value, rest) <- otp.try(choice(rest))
      arguments(rest, close, done, [#(name, value), ..named])
    }
    _ -> {
      use #(value, rest) <- otp.try(choice(tokens))
      case rest {
        [Sign(","), ..] -> arguments(rest, close, [value, ..done], named)
        [Sign(sign), ..] if sign == close ->
          arguments(rest, close, [value, ..done], named)
        _ -> Error("`" <> close <> "` expected, found " <> show(rest))
      }
    }
  }
}

fn postfix(value: Expression, tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Sign("."), Word(name), ..rest] -> postfix(Item(value, TextOf(name)), rest)
    [Sign("."), Whole(place), ..rest] ->
      postfix(Item(value, IntegerOf(place)), rest)
    [Sign("["), ..rest] -> {
      use #(value, rest) <- otp.try(index(value, rest))
      postfix(value, rest)
    }
    [Sign("("), ..rest] -> {
      use #(values, named, rest) <- otp.try(arguments(rest, ")", [], []))
      postfix(Call(value, values, named), rest)
    }
    [Sign("|"), Word(name), Sign("("), ..rest] -> {
      use #(values, named, rest) <- otp.try(arguments(rest, ")", [], []))
      postfix(Filter(value, name, values, named), rest)
    }
    [Sign("|"), Word(name), ..rest] ->
      postfix(Filter(value, name, [], []), rest)
    [Word("is"), Word("not"), ..rest] -> {
      use #(value, rest) <- otp.try(test_of(value, rest))
      postfix(Not(value), rest)
    }
    [Word("is"), ..rest] -> {
      use #(value, rest) <- otp.try(test_of(value, rest))
      postfix(value, rest)
    }
    _ -> Ok(#(value, tokens))
  }
}

fn test_of(value: Expression, tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Word(name), Sign("("), ..rest] -> {
      use #(values, _, rest) <- otp.map_ok(arguments(rest, ")", [], []))
      #(Test(value, name, values), rest)
    }
    [Word(name), ..rest] -> Ok(#(Test(value, name, []), rest))
    _ -> Error("a test expected, found " <> show(tokens))
  }
}

fn index(value: Expression, tokens: List(Token)) -> Parsed(Expression) {
  use #(from, rest) <- otp.try(border(tokens))
  case rest {
    [Sign("]"), ..rest] -> Ok(#(Item(value, from), rest))
    [Sign(":"), ..rest] -> {
      use #(to, rest) <- otp.try(border(rest))
      case rest {
        [Sign("]"), ..rest] -> Ok(#(Slice(value, from, to, NoneOf), rest))
        [Sign(":"), ..rest] -> {
          use #(step, rest) <- otp.try(border(rest))
          case rest {
            [Sign("]"), ..rest] -> Ok(#(Slice(value, from, to, step), rest))
            _ -> Error("`]` expected, found " <> show(rest))
          }
        }
        _ -> Error("`]` expected, found " <> show(rest))
      }
    }
    _ -> Error("`]` expected, found " <> show(rest))
  }
}

fn border(tokens: List(Token)) -> Parsed(Expression) {
  case tokens {
    [Sign(":"), ..] | [Sign("]"), ..] -> Ok(#(NoneOf, tokens))
    _ -> choice(tokens)
  }
}
