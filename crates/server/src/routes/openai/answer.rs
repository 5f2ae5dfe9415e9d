//! Answers of chats and completions, whole and in chunks.

use super::super::pieces::said_logs;
use super::form::Form;
use super::logs::Spelled;
use crate::ids::answer_id;
use crate::scribe::Told;
use grice_core::generate::Generated;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What all chunks of an answer share.
pub(super) struct Head {
    pub(super) form: Form,
    id: String,
    created: u64,
    model: String,
}

/// Tokens of prompts and of texts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    prompt: usize,
    completion: usize,
}

impl Head {
    pub(super) fn new(form: Form, model: &str) -> Head {
        let id = answer_id(if form == Form::Chat { "chatcmpl-" } else { "cmpl-" });
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Head { form, id, created, model: model.to_owned() }
    }

    /// The whole answer.
    pub(super) fn whole(&self, choices: Vec<Value>, usage: Usage) -> Value {
        let object = if self.form == Form::Chat { "chat.completion" } else { "text_completion" };
        self.with(object, choices, Some(usage.json()))
    }

    /// A chunk; `usage` is left out if `None`.
    pub(super) fn chunk(&self, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let object = if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" };
        self.with(object, choices, usage)
    }

    fn with(&self, object: &str, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut answer = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            answer["usage"] = usage;
        }
        answer
    }
}

impl Usage {
    pub(super) fn of(prompt: usize) -> Usage {
        Usage { prompt, completion: 0 }
    }

    pub(super) fn add(&mut self, generated: &Generated) {
        self.completion += generated.tokens.len();
    }

    pub(super) fn json(self) -> Value {
        let Usage { prompt, completion } = self;
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }
}

/// A text of a whole answer.
pub(super) fn whole_choice(
    form: Form,
    index: usize,
    told: &Told,
    generated: &Generated,
    alternatives: Option<usize>,
) -> Value {
    let (text, reason) = (told.text(generated), generated.reason.name());
    let logs = alternatives.map_or(Value::Null, |alternatives| {
        Spelled::default().json(form, told, said_logs(&generated.log_probabilities, told), alternatives)
    });
    match form {
        Form::Chat => json!({
            "index": index,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": logs,
            "finish_reason": reason,
        }),
        Form::Completion => json!({ "index": index, "text": text, "logprobs": logs, "finish_reason": reason }),
    }
}
