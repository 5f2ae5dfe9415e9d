//! Tasks of a model: a task turns its input into tokens, and the model's output into an answer. It runs nothing.

mod degenerate;
mod detect;
mod embed;
#[cfg(not(target_arch = "wasm32"))]
mod explain;
mod named;
mod pipeline;
#[cfg(test)]
mod tests;
mod trace;

pub use degenerate::{degeneration, word_f1};
pub(crate) use detect::note_of_length;
pub use detect::{Detect, DetectNotes};
pub use embed::{Embed, EmbedNotes, Vector};
#[cfg(not(target_arch = "wasm32"))]
pub use explain::{EXPLAIN_RUNS, Explain, Explanation, Field, MOST_WORDS, MovingWord};
pub use named::NamedViolations;
pub use pipeline::{Draft, Kind, Next as PipelineNext, Pipeline, Skill, Skills};
pub use trace::{Outcome, StepKind, TraceStep};

use crate::Result;
use std::sync::Arc;

/// The code before and after the engine. It has no mutable state, so threads can share it.
pub trait Task {
    /// The input.
    type Ask;
    /// The answer.
    type Answer;
    /// Notes on the input that [`Task::read`] needs.
    type Notes;

    /// Turns an input into tokens.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`] for an invalid input.
    fn prepare(&self, ask: &Self::Ask) -> Result<Prepared<Self::Notes>>;

    /// The answer for one row of logits.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadModel`] for invalid logits.
    fn read(&self, notes: &Self::Notes, logits: &[f32]) -> Result<Self::Answer>;
}

/// An input that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared<N> {
    /// Token ids, special tokens included.
    pub ids: Arc<[u32]>,
    /// For [`Task::read`].
    pub notes: N,
}
