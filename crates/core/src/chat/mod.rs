//! Conversations as prompts: a model's chat template, as `apply_chat_template` of Hugging Face's library runs it.
//!
//! `files.rs` finds the template, `environment.rs` holds what templates may call, and `clock.rs` what they ask of the time.

mod clock;
mod environment;
mod files;
#[cfg(test)]
mod tests;

pub(crate) use files::{ChatFiles, read};

use crate::dialogue::check_text;
use crate::text::{Fence, Tokenizer};
use crate::{Error, Result};
use minijinja::{Environment, Value};
use std::collections::BTreeMap;
use std::time::Duration;

const NAME: &str = "chat template";

/// Stack for a chat template to run on. What a template puts into each other is dropped level by level, and a template's fuel pays for
/// some hundred thousand levels.
pub const CHAT_STACK_BYTES: usize = 512 << 20;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says how the model should answer.
    System,
    /// Asks.
    User,
    /// The model.
    Assistant,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A model's chat template, ready to run.
pub(crate) struct Chat {
    environment: Environment<'static>,
    /// `bos_token` and the like, which templates write by these names.
    tokens: BTreeMap<String, String>,
    /// Where it stands, for errors.
    place: String,
}

impl Role {
    /// Its name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

impl Chat {
    /// # Errors
    /// What is wrong with the template, with its line.
    pub(crate) fn new(files: ChatFiles) -> Result<Chat, String> {
        let ChatFiles { template, tokens, place } = files;
        let parse = || {
            let mut environment = environment::new()?;
            environment.add_template_owned(NAME, environment::without_generation(&template))?;
            Ok::<_, minijinja::Error>(environment)
        };
        let environment = parse().map_err(|error| format!("{place}: {}", told(&error)))?;
        Ok(Chat { environment, tokens, place })
    }

    /// The token that ends a turn of the model, as text, if its files name one.
    pub(crate) fn end_token(&self) -> Option<&str> {
        self.tokens.get("eos_token").map(String::as_str)
    }

    /// The ids of a conversation, up to where the model answers. What a message spells like a special token is text. `now` is the time since 1970.
    ///
    /// # Errors
    /// [`Error::ChatTemplate`], [`Error::LongField`] and [`Error::NulInField`].
    pub(crate) fn ids(&self, messages: &[Message], tokenizer: &Tokenizer, now: Duration) -> Result<Vec<u32>> {
        for message in messages {
            check_text("content", &message.content)?;
        }
        let mut fence = Fence::default();
        let fenced: Vec<Message> = messages
            .iter()
            .map(|message| Message { role: message.role, content: tokenizer.fence(&message.content, &mut fence) })
            .collect();
        let text = self.render(&fenced, now)?;
        tokenizer.ids_as_written(&fence.take_down(&tokenizer.mark(&text)))
    }

    /// The prompt as text.
    ///
    /// # Errors
    /// [`Error::ChatTemplate`].
    pub(crate) fn render(&self, messages: &[Message], now: Duration) -> Result<String> {
        let message = |message: &Message| {
            let pairs = [("role", message.role.name().to_owned()), ("content", message.content.clone())];
            Value::from_pairs(pairs)
        };
        let conversation = Value::from_iter(messages.iter().map(message));
        let own = [
            ("messages", conversation),
            ("add_generation_prompt", Value::from(true)),
            // As Hugging Face's library passes them where a conversation has none.
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("strftime_now", environment::clock(now)),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let context = Value::from_pairs(tokens.chain(own));
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| template.render(context));
        rendered.map_err(|error| Error::ChatTemplate(format!("{}: {}", self.place, told(&error))))
    }
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("place", &self.place).finish_non_exhaustive()
    }
}

/// An error of the template, with its line.
fn told(error: &minijinja::Error) -> String {
    let what = match error.detail() {
        _ if error.kind() == minijinja::ErrorKind::OutOfFuel => {
            "the template takes more time or memory than is allowed; change the template, or shorten the messages"
                .to_owned()
        }
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    error.line().map_or(what.clone(), |line| format!("line {line}: {what}"))
}
