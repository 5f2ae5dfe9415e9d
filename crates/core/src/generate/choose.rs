//! What both kinds of search use at a step, kept from step to step for its memory alone.

use super::adjust::{Seen, adjust};
use super::numbers::{Ranked, Top, index_of_largest, log_softmax};
use super::options::{DecodeOptions, Search};
use super::outcome::{DecodeError, TokenLog};
use super::sample::Weigher;
use std::sync::Arc;

/// Working memory. A clone has none of its own yet.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) seen: Seen,
    pub(super) top: Top,
    pub(super) logs: Logs,
    weigher: Weigher,
}

impl Clone for Desk {
    fn clone(&self) -> Desk {
        Desk::default()
    }
}

impl Desk {
    /// The token that follows a history with `made` new tokens, by its logits, which are overwritten.
    ///
    /// # Errors
    /// [`DecodeError::NothingAllowed`].
    pub(super) fn choose(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        made: usize,
        options: &DecodeOptions,
    ) -> Result<u32, DecodeError> {
        adjust(logits, history, made, options, &mut self.seen);
        let token = match (&options.search, options.seed) {
            (&Search::Sample { temperature, top_k, top_p }, Some(seed)) if temperature > 0.0 => {
                self.weigher.weigh(logits, temperature, top_k, top_p).draw(seed, made)
            }
            _ => index_of_largest(logits).map(|token| token as u32),
        };
        token.ok_or(DecodeError::NothingAllowed)
    }
}

/// The model's own log-probabilities of a step.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// `[rows, vocabulary]`.
    rows: Vec<f32>,
    top: Top,
}

impl Logs {
    /// Notes the log-probabilities of logits, one row of them.
    pub(super) fn note_logits(&mut self, logits: &[f32]) {
        self.note(logits);
        log_softmax(&mut self.rows);
    }

    /// Notes log-probabilities, of one row or more.
    pub(super) fn note(&mut self, rows: &[f32]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
    }

    /// What is to be told of a token that was chosen in a row.
    pub(super) fn entry(&mut self, row: usize, vocabulary: usize, token: u32, alternatives: usize) -> Arc<TokenLog> {
        let scores = self.rows.get(row * vocabulary..(row + 1) * vocabulary).unwrap_or_default();
        let log_probability = scores.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        self.top.begin(alternatives.min(vocabulary));
        self.top.show(scores, 0.0, 0);
        let best = self.top.ranked().iter().map(|&Ranked { value, at }| (at as u32, value));
        let mut alternatives: Vec<_> = best.collect();
        if alternatives.iter().all(|&(other, _)| other != token) {
            alternatives.push((token, log_probability));
        }
        Arc::new(TokenLog { token, log_probability, alternatives })
    }
}
