//! Messages to a prompt, through the checkpoint's own chat template.

use minijinja::{Environment, Value as Jinja, context};
use serde_json::Value;

use crate::{
    bounded::on_large_stack,
    checkpoint::Description,
    error::{Error, Result},
    tokenizer::Tokenizer,
};

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A checkpoint's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    variables: Jinja,
}

const MARK: char = '\u{FDD0}';
const FUEL: u64 = 10_000_000;

fn failed(error: minijinja::Error) -> Error {
    Error::Template { reason: format!("{error:#}") }
}

impl ChatTemplate {
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let variables = Jinja::from_pairs(tokenizer.named_tokens().iter().map(|(name, text)| (name.clone(), text.clone())));
        on_large_stack(|| {
            let mut environment = Environment::new();
            let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
            environment.set_syntax(syntax);
            environment.set_fuel(Some(FUEL));
            environment.set_recursion_limit(100);
            environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
            environment.add_function("raise_exception", |reason: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, reason))
            });
            environment.add_template_owned("chat", source.to_owned()).map_err(failed)?;
            Ok(ChatTemplate { environment, variables })
        })?
    }

    /// The template of a checkpoint, if it has one.
    pub fn from_checkpoint(description: &Description, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = match description {
            Description::Gguf(metadata) => metadata.str("tokenizer.chat_template"),
            Description::HuggingFace(files) => files.chat_template.as_deref().or_else(|| {
                let given = files.tokenizer_config.as_ref()?.get("chat_template")?;
                given.as_str().or_else(|| {
                    let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
                    given.as_array()?.iter().find(named)?.get("template")?.as_str()
                })
            }),
        };
        source.map(|source| Self::new(source, tokenizer)).transpose()
    }

    /// The prompt's text.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        on_large_stack(|| {
            let messages: Vec<Jinja> =
                messages.iter().map(|message| context! { role => message.role.clone(), content => message.content.clone() }).collect();
            let template = self.environment.get_template("chat").map_err(failed)?;
            let fixed = context! { messages, add_generation_prompt, tools => (), documents => () };
            template.render(context! { ..fixed, ..self.variables.clone() }).map_err(failed)
        })?
    }

    /// The prompt's ids. Content can't forge a control token.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>> {
        let broken: Vec<Message> = messages
            .iter()
            .map(|message| Message { role: message.role.clone(), content: tokenizer.broken(&message.content, MARK) })
            .collect();
        let marked = self.render(&broken, add_generation_prompt)?;
        let (mut text, mut content) = (String::new(), Vec::new());
        for character in marked.chars() {
            if character == MARK {
                content.push(text.len().saturating_sub(1)..text.len());
            } else {
                text.push(character);
            }
        }
        tokenizer.encode_provenance(&text, &content)
    }
}
