//! Admission: a request is answered from the cache, joins one in flight, waits, or is rejected.

use super::inflight::{Ask, Wants, Work};
use super::queue::JobId;
use super::{CacheKey, Caching, Priority, Pushed, Rejection, Request, RequestId, Schedule, Time};
use std::sync::Arc;
use std::time::Duration;

impl Schedule {
    /// Accepts a request, answers it from the cache, or rejects it.
    pub fn push(&mut self, request: Request, now: Time) -> Pushed {
        let now = self.advance(now);
        // Requests past their deadline make room for others.
        self.expire(now);
        let pushed = self.admit(&request, now);
        self.totals.count_pushed(&pushed);
        pushed
    }

    /// How long a new request would wait for its run, estimated from the batches so far; zero before the first batch has ended. With it, a
    /// driver can limit the waiting time of the queue, in addition to its size. The estimate is too high while batches are
    /// small, so check [`Schedule::waited`] too.
    pub fn wait_expected(&self) -> Duration {
        let in_use = self.engines_in_use();
        let busy = self.engines.iter().filter(|engine| engine.in_use && engine.is_busy).count();
        let queued = self.pace.run(self.queue.tokens(), in_use);
        // On average, a running batch is half done.
        let running = if busy == in_use { self.pace.batch().unwrap_or_default() / 2 } else { Duration::ZERO };
        queued.saturating_add(running)
    }

    fn admit(&mut self, request: &Request, now: Time) -> Pushed {
        if request.ids.is_empty() {
            return Pushed::Rejected(Rejection::Empty);
        }
        if let Some(rejection) = self.closed_for(request.deadline, now) {
            return Pushed::Rejected(rejection);
        }
        let mut key = None;
        if request.caching == Caching::Use {
            let wanted = request.key.unwrap_or_else(|| self.keyer.key(&request.ids));
            if let Some(row) = self.cache.get(&wanted) {
                self.totals.cache_hits_total += 1;
                return Pushed::Answered(row);
            }
            self.totals.cache_misses_total += 1;
            key = Some(wanted);
        }
        let shared = key.and_then(|key| self.inflight.find(&key));
        if self.has_no_room_for(request.ids.len(), shared.is_some()) {
            let in_use = self.engines_in_use();
            let retry_after = self.pace.retry_after(self.queue.tokens(), in_use);
            return Pushed::Rejected(Rejection::QueueFull { retry_after });
        }
        let ask = Ask { priority: request.priority, deadline: request.deadline, wants: Wants::Logits };
        match shared.and_then(|job| Some((job, self.inflight.join(job, ask, now)?))) {
            Some((job, (owner, before))) => {
                self.totals.coalesced_total += 1;
                self.requeue(job, before);
                Pushed::Accepted(owner)
            }
            None => Pushed::Accepted(self.enqueue(&request.ids, ask, key, now)),
        }
    }

    /// Why no request is accepted, or none with this deadline.
    pub(super) fn closed_for(&self, deadline: Option<Time>, now: Time) -> Option<Rejection> {
        if self.draining {
            return Some(Rejection::ShuttingDown);
        }
        deadline.is_some_and(|deadline| deadline <= now).then_some(Rejection::DeadlineExceeded)
    }

    pub(super) fn has_no_room_for(&self, tokens: usize, is_shared: bool) -> bool {
        let (rows, waiting) = (self.queue.rows() + self.line.rows(), self.queue.tokens() + self.line.load().prompt);
        let queue_is_full = rows >= self.config.queue_rows_max.max(1)
            || rows > 0 && waiting.saturating_add(tokens) > self.config.queue_tokens_max;
        self.inflight.len() + self.told.len() >= self.config.requests_max.max(1) || !is_shared && queue_is_full
    }

    pub(super) fn engines_in_use(&self) -> usize {
        self.engines.iter().filter(|engine| engine.in_use).count()
    }

    fn enqueue(&mut self, ids: &Arc<[u32]>, ask: Ask, key: Option<CacheKey>, now: Time) -> RequestId {
        let (owner, id) = self.inflight.begin(Work::Once(Arc::clone(ids)), ask, key, now);
        if let Some(job) = self.inflight.job(id) {
            self.queue.push(id, job.waiting(), job.priority);
        }
        owner
    }

    /// Tells the queues of a job's new priority.
    pub(super) fn requeue(&mut self, id: JobId, before: Priority) {
        if let Some(job) = self.inflight.job(id) {
            self.queue.move_to(id, before, job.priority);
            self.line.move_to(id, before, job.priority);
        }
    }
}
