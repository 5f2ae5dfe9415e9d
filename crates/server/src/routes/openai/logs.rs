//! Log-probabilities of tokens with their texts, in the forms of chats and of completions.

use super::form::Form;
use crate::scribe::Told;
use grice_core::generate::TokenLog;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Tokens before one that its text may depend on: a space, and the bytes of a character.
const CONTEXT: usize = 8;
/// JSON has no infinity; OpenAI's interface says this instead.
const LEAST: f32 = -9999.0;

/// What was spelled of a text so far.
#[derive(Debug, Default)]
pub(super) struct Spelled {
    /// The last tokens.
    before: Vec<u32>,
    /// Characters.
    offset: usize,
}

impl Spelled {
    /// The next tokens, with so many alternatives each.
    pub(super) fn json(&mut self, form: Form, told: &Told, logs: &[Arc<TokenLog>], alternatives: usize) -> Value {
        match form {
            Form::Chat => {
                let entries: Vec<Value> = logs.iter().map(|log| self.chat_entry(told, log, alternatives)).collect();
                json!({ "content": entries, "refusal": null })
            }
            Form::Completion => self.lists(told, logs, alternatives),
        }
    }

    fn chat_entry(&mut self, told: &Told, log: &TokenLog, alternatives: usize) -> Value {
        let entry = |token: u32, log_probability: f32| {
            let text = self.text(told, token);
            let bytes = if text.contains('\u{FFFD}') { Value::Null } else { json!(text.as_bytes()) };
            json!({ "token": text, "logprob": log_probability.max(LEAST), "bytes": bytes })
        };
        let mut told_entry = entry(log.token, log.log_probability);
        let top = log.alternatives.iter().take(alternatives).map(|&(token, value)| entry(token, value));
        told_entry["top_logprobs"] = top.collect();
        self.go_on(told, log.token);
        told_entry
    }

    fn lists(&mut self, told: &Told, logs: &[Arc<TokenLog>], alternatives: usize) -> Value {
        let (mut tokens, mut values, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for log in logs {
            tokens.push(self.text(told, log.token));
            values.push(log.log_probability.max(LEAST));
            offsets.push(self.offset);
            // The token itself comes last if it is none of the best.
            let top = log.alternatives.iter().filter(|_| alternatives > 0);
            let top = top.map(|&(token, value)| (self.text(told, token), value.max(LEAST).into()));
            tops.push(Value::Object(top.collect::<Map<String, Value>>()));
            self.go_on(told, log.token);
        }
        let tops = if alternatives > 0 { json!(tops) } else { Value::Null };
        json!({ "tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets })
    }

    /// The text of a token where it stands.
    fn text(&self, told: &Told, token: u32) -> String {
        let mut tokens = self.before.clone();
        let before = told.spell(&tokens);
        tokens.push(token);
        let with = told.spell(&tokens);
        with.strip_prefix(before.as_str()).map_or_else(|| told.spell(&[token]), str::to_owned)
    }

    fn go_on(&mut self, told: &Told, token: u32) {
        self.offset += self.text(told, token).chars().count();
        self.before.push(token);
        if self.before.len() > CONTEXT {
            self.before.remove(0);
        }
    }
}
