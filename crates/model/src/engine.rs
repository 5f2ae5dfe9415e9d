//! What every engine can do.

use crate::{Batch, Logits, Precision};
use std::sync::Arc;

/// Runs packed batches through one network.
pub trait Engine {
    /// Logits `[batch.rows(), labels]`, in the order of the batch's rows. The answer for a sequence does not depend, beyond
    /// rounding, on what else is in the batch.
    ///
    /// # Errors
    /// [`EngineError`], naming the id or node at fault. The engine stays usable, except after [`EngineError::DeviceLost`] and [`EngineError::Panicked`].
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError>;

    /// What the engine is and runs on.
    fn info(&self) -> EngineInfo;

    /// From now on the engine calls this between its steps, where it has steps on the processor, so that a long batch can make way for
    /// other work. By default it does not.
    fn set_between_steps(&mut self, between: BetweenSteps) {
        drop(between);
    }
}

/// What an engine calls between two steps of a run, on the thread that runs it. It may block.
pub type BetweenSteps = Arc<dyn Fn() + Send + Sync>;

/// What an engine is and runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// `"cpu"` or `"gpu"`.
    pub device: &'static str,
    /// The precision of the weights in the file that it runs.
    pub precision: Precision,
    /// How many threads it may use.
    pub threads: usize,
    /// What computes: the instruction set of the fused kernels, or the library that runs a graph that did not fuse.
    pub kernels: &'static str,
}

/// What can go wrong when a batch is run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A token id that the model has no embedding for.
    #[error("token id {id} has no row in the model's embedding of {rows} rows; tokenizer and model do not fit")]
    TokenId {
        /// The id.
        id: u32,
        /// How many rows the embedding has.
        rows: usize,
    },
    /// A sequence is longer than the model has positions for.
    #[error("a sequence of {tokens} tokens is longer than the {positions} positions that the model has rows for")]
    Positions {
        /// Tokens in the sequence.
        tokens: usize,
        /// Positions in the table.
        positions: usize,
    },
    /// The engine could not be built for this network.
    #[error("the model cannot be planned: {0}")]
    Plan(String),
    /// A node failed.
    #[error("the model failed to run: {0}")]
    Run(String),
    /// It panicked, in an operator or a kernel; the engine must be built again.
    #[error("the model failed to run: an operator gave up")]
    Panicked,
    /// The device went away, or its driver gave up; the engine must be built again.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
}
