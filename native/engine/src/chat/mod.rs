//! Messages to a prompt, through the checkpoint's own chat template.
//!
//! A template is parsed once (`lexer`, `parser`) and rendered by our own renderer of the Jinja that chat templates
//! are written in, with Python's values and methods as transformers has them. What it renders knows of each character
//! whether a message brought it, so `encode` lets control tokens come from the template alone. The surprise: the
//! renderer is ours because of that, and because a template may not use up the host: each step, byte and level of
//! nesting is counted.

mod arguments;
mod ast;
mod expression;
mod filters;
mod functions;
mod json;
mod lexer;
mod meter;
mod methods;
mod parser;
mod predicates;
mod render;
mod strings;
mod text;
mod value;

use std::{collections::BTreeMap, ops::Range};

use serde_json::Value as Json;

use self::{text::Text, value::Value};
use crate::{
    bounded::on_large_stack,
    checkpoint::Description,
    error::{Error, Result},
    tokenizer::Tokenizer,
};

/// A template that anybody wrote is shorter.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A checkpoint's chat template, parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    body: Vec<ast::Statement>,
    /// The special tokens that a template may name: "bos_token", "eos_token", ...
    named: BTreeMap<String, String>,
}

/// A prompt's text, and the byte ranges of it that came from messages.
struct Rendered {
    text: String,
    content: Vec<Range<usize>>,
}

fn failed(reason: String) -> Error {
    Error::Template { reason }
}

impl ChatTemplate {
    /// Parses a template for a model with this tokenizer.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(failed(format!("it is {} bytes long; at most {MAX_SOURCE_BYTES} are read", source.len())));
        }
        let body = on_large_stack(|| parser::parse(source))?.map_err(failed)?;
        Ok(ChatTemplate { body, named: tokenizer.named_tokens().clone() })
    }

    /// The template of a checkpoint, if it has one.
    pub fn from_checkpoint(description: &Description, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = match description {
            Description::Gguf(metadata) => metadata.str("tokenizer.chat_template"),
            Description::HuggingFace(files) => files.chat_template.as_deref().or_else(|| {
                let given = files.tokenizer_config.as_ref()?.get("chat_template")?;
                given.as_str().or_else(|| {
                    let default = |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
                    given.as_array()?.iter().find(default)?.get("template")?.as_str()
                })
            }),
        };
        source.map(|source| Self::new(source, tokenizer)).transpose()
    }

    /// The prompt's text, as transformers' `apply_chat_template(tokenize=False)`.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.rendered(messages, add_generation_prompt).map(|rendered| rendered.text)
    }

    /// The prompt's ids. Only what the template wrote can be a control token: the text of one in a message stays
    /// text, and takes no part in one. No BOS is added to what the template says.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>> {
        self.encode_within(usize::MAX, tokenizer, messages, add_generation_prompt)
    }

    /// The same, but a text that cannot fit into so many tokens is refused before work is spent on it.
    pub fn encode_within(
        &self,
        limit_tokens: usize,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>> {
        let Rendered { text, content } = self.rendered(messages, add_generation_prompt)?;
        tokenizer.check_fits(&text, limit_tokens)?;
        tokenizer.encode_provenance(&text, &content)
    }

    fn rendered(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Rendered> {
        on_large_stack(|| {
            meter::start();
            let rendered = names(&self.named, messages, add_generation_prompt)
                .and_then(|names| render::render(&self.body, names))
                .map_err(failed)?;
            let (text, content) = (rendered.as_str().to_owned(), rendered.content_ranges().to_vec());
            Ok(Rendered { text, content })
        })?
    }
}

/// What a template can name, as transformers gives it.
fn names<'t>(
    named: &BTreeMap<String, String>,
    messages: &[Message],
    add_generation_prompt: bool,
) -> value::Outcome<Vec<(String, Value<'t>)>> {
    let mut list = Vec::with_capacity(messages.len());
    for message in messages {
        list.push(Value::dict(vec![
            (Value::own("role"), Value::Text(role(&message.role))),
            (Value::own("content"), Value::Text(Text::content(&message.content))),
        ])?);
    }
    let mut names = vec![
        ("messages".to_owned(), Value::list(list)?),
        ("tools".to_owned(), Value::None),
        ("documents".to_owned(), Value::None),
        ("add_generation_prompt".to_owned(), Value::Bool(add_generation_prompt)),
    ];
    names.extend(named.iter().map(|(name, text)| (name.clone(), Value::own(text.as_str()))));
    Ok(names)
}

/// A plain word may become part of a control token, templates spell "<|" + role + "|>"; anything else is content.
fn role(role: &str) -> Text {
    let plain = |character: char| character.is_alphanumeric() || "_-. ".contains(character);
    if role.chars().all(plain) { Text::own(role) } else { Text::content(role) }
}

impl Drop for ChatTemplate {
    fn drop(&mut self) {
        // A tree may nest deeper than the caller's stack is.
        let body = std::mem::take(&mut self.body);
        let _ = on_large_stack(move || drop(body));
    }
}
