//// Chat templates, rendered: values and names in, text out.
////
//// What this part of Jinja does not have is a `Template` error that names it.
//// The surprise: a namespace is a map under a name that loops do not hide.

import viva_tensor/beam/template/syntax.{type Expression, type Node}
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

pub opaque type Template {
  Template(nodes: Result(List(Node), String))
}

/// Never fails: what is wrong with a template shows when it is rendered.
pub fn parse(source: String) -> Template {
  Template(syntax.parse(source))
}

pub fn render(
  template: Template,
  names: List(#(String, Json)),
) -> Result(String, Error) {
  let names = otp.map(names, fn(pair) { #(pair.0, Known(pair.1)) })
  let text = {
    use nodes <- otp.try(template.nodes)
    use #(_, parts) <- otp.map_ok(run(nodes, Names(names, []), []))
    otp.concat(otp.reverse(parts))
  }
  otp.map_error(text, error.Template)
}

type Value {
  Known(Json)
  Undefined
}

type Names {
  Names(values: List(#(String, Value)), spaces: List(#(String, Json)))
}

fn get(names: Names, name: String) -> Value {
  case otp.find(names.values, name), otp.find(names.spaces, name) {
    Ok(value), _ -> value
    Error(Nil), Ok(space) -> Known(space)
    Error(Nil), Error(Nil) -> Undefined
  }
}

fn run(
  nodes: List(Node),
  names: Names,
  parts: List(String),
) -> Result(#(Names, List(String)), String) {
  case nodes {
    [] -> Ok(#(names, parts))
    [node, ..rest] -> {
      use #(names, parts) <- otp.try(step(node, names, parts))
      run(rest, names, parts)
    }
  }
}

fn step(
  node: Node,
  names: Names,
  parts: List(String),
) -> Result(#(Names, List(String)), String) {
  case node {
    syntax.Literal(text) -> Ok(#(names, [text, ..parts]))
    syntax.Output(expression) -> {
      use value <- otp.try(evaluate(expression, names))
      use text <- otp.map_ok(text_of(value))
      #(names, [text, ..parts])
    }
    syntax.If([], otherwise:) -> run(otherwise, names, parts)
    syntax.If([#(condition, body), ..rest], otherwise:) -> {
      use value <- otp.try(evaluate(condition, names))
      case truth(value) {
        True -> run(body, names, parts)
        False -> step(syntax.If(rest, otherwise), names, parts)
      }
    }
    syntax.Set(name:, value: syntax.Call(syntax.Name("namespace"), [], named)) -> {
      use fields <- otp.map_ok({
        use #(field, value) <- otp.try_map(named)
        use value <- otp.try(json_of(value, names))
        Ok(#(field, value))
      })
      let spaces = [#(name, json.Object(fields)), ..names.spaces]
      #(Names(..names, spaces:), parts)
    }
    syntax.Set(name:, value:) -> {
      use value <- otp.map_ok(evaluate(value, names))
      #(Names(..names, values: [#(name, value), ..names.values]), parts)
    }
    syntax.SetField(name:, field:, value:) -> {
      use value <- otp.try(json_of(value, names))
      case otp.find(names.spaces, name) {
        Ok(json.Object(fields)) -> {
          let others = otp.filter(fields, fn(pair) { pair.0 != field })
          let space = json.Object([#(field, value), ..others])
          let spaces = otp.filter(names.spaces, fn(pair) { pair.0 != name })
          Ok(#(Names(..names, spaces: [#(name, space), ..spaces]), parts))
        }
        _ -> Error(name <> " is no namespace")
      }
    }
    syntax.For(names: targets, values:, condition:, body:, otherwise:) -> {
      use value <- otp.try(evaluate(values, names))
      use values <- otp.try(items(value))
      use bound <- otp.try(otp.try_map(values, bind(targets, _)))
      use kept <- otp.try(keep(bound, condition, names, []))
      case kept {
        [] -> run(otherwise, names, parts)
        _ -> loop(kept, json.Null, 0, otp.length(kept), body, names, parts)
      }
    }
  }
}

fn bind(
  targets: List(String),
  value: Json,
) -> Result(#(Json, List(#(String, Value))), String) {
  case targets, value {
    [name], _ -> Ok(#(value, [#(name, Known(value))]))
    [one, other], json.Array([first, second]) ->
      Ok(#(value, [#(one, Known(first)), #(other, Known(second))]))
    _, _ -> Error("a loop over pairs found something else")
  }
}

fn keep(
  bound: List(#(Json, List(#(String, Value)))),
  condition: Expression,
  names: Names,
  done: List(#(Json, List(#(String, Value)))),
) -> Result(List(#(Json, List(#(String, Value)))), String) {
  case bound {
    [] -> Ok(otp.reverse(done))
    [first, ..rest] -> {
      let inner = Names(..names, values: otp.append(first.1, names.values))
      use value <- otp.try(evaluate(condition, inner))
      case truth(value) {
        True -> keep(rest, condition, names, [first, ..done])
        False -> keep(rest, condition, names, done)
      }
    }
  }
}

fn loop(
  bound: List(#(Json, List(#(String, Value)))),
  previous: Json,
  index: Int,
  length: Int,
  body: List(Node),
  names: Names,
  parts: List(String),
) -> Result(#(Names, List(String)), String) {
  case bound {
    [] -> Ok(#(names, parts))
    [#(value, values), ..rest] -> {
      let around = case rest, index {
        [#(next, _), ..], 0 -> [#("nextitem", next)]
        [#(next, _), ..], _ -> [
          #("nextitem", next),
          #("previtem", previous),
        ]
        [], 0 -> []
        [], _ -> [#("previtem", previous)]
      }
      let state =
        json.Object([
          #("index", json.Integer(index + 1)),
          #("index0", json.Integer(index)),
          #("revindex", json.Integer(length - index)),
          #("revindex0", json.Integer(length - index - 1)),
          #("first", json.Boolean(index == 0)),
          #("last", json.Boolean(index + 1 == length)),
          #("length", json.Integer(length)),
          ..around
        ])
      let inner = [#("loop", Known(state)), ..otp.append(values, names.values)]
      use #(after, parts) <- otp.try(run(
        body,
        Names(..names, values: inner),
        parts,
      ))
      // Names of the loop's body end with it, namespaces do not.
      let names = Names(..names, spaces: after.spaces)
      loop(rest, value, index + 1, length, body, names, parts)
    }
  }
}

fn truth(value: Value) -> Bool {
  case value {
    Undefined
    | Known(json.Null)
    | Known(json.Boolean(False))
    | Known(json.Text(""))
    | Known(json.Integer(0))
    | Known(json.Array([]))
    | Known(json.Object([])) -> False
    Known(json.Number(number)) -> number != 0.0
    Known(_) -> True
  }
}

fn items(value: Value) -> Result(List(Json), String) {
  case value {
    Known(json.Array(values)) -> Ok(values)
    Known(json.Object(fields)) ->
      Ok(otp.map(fields, fn(pair) { json.Text(pair.0) }))
    Known(json.Text(text)) -> Ok(otp.map(characters(text), json.Text))
    Undefined -> Ok([])
    _ -> Error("a loop over a value that is no list")
  }
}

@external(erlang, "viva_tensor_beam_ffi", "characters")
fn characters(text: String) -> List(String)

fn text_of(value: Value) -> Result(String, String) {
  case value {
    Undefined -> Ok("")
    Known(json.Text(text)) -> Ok(text)
    Known(json.Integer(number)) -> Ok(otp.int_to_string(number))
    Known(json.Number(number)) -> Ok(otp.float_to_string(number))
    Known(json.Boolean(True)) -> Ok("True")
    Known(json.Boolean(False)) -> Ok("False")
    Known(json.Null) -> Ok("None")
    Known(_) -> Error("a list or a map as text (use tojson)")
  }
}

fn json_of(expression: Expression, names: Names) -> Result(Json, String) {
  use value <- otp.try(evaluate(expression, names))
  case value {
    Known(value) -> Ok(value)
    Undefined -> Ok(json.Null)
  }
}

fn plain(value: Result(Json, String)) -> Result(Value, String) {
  otp.map_ok(value, Known)
}

fn boolean(value: Bool) -> Result(Value, String) {
  Ok(Known(json.Boolean(value)))
}

fn evaluate(expression: Expression, names: Names) -> Result(Value, String) {
  case expression {
    syntax.TextOf(text) -> Ok(Known(json.Text(text)))
    syntax.IntegerOf(number) -> Ok(Known(json.Integer(number)))
    syntax.NumberOf(number) -> Ok(Known(json.Number(number)))
    syntax.Truth(value) -> boolean(value)
    syntax.NoneOf -> Ok(Known(json.Null))
    syntax.Name(name) -> Ok(get(names, name))
    syntax.ListOf(values) ->
      otp.try_map(values, json_of(_, names))
      |> otp.map_ok(json.Array)
      |> plain
    syntax.MapOf(pairs) ->
      otp.try_map(pairs, fn(pair) {
        use key <- otp.try(json_of(pair.0, names))
        use value <- otp.try(json_of(pair.1, names))
        case key {
          json.Text(key) -> Ok(#(key, value))
          _ -> Error("a map's key that is no text")
        }
      })
      |> otp.map_ok(json.Object)
      |> plain
    syntax.Item(container, place) -> {
      use container <- otp.try(evaluate(container, names))
      use place <- otp.try(json_of(place, names))
      item(container, place)
    }
    syntax.Slice(value, from:, to:, step:) -> {
      use value <- otp.try(json_of(value, names))
      use from <- otp.try(border(from, names))
      use to <- otp.try(border(to, names))
      use step <- otp.try(border(step, names))
      case value {
        json.Array(values) ->
          Ok(Known(json.Array(slice(values, from, to, step))))
        json.Text(text) ->
          Ok(Known(json.Text(slice_text(text, from, to, step))))
        _ -> Error("a slice of a value that is no list")
      }
    }
    syntax.Call(syntax.Name(name), arguments, _) -> {
      use arguments <- otp.try(otp.try_map(arguments, json_of(_, names)))
      function(name, arguments)
    }
    syntax.Call(syntax.Item(value, syntax.TextOf(name)), arguments, _) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(arguments, json_of(_, names)))
      method(value, name, arguments)
    }
    syntax.Call(..) -> Error("a call of a value that is no function")
    syntax.Filter(value, name, given, named) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(given, json_of(_, names)))
      case named {
        [] -> apply(value, name, arguments)
        _ -> Error(beyond("the filter " <> name <> " with named arguments"))
      }
    }
    syntax.Test(value, name, given) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(given, json_of(_, names)))
      holds(value, name, arguments)
    }
    syntax.Not(value) -> {
      use value <- otp.try(evaluate(value, names))
      boolean(!truth(value))
    }
    syntax.Negative(value) -> {
      use value <- otp.try(json_of(value, names))
      case value {
        json.Integer(number) -> Ok(Known(json.Integer(0 - number)))
        json.Number(number) -> Ok(Known(json.Number(0.0 -. number)))
        _ -> Error("a minus before a value that is no number")
      }
    }
    syntax.Binary("and", left, right) -> {
      use value <- otp.try(evaluate(left, names))
      case truth(value) {
        True -> evaluate(right, names)
        False -> Ok(value)
      }
    }
    syntax.Binary("or", left, right) -> {
      use value <- otp.try(evaluate(left, names))
      case truth(value) {
        True -> Ok(value)
        False -> evaluate(right, names)
      }
    }
    syntax.Binary(operator, left, right) -> {
      use left <- otp.try(evaluate(left, names))
      use right <- otp.try(evaluate(right, names))
      operate(operator, left, right)
    }
    syntax.Choice(condition, chosen, otherwise) -> {
      use value <- otp.try(evaluate(condition, names))
      case truth(value) {
        True -> evaluate(chosen, names)
        False -> evaluate(otherwise, names)
      }
    }
  }
}

fn beyond(what: String) -> String {
  what <> " needs the native library (run `make build`)"
}

fn border(
  expression: Expression,
  names: Names,
) -> Result(Result(Int, Nil), String) {
  use value <- otp.try(json_of(expression, names))
  case value {
    json.Integer(place) -> Ok(Ok(place))
    json.Null -> Ok(Error(Nil))
    _ -> Error("a slice's border that is no integer")
  }
}

@external(erlang, "viva_tensor_template_ffi", "slice")
fn slice(
  values: List(Json),
  from: Result(Int, Nil),
  to: Result(Int, Nil),
  step: Result(Int, Nil),
) -> List(Json)

@external(erlang, "viva_tensor_template_ffi", "slice")
fn slice_text(
  text: String,
  from: Result(Int, Nil),
  to: Result(Int, Nil),
  step: Result(Int, Nil),
) -> String

fn item(container: Value, place: Json) -> Result(Value, String) {
  case container, place {
    Known(json.Object(fields)), json.Text(name) ->
      case otp.find(fields, name) {
        Ok(value) -> Ok(Known(value))
        Error(Nil) -> Ok(Undefined)
      }
    Known(json.Array(values)), json.Integer(place) -> {
      let place = case place < 0 {
        True -> place + otp.length(values)
        False -> place
      }
      case place >= 0, otp.drop(values, place) {
        True, [value, ..] -> Ok(Known(value))
        _, _ -> Ok(Undefined)
      }
    }
    Undefined, _ -> Error("a field of an undefined value")
    _, _ -> Ok(Undefined)
  }
}

fn operate(
  operator: String,
  left: Value,
  right: Value,
) -> Result(Value, String) {
  case operator, left, right {
    "==", _, _ -> boolean(same(left, right))
    "!=", _, _ -> boolean(!same(left, right))
    "~", _, _ -> {
      use left <- otp.try(text_of(left))
      use right <- otp.map_ok(text_of(right))
      Known(json.Text(left <> right))
    }
    "in", Known(json.Text(part)), Known(json.Text(text)) ->
      boolean(contains(text, part))
    "in", Known(value), Known(json.Array(values)) ->
      boolean(otp.contains(values, value))
    "in", Known(json.Text(name)), Known(json.Object(fields)) ->
      boolean(otp.find(fields, name) != Error(Nil))
    "in", _, Undefined -> boolean(False)
    "+", Known(json.Text(one)), Known(json.Text(other)) ->
      Ok(Known(json.Text(one <> other)))
    "+", Known(json.Array(ones)), Known(json.Array(others)) ->
      Ok(Known(json.Array(otp.append(ones, others))))
    "//", _, Known(json.Integer(0)) | "%", _, Known(json.Integer(0)) ->
      Error("a division by zero")
    _, Known(json.Integer(one)), Known(json.Integer(other)) ->
      case operator {
        "+" -> Ok(Known(json.Integer(one + other)))
        "-" -> Ok(Known(json.Integer(one - other)))
        "*" -> Ok(Known(json.Integer(one * other)))
        "%" -> Ok(Known(json.Integer(modulo(one, other))))
        "//" -> Ok(Known(json.Integer({ one - modulo(one, other) } / other)))
        "<" -> boolean(one < other)
        ">" -> boolean(one > other)
        "<=" -> boolean(one <= other)
        ">=" -> boolean(one >= other)
        _ -> Error(beyond("`" <> operator <> "` between integers"))
      }
    _, _, _ -> Error("`" <> operator <> "` between values that do not fit it")
  }
}

fn modulo(one: Int, other: Int) -> Int {
  { one % other + other } % other
}

fn same(left: Value, right: Value) -> Bool {
  case left, right {
    Known(json.Integer(one)), Known(json.Number(other))
    | Known(json.Number(other)), Known(json.Integer(one))
    -> otp.int_to_float(one) == other
    _, _ -> left == right
  }
}

@external(erlang, "viva_tensor_template_ffi", "contains")
fn contains(text: String, part: String) -> Bool

@external(erlang, "viva_tensor_template_ffi", "starts_with")
fn starts_with(text: String, start: String) -> Bool

@external(erlang, "viva_tensor_beam_ffi", "ends_with")
fn ends_with(text: String, end: String) -> Bool

@external(erlang, "viva_tensor_template_ffi", "trim")
fn trim(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "trim_left")
fn trim_left(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "trim_right")
fn trim_right(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "upper")
fn upper(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "lower")
fn lower(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "title")
fn title(text: String) -> String

@external(erlang, "viva_tensor_template_ffi", "length")
fn length(text: String) -> Int

@external(erlang, "viva_tensor_template_ffi", "split_words")
fn split_words(text: String) -> List(String)

@external(erlang, "viva_tensor_beam_ffi", "split_all")
fn split(text: String, at: String) -> List(String)

@external(erlang, "viva_tensor_beam_ffi", "replace")
fn replace(text: String, each: String, with: String) -> String

fn text(text: String) -> Result(Value, String) {
  Ok(Known(json.Text(text)))
}

fn texts(texts: List(String)) -> Result(Value, String) {
  Ok(Known(json.Array(otp.map(texts, json.Text))))
}

fn function(name: String, arguments: List(Json)) -> Result(Value, String) {
  case name, arguments {
    "raise_exception", [json.Text(reason), ..] -> Error(reason)
    "range", [json.Integer(end)] -> range(0, end)
    "range", [json.Integer(start), json.Integer(end)] -> range(start, end)
    _, _ -> Error(beyond("the function " <> name))
  }
}

fn range(start: Int, end: Int) -> Result(Value, String) {
  case end - start > 100_000 {
    True -> Error("a range of more than 100000 numbers")
    False -> Ok(Known(json.Array(numbers(start, end, []))))
  }
}

fn numbers(start: Int, end: Int, done: List(Json)) -> List(Json) {
  case start < end {
    True -> numbers(start, end - 1, [json.Integer(end - 1), ..done])
    False -> done
  }
}

fn method(
  value: Value,
  name: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case value, name, arguments {
    Known(json.Text(value)), "strip", [] -> text(trim(value))
    Known(json.Text(value)), "lstrip", [] -> text(trim_left(value))
    Known(json.Text(value)), "rstrip", [] -> text(trim_right(value))
    Known(json.Text(value)), "strip", [json.Text("\n")] ->
      text(strip_breaks(value, True, True))
    Known(json.Text(value)), "lstrip", [json.Text("\n")] ->
      text(strip_breaks(value, True, False))
    Known(json.Text(value)), "rstrip", [json.Text("\n")] ->
      text(strip_breaks(value, False, True))
    Known(json.Text(value)), "upper", [] -> text(upper(value))
    Known(json.Text(value)), "lower", [] -> text(lower(value))
    Known(json.Text(value)), "title", [] -> text(title(value))
    Known(json.Text(value)), "startswith", [json.Text(start)] ->
      boolean(starts_with(value, start))
    Known(json.Text(value)), "endswith", [json.Text(end)] ->
      boolean(ends_with(value, end))
    Known(json.Text(value)), "split", [] -> texts(split_words(value))
    Known(json.Text(value)), "split", [json.Text(at)] if at != "" ->
      texts(split(value, at))
    Known(json.Text(value)), "replace", [json.Text(each), json.Text(with)]
      if each != ""
    -> text(replace(value, each, with))
    Known(json.Object(_)), "get", [key] -> get_or(value, key, json.Null)
    Known(json.Object(_)), "get", [key, otherwise] ->
      get_or(value, key, otherwise)
    Known(json.Object(_)), "items", [] -> apply(value, "items", [])
    Known(json.Object(fields)), "keys", [] ->
      texts(otp.map(fields, fn(pair) { pair.0 }))
    Known(json.Object(fields)), "values", [] ->
      Ok(Known(json.Array(otp.map(fields, fn(pair) { pair.1 }))))
    Undefined, _, _ -> Error("a method of an undefined value: " <> name)
    _, _, _ -> Error(beyond("the method " <> name))
  }
}

@external(erlang, "viva_tensor_beam_ffi", "strip_breaks")
fn strip_breaks(text: String, left: Bool, right: Bool) -> String

fn get_or(value: Value, key: Json, otherwise: Json) -> Result(Value, String) {
  use found <- otp.map_ok(item(value, key))
  case found {
    Undefined -> Known(otherwise)
    found -> found
  }
}

fn apply(
  value: Value,
  filter: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case value, filter, arguments {
    Known(json.Text(value)), "trim", [] -> text(trim(value))
    Undefined, "trim", [] -> text("")
    Known(json.Text(value)), "upper", [] -> text(upper(value))
    Known(json.Text(value)), "lower", [] -> text(lower(value))
    Known(json.Text(value)), "title", [] -> text(title(value))
    Known(json.Text(value)), "length", []
    | Known(json.Text(value)), "count", []
    -> Ok(Known(json.Integer(length(value))))
    Known(json.Array(values)), "length", []
    | Known(json.Array(values)), "count", []
    -> Ok(Known(json.Integer(otp.length(values))))
    Known(json.Object(fields)), "length", [] ->
      Ok(Known(json.Integer(otp.length(fields))))
    Known(json.Text(value)), "replace", [json.Text(each), json.Text(with)]
      if each != ""
    -> text(replace(value, each, with))
    Known(json.Object(fields)), "items", [] ->
      Ok(
        Known(
          json.Array(
            otp.map(fields, fn(pair) { json.Array([json.Text(pair.0), pair.1]) }),
          ),
        ),
      )
    Known(json.Array([first, ..])), "first", [] -> Ok(Known(first))
    Known(json.Array(values)), "last", [] ->
      item(Known(json.Array(values)), json.Integer(-1))
    Known(json.Array(values)), "list", [] -> Ok(Known(json.Array(values)))
    Known(json.Array(values)), "join", [] -> joined(values, "")
    Known(json.Array(values)), "join", [json.Text(separator)] ->
      joined(values, separator)
    Undefined, "default", [otherwise] | Undefined, "d", [otherwise] ->
      Ok(Known(otherwise))
    Known(_), "default", [_] | Known(_), "d", [_] | Known(_), "safe", [] ->
      Ok(value)
    _, "default", [otherwise, json.Boolean(True)] ->
      case truth(value) {
        True -> Ok(value)
        False -> Ok(Known(otherwise))
      }
    _, "string", [] -> otp.try(text_of(value), text)
    Known(json.Integer(_)), "int", [] -> Ok(value)
    _, _, _ -> Error(beyond("the filter " <> filter <> " on this value"))
  }
}

fn joined(values: List(Json), separator: String) -> Result(Value, String) {
  use parts <- otp.map_ok(
    otp.try_map(values, fn(value) { text_of(Known(value)) }),
  )
  Known(json.Text(otp.join(parts, separator)))
}

fn holds(
  value: Value,
  test_name: String,
  arguments: List(Json),
) -> Result(Value, String) {
  case test_name, value, arguments {
    "defined", _, [] -> boolean(value != Undefined)
    "undefined", _, [] -> boolean(value == Undefined)
    "none", _, [] -> boolean(value == Known(json.Null))
    "true", _, [] -> boolean(value == Known(json.Boolean(True)))
    "false", _, [] -> boolean(value == Known(json.Boolean(False)))
    "string", Known(json.Text(_)), [] -> boolean(True)
    "mapping", Known(json.Object(_)), [] -> boolean(True)
    "boolean", Known(json.Boolean(_)), [] -> boolean(True)
    "number", Known(json.Integer(_)), []
    | "number", Known(json.Number(_)), []
    -> boolean(True)
    "integer", Known(json.Integer(_)), [] -> boolean(True)
    "iterable", Known(json.Text(_)), []
    | "iterable", Known(json.Array(_)), []
    | "iterable", Known(json.Object(_)), []
    | "sequence", Known(json.Text(_)), []
    | "sequence", Known(json.Array(_)), []
    | "sequence", Known(json.Object(_)), []
    -> boolean(True)
    "even", Known(json.Integer(number)), [] -> boolean(number % 2 == 0)
    "odd", Known(json.Integer(number)), [] -> boolean(number % 2 != 0)
    "equalto", Known(_), [other] | "eq", Known(_), [other] ->
      boolean(same(value, Known(other)))
    "string", _, []
    | "mapping", _, []
    | "boolean", _, []
    | "number", _, []
    | "integer", _, []
    | "iterable", _, []
    | "sequence", _, []
    -> boolean(False)
    _, _, _ -> Error(beyond("the test " <> test_name))
  }
}
