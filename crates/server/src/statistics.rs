//! Statistics of a model since it was loaded, for the statistics extension of the Open Inference Protocol.

use crate::inferred::Cached;
use crate::timing::Timing;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Count and total time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

/// A snapshot of a model's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Time of the last request, in milliseconds since 1970; 0 before the first.
    pub(crate) last_inference_ms: u64,
    /// Turns of successful requests that were not in the cache.
    pub(crate) inferences: u64,
    /// Number of batches.
    pub(crate) executions: u64,
    pub(crate) success: Sum,
    pub(crate) fail: Sum,
    pub(crate) queue: Sum,
    pub(crate) compute_input: Sum,
    pub(crate) compute_infer: Sum,
    pub(crate) compute_output: Sum,
    pub(crate) cache_hit: Sum,
    pub(crate) cache_miss: Sum,
    /// By the number of turns in a batch.
    pub(crate) batches: BTreeMap<u64, BatchCounts>,
}

/// Counts of the batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchCounts {
    pub(crate) input: Sum,
    pub(crate) infer: Sum,
    pub(crate) output: Sum,
}

/// Counters for many threads.
#[derive(Default)]
pub(crate) struct Statistics(Mutex<Counts>);

impl Sum {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Statistics {
    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Counts one batch, with the times to form it, to run it, and to deliver its logits.
    pub(crate) fn add_batch(&self, rows: usize, input: Duration, infer: Duration, output: Duration) {
        let mut counts = self.lock();
        counts.executions += 1;
        let batches = counts.batches.entry(rows as u64).or_default();
        batches.input.add(input);
        batches.infer.add(infer);
        batches.output.add(output);
    }

    pub(crate) fn add_success(&self, timing: &Timing, took: Duration, has_cache: bool) {
        let mut counts = self.lock();
        counts.last_inference_ms = now_ms();
        counts.inferences += timing.rows_run;
        counts.success.add(took);
        counts.queue.add(timing.queue);
        match timing.cached {
            Some(Cached::Hit) => counts.cache_hit.add(timing.lookup),
            Some(Cached::Miss | Cached::Coalesced) if has_cache => counts.cache_miss.add(timing.lookup),
            _ => {}
        }
        if timing.rows_run > 0 {
            counts.compute_input.add(timing.tokenize);
            counts.compute_infer.add(timing.infer);
            counts.compute_output.add(timing.output);
        }
    }

    pub(crate) fn add_failure(&self, took: Duration) {
        let mut counts = self.lock();
        counts.last_inference_ms = now_ms();
        counts.fail.add(took);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the wall clock; 0 before 1970.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
