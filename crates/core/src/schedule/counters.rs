//! Counters of the schedule.

use super::{Pushed, Rejection};

/// A snapshot. Fields that end in `_total` only grow; the others are current values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sequences that wait for a run, and texts that wait for pages.
    pub queue_rows: usize,
    /// Their tokens, of texts those of the prompt.
    pub queue_tokens: usize,
    /// Requests without an answer: waiting, running, or sharing.
    pub requests_pending: usize,
    /// Batches that run.
    pub running_batches: usize,
    /// Sequences in them.
    pub running_rows: usize,
    /// Texts that have pages.
    pub running_courses: usize,
    /// Pages of all engines.
    pub pages: usize,
    /// Pages that hold keys and values.
    pub pages_used: usize,
    /// Pages that running texts may come to use.
    pub pages_reserved: usize,
    /// Bytes that the cache holds.
    pub cache_bytes: u64,
    /// Rows of logits and texts that it holds.
    pub cache_entries: usize,
    /// Requests that were not rejected by [`super::Schedule::push`], answered by the cache or not.
    pub accepted_total: u64,
    /// Accepted requests that were answered with logits, from the cache or from a run.
    pub answered_total: u64,
    /// Accepted requests whose engine failed.
    pub failed_total: u64,
    /// Accepted requests whose deadline passed.
    pub expired_total: u64,
    /// Accepted requests that their owner cancelled.
    pub cancelled_total: u64,
    /// Accepted requests rejected by [`super::Schedule::abort`].
    pub aborted_total: u64,
    /// Pushes rejected because the queue was full.
    pub rejected_queue_full_total: u64,
    /// Pushes rejected because the schedule is being drained.
    pub rejected_shutting_down_total: u64,
    /// Pushes rejected because their deadline had passed.
    pub rejected_deadline_total: u64,
    /// Pushes rejected because they held no tokens.
    pub rejected_empty_total: u64,
    /// Cache hits.
    pub cache_hits_total: u64,
    /// Cache misses.
    pub cache_misses_total: u64,
    /// Rows evicted to make room.
    pub cache_evictions_total: u64,
    /// Requests that joined an identical one.
    pub coalesced_total: u64,
    /// Batches begun.
    pub batches_total: u64,
    /// Sequences in them.
    pub batch_rows_total: u64,
    /// Tokens in them.
    pub batch_tokens_total: u64,
    /// Tokens in them had they been padded to their longest sequences.
    pub batch_tokens_padded_total: u64,
    /// Pushes rejected because no engine can ever write their text.
    pub rejected_refused_total: u64,
    /// Passes of courses begun.
    pub passes_total: u64,
    /// Tokens in them.
    pub pass_tokens_total: u64,
    /// New tokens that became certain.
    pub new_tokens_total: u64,
    /// Sequences and texts retried after their engine failed.
    pub retried_total: u64,
}

impl Counters {
    pub(super) fn count_pushed<T>(&mut self, pushed: &Pushed<T>) {
        match pushed {
            Pushed::Accepted(_) => self.accepted_total += 1,
            Pushed::Answered(_) => {
                self.accepted_total += 1;
                self.answered_total += 1;
            }
            Pushed::Rejected(rejection) => self.count_rejection(rejection),
        }
    }

    fn count_rejection(&mut self, rejection: &Rejection) {
        match rejection {
            Rejection::QueueFull { .. } => self.rejected_queue_full_total += 1,
            Rejection::ShuttingDown => self.rejected_shutting_down_total += 1,
            Rejection::DeadlineExceeded => self.rejected_deadline_total += 1,
            Rejection::Empty => self.rejected_empty_total += 1,
            Rejection::Refused(_) => self.rejected_refused_total += 1,
            // Known only after a run, so never of a push.
            Rejection::Failed(_) => {}
        }
    }

    pub(super) fn count_batch(&mut self, rows: usize, tokens: usize, longest: usize) {
        self.batches_total += 1;
        self.batch_rows_total += rows as u64;
        self.batch_tokens_total += tokens as u64;
        self.batch_tokens_padded_total += (rows * longest) as u64;
    }
}
