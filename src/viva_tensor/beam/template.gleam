//// Chat templates, rendered: values and names in, text out.
////
//// What this part of Jinja does not have is a `Template` error that names it.
//// The surprise: a namespace is a map under a name that loops do not hide.

import viva_tensor/beam/template/syntax.{type Expression, type Node}
import viva_tensor/beam/template/value.{type Value, Known, Undefined} as values
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
  // As transformers has it, a chat without tools has none, which is defined.
  let without = [#("tools", json.Null), #("documents", json.Null)]
  let names =
    otp.map(otp.append(names, without), fn(pair) { #(pair.0, Known(pair.1)) })
  let text = {
    use nodes <- otp.try(template.nodes)
    use #(_, parts) <- otp.map_ok(run(nodes, Names(names, []), []))
    otp.concat(otp.reverse(parts))
  }
  otp.map_error(text, error.Template)
}

type Names {
  Names(values: List(#(String, Value)), spaces: List(#(String, Json)))
}

fn get(names: Names, name: String) -> Value {
  case otp.find(names.values, name), otp.find(names.spaces, name) {
    Ok(value), _ -> value
    Error(Nil), Ok(space) -> Known(space)
    Error(Nil), Error(Nil) ->
      case otp.contains(values.functions, name) {
        True -> Known(json.Text("<function " <> name <> ">"))
        False -> Undefined
      }
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
      use text <- otp.map_ok(values.text_of(value))
      #(names, [text, ..parts])
    }
    syntax.If([], otherwise:) -> run(otherwise, names, parts)
    syntax.If([#(condition, body), ..rest], otherwise:) -> {
      use value <- otp.try(evaluate(condition, names))
      case values.truth(value) {
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
      use values <- otp.try(values.items(value))
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
      case values.truth(value) {
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

fn json_of(expression: Expression, names: Names) -> Result(Json, String) {
  use value <- otp.try(evaluate(expression, names))
  case value {
    Known(value) -> Ok(value)
    Undefined -> Ok(json.Null)
  }
}

fn evaluate(expression: Expression, names: Names) -> Result(Value, String) {
  case expression {
    syntax.TextOf(text) -> Ok(Known(json.Text(text)))
    syntax.IntegerOf(number) -> Ok(Known(json.Integer(number)))
    syntax.NumberOf(number) -> Ok(Known(json.Number(number)))
    syntax.Truth(value) -> values.boolean(value)
    syntax.NoneOf -> Ok(Known(json.Null))
    syntax.Missing -> Ok(Undefined)
    syntax.Name(name) -> Ok(get(names, name))
    syntax.ListOf(values) ->
      otp.try_map(values, json_of(_, names))
      |> otp.map_ok(json.Array)
      |> values.plain
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
      |> values.plain
    syntax.Item(container, place) -> {
      use container <- otp.try(evaluate(container, names))
      use place <- otp.try(json_of(place, names))
      values.item(container, place)
    }
    syntax.Slice(value, from:, to:, step:) -> {
      use value <- otp.try(json_of(value, names))
      use from <- otp.try(border(from, names))
      use to <- otp.try(border(to, names))
      use step <- otp.try(border(step, names))
      case value, step {
        _, Ok(0) -> Error("a slice with a step of zero")
        json.Array(values), _ ->
          Ok(Known(json.Array(slice(values, from, to, or_one(step)))))
        json.Text(text), _ ->
          Ok(Known(json.Text(slice_text(text, from, to, or_one(step)))))
        _, _ -> Error("a slice of a value that is no list")
      }
    }
    syntax.Call(syntax.Name(name), arguments, _) -> {
      use arguments <- otp.try(otp.try_map(arguments, json_of(_, names)))
      values.function(name, arguments)
    }
    syntax.Call(syntax.Item(value, syntax.TextOf(name)), arguments, _) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(arguments, json_of(_, names)))
      values.method(value, name, arguments)
    }
    syntax.Call(..) -> Error("a call of a value that is no function")
    syntax.Filter(value, name, given, named) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(given, json_of(_, names)))
      case named {
        [] -> values.apply(value, name, arguments)
        _ -> Error(values.beyond("the filter " <> name <> " with named arguments"))
      }
    }
    syntax.Test(value, name, given) -> {
      use value <- otp.try(evaluate(value, names))
      use arguments <- otp.try(otp.try_map(given, json_of(_, names)))
      values.holds(value, name, arguments)
    }
    syntax.Not(value) -> {
      use value <- otp.try(evaluate(value, names))
      values.boolean(!values.truth(value))
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
      case values.truth(value) {
        True -> evaluate(right, names)
        False -> Ok(value)
      }
    }
    syntax.Binary("or", left, right) -> {
      use value <- otp.try(evaluate(left, names))
      case values.truth(value) {
        True -> Ok(value)
        False -> evaluate(right, names)
      }
    }
    syntax.Binary(operator, left, right) -> {
      use left <- otp.try(evaluate(left, names))
      use right <- otp.try(evaluate(right, names))
      values.operate(operator, left, right)
    }
    syntax.Choice(condition, chosen, otherwise) -> {
      use value <- otp.try(evaluate(condition, names))
      case values.truth(value) {
        True -> evaluate(chosen, names)
        False -> evaluate(otherwise, names)
      }
    }
  }
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

fn or_one(step: Result(Int, Nil)) -> Int {
  case step {
    Ok(step) -> step
    Error(Nil) -> 1
  }
}

@external(erlang, "viva_tensor_template_ffi", "slice")
fn slice(
  values: List(Json),
  from: Result(Int, Nil),
  to: Result(Int, Nil),
  step: Int,
) -> List(Json)

@external(erlang, "viva_tensor_template_ffi", "slice")
fn slice_text(
  text: String,
  from: Result(Int, Nil),
  to: Result(Int, Nil),
  step: Int,
) -> String
