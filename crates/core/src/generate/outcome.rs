//! What goes in and out of a decoding: the start, what the engine is to run, and what came of it.

use std::sync::Arc;

/// Where a sequence begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The decoder's first tokens: the prompt, or an encoder–decoder's start token. At least one.
    pub prompt: Arc<[u32]>,
    /// The encoder's tokens, from which drafts are guessed.
    pub source: Option<Arc<[u32]>>,
    /// Logits a row.
    pub vocabulary: usize,
}

/// What the engine is to run next for one hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want<'a> {
    /// Which of the previous wants it continues, by its keys and values; without meaning if `kept` is 0.
    pub parent: usize,
    /// The tokens to run, at least one; they stand at the positions from `kept` on.
    pub tokens: &'a [u32],
    /// How many tokens of the parent's keys and values are kept. What the parent ran beyond them was refused, and is dropped.
    pub kept: usize,
}

impl Want<'_> {
    /// How many rows of logits it asks for: those of its last tokens. One for a sequence from its start, else one a token.
    pub fn asked(&self) -> usize {
        if self.kept == 0 { 1 } else { self.tokens.len() }
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// Its last token is a stop token.
    StopToken,
    /// Its text holds a stop string.
    StopString,
    /// It has `max_new_tokens`.
    Length,
}

impl Finish {
    /// As OpenAI's interface names it: `stop` or `length`.
    pub fn name(self) -> &'static str {
        match self {
            Finish::StopToken | Finish::StopString => "stop",
            Finish::Length => "length",
        }
    }
}

/// How probable a token was by the model alone, before penalties, bans and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLog {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability.
    pub log_probability: f32,
    /// The most probable tokens, as many as asked, the best first; then the token itself if it is not among them.
    pub alternatives: Vec<(u32, f32)>,
}

/// A sequence that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Its tokens without the prompt; the stop token, if it ended with one, is the last.
    pub tokens: Vec<u32>,
    /// Of a beam: the sum of its adjusted log-probabilities, divided by the length penalty. Else the sum of the model's
    /// log-probabilities, or 0 where `log_probabilities` is off.
    pub score: f32,
    /// Why it ended.
    pub reason: Finish,
    /// One entry a token, where `log_probabilities` is on.
    pub log_probabilities: Vec<Arc<TokenLog>>,
}

/// What a step led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// There are new wants.
    More,
    /// The sequences, the best first.
    Done(Vec<Generated>),
}

/// Why a step could not be taken. The decoding is over then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are more or fewer logits than the wants asked for.
    #[error("there are {found} logits, but {expected} were asked for")]
    Shape {
        /// Rows asked · vocabulary.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// The model broke.
    #[error("the model answered a logit that is not a finite number, at token {token} of row {row}")]
    NotFinite {
        /// Which row.
        row: usize,
        /// Which token's logit.
        token: usize,
    },
    /// Bans, and the n-grams that may not come again, leave no token.
    #[error("the options forbid every token; allow some of `banned`, or raise `no_repeat_ngram`")]
    NothingAllowed,
    /// The sequence has ended before.
    #[error("the sequence has ended; nothing was asked for")]
    Finished,
}
