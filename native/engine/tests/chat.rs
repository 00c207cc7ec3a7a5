//! Chat templates against transformers' own output for the nine tiny checkpoints.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use viva_tensor_engine::{
    chat::{ChatTemplate, Message},
    checkpoint::{Checkpoint, Description, HuggingFace},
    error::Error,
    tokenizer::Tokenizer,
};

const TINY: [&str; 9] =
    ["gemma3", "llama", "llama2-sharded-f16", "llama3", "mistral", "phi2", "phi3", "qwen2", "qwen3"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny").join(name)
}

fn open(name: &str) -> (Tokenizer, Option<ChatTemplate>) {
    let description = Checkpoint::open(&folder(name)).unwrap().description;
    let tokenizer = Tokenizer::from_checkpoint(&description).unwrap();
    let template = ChatTemplate::from_checkpoint(&description, &tokenizer).unwrap();
    (tokenizer, template)
}

fn messages(value: &Value) -> Vec<Message> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = value.as_array().unwrap().iter();
    list.map(|message| Message { role: text(&message["role"]), content: text(&message["content"]) }).collect()
}

#[test]
fn tiny_checkpoints_render_as_transformers_does() {
    for name in TINY {
        let (tokenizer, template) = open(name);
        let template = template.unwrap();
        let golden: Value = serde_json::from_slice(&fs::read(folder(name).join("golden.json")).unwrap()).unwrap();
        for case in golden["chat"].as_array().unwrap() {
            let messages = messages(&case["messages"]);
            let rendered = template.render(&messages, true).unwrap();
            assert_eq!(rendered, case["text"].as_str().unwrap(), "{name}");
            // Honest content: the same ids as for the rendered text.
            let ids = template.encode(&tokenizer, &messages, true).unwrap();
            assert_eq!(ids, tokenizer.encode(&rendered, false).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_recursive_macro_is_a_template_error() {
    let (tokenizer, _) = open("llama");
    let source = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}";
    let rendered = ChatTemplate::new(source, &tokenizer).and_then(|template| template.render(&[], false));
    assert!(matches!(rendered, Err(Error::Template { .. })), "{rendered:?}");
}

/// A config may name several templates; without a file of its own the one called default counts.
#[test]
fn the_default_template_of_several_is_taken() {
    let (tokenizer, _) = open("llama");
    let rendered = |config: Value, file: Option<&str>| {
        let files = HuggingFace {
            tokenizer_config: Some(config),
            chat_template: file.map(str::to_owned),
            ..HuggingFace::default()
        };
        let template = ChatTemplate::from_checkpoint(&Description::HuggingFace(files), &tokenizer).unwrap();
        template.map(|template| template.render(&[], false).unwrap())
    };
    let named = |name: &str, template: &str| json!({"name": name, "template": template});
    let several =
        json!({"chat_template": [named("tool_use", "tools"), named("default", "plain"), named("rag", "docs")]});
    assert_eq!(rendered(several.clone(), None).as_deref(), Some("plain"));
    assert_eq!(rendered(several, Some("file")).as_deref(), Some("file"));
    assert_eq!(rendered(json!({"chat_template": "only"}), None).as_deref(), Some("only"));
    assert_eq!(rendered(json!({"chat_template": [named("tool_use", "tools")]}), None), None);
    assert_eq!(rendered(json!({}), None), None);
}

fn fixture(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/templates").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A tokenizer that names the tokens which the template goldens were made with.
fn naming(names: &Value) -> Tokenizer {
    let file = fs::read(folder("llama2-sharded-f16").join("tokenizer.json")).unwrap();
    Tokenizer::from_huggingface(&file, Some(names)).unwrap()
}

fn render(source: &str, tokenizer: &Tokenizer, messages: &[Message], prompt: bool) -> Result<String, Error> {
    ChatTemplate::new(source, tokenizer)?.render(messages, prompt)
}

/// Renders a golden case: the same text, or a template error where transformers raises one.
fn check(case: &Value, source: &str, tokenizer: &Tokenizer, messages: &[Message], prompt: bool) -> Option<String> {
    let got = render(source, tokenizer, messages, prompt);
    match (&got, case.get("text").and_then(Value::as_str)) {
        (Ok(got), Some(wanted)) if got == wanted => None,
        (Err(Error::Template { .. }), None) => None,
        _ => Some(format!("{source}\n   got {got:?}\nwanted {case}")),
    }
}

#[test]
fn snippets_render_as_jinja_does() {
    let golden = fixture("snippets.json");
    let tokenizer = naming(&golden["names"]);
    let messages = messages(&golden["messages"]);
    let snippets = golden["snippets"].as_array().unwrap();
    assert!(snippets.len() > 400);
    let wrong: Vec<String> = snippets
        .iter()
        .filter_map(|case| check(case, case["source"].as_str().unwrap(), &tokenizer, &messages, true))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), snippets.len(), wrong.join("\n"));
}

#[test]
fn chats_of_every_shape_render_as_transformers_does() {
    let golden = fixture("chats.json");
    let tokenizer = naming(&golden["names"]);
    for case in golden["cases"].as_array().unwrap() {
        let source = golden["templates"][case["template"].as_str().unwrap()].as_str().unwrap();
        let messages = messages(&golden["talks"][case["talk"].as_u64().unwrap() as usize]);
        let prompt = case["add_generation_prompt"].as_bool().unwrap();
        assert_eq!(check(case, source, &tokenizer, &messages, prompt), None, "{}", case["template"]);
    }
}
