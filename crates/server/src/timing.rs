//! The parts of a request's time.

use crate::inferred::{Cached, Inferred};
use axum::http::{HeaderMap, HeaderValue};
use std::io::Write;
use std::time::Duration;

/// For several turns, the longest wait and the longest run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Text to token ids, in total.
    pub(crate) tokenize: Duration,
    /// Until the end of the cache look-up.
    pub(crate) lookup: Duration,
    pub(crate) queue: Duration,
    pub(crate) infer: Duration,
    /// Logits to an answer.
    pub(crate) output: Duration,
    pub(crate) cached: Option<Cached>,
    /// Number of turns that ran or shared a run.
    pub(crate) rows_run: u64,
}

impl Timing {
    pub(crate) fn add(&mut self, inferred: &Inferred) {
        self.lookup = self.lookup.max(inferred.lookup);
        self.queue = self.queue.max(inferred.queued);
        self.infer = self.infer.max(inferred.ran);
        self.cached = Some(self.cached.map_or(inferred.cached, |cached| cached.min(inferred.cached)));
        self.rows_run += u64::from(inferred.cached != Cached::Hit);
    }

    /// Adds another model's part of the same request.
    pub(crate) fn join(&mut self, other: &Timing) {
        self.tokenize += other.tokenize;
        self.lookup = self.lookup.max(other.lookup);
        self.queue = self.queue.max(other.queue);
        self.infer = self.infer.max(other.infer);
        self.output += other.output;
        self.cached = [self.cached, other.cached].into_iter().flatten().min();
        self.rows_run += other.rows_run;
    }

    /// Sets `Server-Timing` and `X-Grice-Cache`.
    pub(crate) fn write(&self, headers: &mut HeaderMap, total: Duration) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let mut text = Vec::with_capacity(96);
        let (tokenize, queue, infer, total) = (ms(self.tokenize), ms(self.queue), ms(self.infer), ms(total));
        // Writing to a vector cannot fail.
        _ = write!(
            text,
            "tokenize;dur={tokenize:.3}, queue;dur={queue:.3}, infer;dur={infer:.3}, total;dur={total:.3}"
        );
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            headers.insert("server-timing", value);
        }
        if let Some(cached) = self.cached {
            headers.insert("x-grice-cache", HeaderValue::from_static(cached.name()));
        }
    }
}
