//! A request to a model, from its arrival until it is counted.

use crate::served::Served;
use crate::timing::Timing;
use std::sync::Arc;
use std::time::Instant;

/// One request to a model. If it is dropped without [`Attempt::succeed`], it counts as failed.
pub(crate) struct Attempt {
    served: Arc<Served>,
    start: Instant,
    is_over: bool,
}

impl Attempt {
    /// For a request that arrived at `start`.
    pub(crate) fn new(served: &Arc<Served>, start: Instant) -> Attempt {
        Attempt { served: Arc::clone(served), start, is_over: false }
    }

    pub(crate) fn succeed(mut self, timing: &Timing) {
        self.is_over = true;
        self.served.statistics().add_success(timing, self.start.elapsed(), self.served.has_cache());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.served.statistics().add_failure(self.start.elapsed());
        }
    }
}
