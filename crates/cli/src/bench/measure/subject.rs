//! What can be measured.

use crate::bench::protocol::{Ready, TextTimes};
use crate::error::Result;
use crate::profile::OpCost;

/// A loaded model.
pub(super) trait Measurable {
    /// What it is; the caller adds the time and memory of loading.
    fn ready(&self) -> Ready;

    /// Runs a batch once.
    ///
    /// # Errors
    /// A batch that the model cannot run.
    fn run(&mut self, rows: usize) -> Result<Run>;

    /// The time of each kind of step in a batch, the most expensive first.
    ///
    /// # Errors
    /// As [`Measurable::run`].
    fn steps(&mut self, rows: usize) -> Result<Vec<OpCost>>;

    /// The share of the time in which the GPU was busy; `None` on a processor.
    fn gpu_busy(&mut self, _rows: usize, _latency_ms: &[f64]) -> Option<f64> {
        None
    }
}

/// One run of a batch.
pub(super) struct Run {
    pub(super) latency_ms: f64,
    pub(super) texts: Option<TextTimes>,
}
