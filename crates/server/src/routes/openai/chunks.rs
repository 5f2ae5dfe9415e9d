//! Answers in chunks: for each text of a chat its role; pieces; a chunk with the reason of the end; the number of tokens, if asked; `[DONE]`.

use super::super::pieces::{Events, Wording};
use super::answer::{Head, Usage};
use super::form::Form;
use super::logs::Spelled;
use super::refusal;
use crate::problem::Problem;
use crate::scribe::Told;
use grice_core::generate::{Generated, TokenLog};
use serde_json::{Value, json};
use std::sync::Arc;

/// The words of a stream.
pub(super) struct Chunks {
    head: Head,
    usage: Usage,
    tells_usage: bool,
    alternatives: Option<usize>,
    /// What was spelled of each text.
    spelled: Vec<Spelled>,
}

impl Chunks {
    pub(super) fn new(head: Head, usage: Usage, tells_usage: bool, alternatives: Option<usize>) -> Chunks {
        Chunks { head, usage, tells_usage, alternatives, spelled: Vec::new() }
    }

    fn send(&self, choices: Vec<Value>, events: &mut Events) {
        // Where the usage comes at the end, the other chunks have none.
        let usage = self.tells_usage.then_some(Value::Null);
        events.send(&self.head.chunk(choices, usage));
    }

    fn send_choice(&self, index: usize, said: Value, logs: Value, reason: Option<&str>, events: &mut Events) {
        let name = if self.head.form == Form::Chat { "delta" } else { "text" };
        self.send(vec![json!({ "index": index, name: said, "logprobs": logs, "finish_reason": reason })], events);
    }
}

impl Wording for Chunks {
    fn begin(&mut self, place: usize, _: &Told, events: &mut Events) {
        self.spelled.push(Spelled::default());
        if self.head.form == Form::Chat {
            self.send_choice(place, json!({ "role": "assistant", "content": "" }), Value::Null, None, events);
        }
    }

    fn piece(&mut self, place: usize, told: &Told, piece: &str, logs: &[Arc<TokenLog>], events: &mut Events) {
        let form = self.head.form;
        let logs = match (self.alternatives, self.spelled.get_mut(place)) {
            (Some(alternatives), Some(spelled)) if !logs.is_empty() => spelled.json(form, told, logs, alternatives),
            _ => Value::Null,
        };
        let said = if form == Form::Chat { json!({ "content": piece }) } else { piece.into() };
        self.send_choice(place, said, logs, None, events);
    }

    fn end(&mut self, place: usize, _: &Told, generated: &Generated, events: &mut Events) {
        self.usage.add(generated);
        let said = if self.head.form == Form::Chat { json!({}) } else { "".into() };
        self.send_choice(place, said, Value::Null, Some(generated.reason.name()), events);
    }

    fn close(&mut self, events: &mut Events) {
        if self.tells_usage {
            events.send(&self.head.chunk(Vec::new(), Some(self.usage.json())));
        }
        events.send_text("data: [DONE]\n\n");
    }

    fn break_off(&mut self, problem: &Problem, events: &mut Events) {
        events.send(&refusal::of(problem));
    }
}
