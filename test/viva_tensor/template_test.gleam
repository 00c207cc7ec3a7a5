//// Chat templates on the BEAM beside Jinja: what is rendered is what Jinja
//// renders, and what is not known is an error.

import support
import viva_tensor/beam/template
import viva_tensor/json.{type Json}
import viva_tensor/otp

fn fixture(name: String) -> Json {
  let assert Ok(text) = otp.read_file("test/fixtures/templates/" <> name)
  let assert Ok(value) = json.decode(text)
  value
}

/// What a template can name.
fn names(golden: Json, messages: Json, prompt: Bool) -> List(#(String, Json)) {
  let assert json.Object(tokens) = support.field(golden, "names")
  [
    #("messages", messages),
    #("add_generation_prompt", json.Boolean(prompt)),
    ..tokens
  ]
}

/// Whether it was rendered; an error where Jinja has one, otherwise its text.
fn check(source: String, names: List(#(String, Json)), golden: Json) -> Bool {
  let assert json.Object(fields) = golden
  case template.render(template.parse(source), names) {
    Error(_) -> False
    Ok(text) -> {
      assert #(source, Ok(json.Text(text))) == #(source, otp.find(fields, "text"))
      True
    }
  }
}

pub fn snippets_test() {
  let golden = fixture("snippets.json")
  let names = names(golden, support.field(golden, "messages"), True)
  let rendered = {
    use snippet <- otp.filter(support.list(golden, "snippets"))
    check(support.text(snippet, "source"), names, snippet)
  }
  assert otp.length(rendered) > 150
}

@external(erlang, "viva_tensor_template_ffi", "strftime")
fn strftime(format: String, seconds: Int) -> String

/// As C has it: 2024-02-29 13:05:09 UTC, a Thursday.
pub fn dates_test() {
  let format = "%d %b %Y|%A, %B %-d|%Y-%m-%d %H:%M:%S|%I %p|%j|%e|%-m|%%|é"
  assert strftime(format, 1_709_211_909)
    == "29 Feb 2024|Thursday, February 29|2024-02-29 13:05:09|01 PM|060|29|2|%|é"
  assert strftime("%a %d %b %Y %I", 0) == "Thu 01 Jan 1970 12"
  assert strftime("%F %T %D %y", 4_102_444_799)
    == "2099-12-31 23:59:59 12/31/99 99"
}

pub fn chats_test() {
  let golden = fixture("chats.json")
  let templates = support.field(golden, "templates")
  let talks = support.list(golden, "talks")
  let rendered = {
    use chat <- otp.filter(support.list(golden, "cases"))
    let source = support.text(templates, support.text(chat, "template"))
    let assert json.Integer(place) = support.field(chat, "talk")
    let assert [messages, ..] = otp.drop(talks, place)
    let assert json.Boolean(prompt) =
      support.field(chat, "add_generation_prompt")
    check(source, names(golden, messages, prompt), chat)
  }
  assert otp.length(rendered) > 90
}
