//! A text as server-sent events: one for each piece, and a last one with the totals.
//!
//! ```text
//! data: {"text":"It "}
//!
//! data: {"text":"was fine."}
//!
//! data: {"done":true,"finish_reason":"stop","prompt_tokens":12,"generated_tokens":5,"model":"gpt2"}
//! ```
//!
//! All pieces together are the text. If the text breaks off, the last event has `error` and `status` instead.

use super::pieces::{Events, Wording};
use crate::problem::Problem;
use crate::scribe::Told;
use grice_core::generate::{Generated, TokenLog};
use serde_json::json;
use std::sync::Arc;

/// The words of `/v1/generate`.
pub(super) struct Own;

impl Wording for Own {
    fn piece(&mut self, _: usize, _: &Told, piece: &str, _: &[Arc<TokenLog>], events: &mut Events) {
        events.send(&json!({ "text": piece }));
    }

    fn end(&mut self, _: usize, told: &Told, generated: &Generated, events: &mut Events) {
        let mut totals = json!({
            "done": true,
            "finish_reason": generated.reason.name(),
            "prompt_tokens": told.prompt_tokens,
            "generated_tokens": generated.tokens.len(),
            "model": told.scribe.name(),
        });
        if let Some(seed) = told.options.seed {
            totals["seed"] = seed.into();
        }
        events.send(&totals);
    }

    fn break_off(&mut self, problem: &Problem, events: &mut Events) {
        events.send(&json!({ "error": problem.detail, "status": problem.status.as_u16() }));
    }
}
