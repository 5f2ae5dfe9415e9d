//! What is asked of a model: an ask becomes tokens, and what the model made of them becomes an answer. A task runs nothing.

mod detect;

pub(crate) use detect::note_of_length;
pub use detect::{Detect, DetectNotes};

use crate::Result;
use std::sync::Arc;

/// The two ends of a model, on either side of its engine. Changes nothing in itself, so any number of threads may share one.
pub trait Task {
    /// What is asked.
    type Ask;
    /// What is answered.
    type Answer;
    /// What reading the model's outcome must know of the ask.
    type Notes;

    /// The tokens of an ask, as the model reads them.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadInput`] for what cannot be asked.
    fn prepare(&self, ask: &Self::Ask) -> Result<Prepared<Self::Notes>>;

    /// The answer in one row of logits.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadModel`] for logits that say nothing.
    fn read(&self, notes: &Self::Notes, logits: &[f32]) -> Result<Self::Answer>;
}

/// An ask that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared<N> {
    /// Token ids, special tokens included.
    pub ids: Arc<[u32]>,
    /// For [`Task::read`].
    pub notes: N,
}
