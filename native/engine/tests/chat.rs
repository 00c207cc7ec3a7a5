//! Chat templates against transformers' own output for the nine tiny checkpoints.

use std::{fs, path::PathBuf};

use serde_json::Value;
use viva_tensor_engine::{
    chat::{ChatTemplate, Message},
    checkpoint::Checkpoint,
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
