//! One sequence, greedy or sampled, with drafts or without.

use super::choose::Desk;
use super::draft::guess;
use super::numbers::check_finite;
use super::options::DecodeOptions;
use super::outcome::{DecodeError, Finish, Generated, Start, TokenLog, Want};
use super::stops::Watch;
use std::sync::Arc;

/// A sequence that grows by the token that is chosen for it.
#[derive(Clone, Debug)]
pub(super) struct Single {
    /// The prompt, the new tokens, and guesses that the engine is to check.
    tokens: Vec<u32>,
    prompt: usize,
    /// How many of them are no guesses.
    certain: usize,
    kept: usize,
    watch: Watch,
    logs: Vec<Arc<TokenLog>>,
    log_probability: f64,
    end: Option<Finish>,
}

impl Single {
    /// A sequence that is its prompt and some new tokens.
    pub(super) fn new(start: &Start, new: &[u32], mut watch: Watch, options: &DecodeOptions) -> Single {
        let tokens = [&start.prompt, new].concat();
        let mut end = None;
        for (at, &token) in new.iter().enumerate() {
            end = watch.end(token, at + 1, options);
        }
        let certain = tokens.len();
        Single {
            prompt: start.prompt.len(),
            certain,
            kept: 0,
            tokens,
            watch,
            logs: Vec::new(),
            log_probability: 0.0,
            end,
        }
    }

    pub(super) fn want(&self) -> Want<'_> {
        Want { parent: 0, tokens: &self.tokens[self.kept..], kept: self.kept }
    }

    /// The new tokens, without guesses.
    pub(super) fn made(&self) -> &[u32] {
        &self.tokens[self.prompt..self.certain]
    }

    pub(super) fn logs(&self) -> &[Arc<TokenLog>] {
        &self.logs
    }

    /// The sequence, if it has ended.
    pub(super) fn ended(&self) -> Option<Generated> {
        let reason = self.end?;
        let (tokens, score) = (self.made().to_vec(), self.log_probability as f32);
        Some(Generated { tokens, score, reason, log_probabilities: self.logs.clone() })
    }

    /// Wants everything to be run again, without guesses.
    pub(super) fn refill(&mut self) {
        self.tokens.truncate(self.certain);
        self.kept = 0;
    }

    /// Takes the rows that it wanted, `[asked, vocabulary]`.
    pub(super) fn advance(
        &mut self,
        logits: &mut [f32],
        start: &Start,
        options: &DecodeOptions,
        desk: &mut Desk,
    ) -> Result<(), DecodeError> {
        for (row, scores) in logits.chunks_exact_mut(start.vocabulary).enumerate() {
            check_finite(scores, row)?;
            let was_guessed = self.take(scores, options, desk)?;
            if !was_guessed || self.end.is_some() {
                break;
            }
        }
        self.tokens.truncate(self.certain);
        self.kept = self.certain - 1;
        if self.end.is_none() {
            let left = options.max_new_tokens.saturating_sub(self.made().len() + 1);
            guess(&mut self.tokens, start.source.as_deref().unwrap_or_default(), options.draft.min(left));
        }
        Ok(())
    }

    /// Takes one row: the next token becomes certain. Whether it was guessed.
    fn take(&mut self, scores: &mut [f32], options: &DecodeOptions, desk: &mut Desk) -> Result<bool, DecodeError> {
        if options.log_probabilities.is_some() {
            desk.logs.note_logits(scores);
        }
        let made = self.certain - self.prompt;
        let token = desk.choose(scores, &self.tokens[..self.certain], made, options)?;
        if let Some(alternatives) = options.log_probabilities {
            let entry = desk.logs.entry(0, scores.len(), token, alternatives);
            self.log_probability += f64::from(entry.log_probability);
            self.logs.push(entry);
        }
        let was_guessed = self.tokens.get(self.certain) == Some(&token);
        if !was_guessed {
            self.tokens.truncate(self.certain);
            self.tokens.push(token);
        }
        self.certain += 1;
        self.end = self.watch.end(token, made + 1, options);
        Ok(was_guessed)
    }
}
