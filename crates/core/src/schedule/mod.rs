//! Requests in, batches and answers out: queue, batcher, cache and in-flight sharing. Owns no clock, thread, lock or channel.
//!
//! ```text
//! push(request, now) ─► cache? ─► in flight? ─► queue ─► batcher ─► Step::Run ─► complete(batch, outcome, now)
//!                         │            │                                                │
//!                         └► Answered  └► joins                 Step::Answer ◄──────────┘──► cache
//! ```
//!
//! A driver calls [`Schedule::poll`] after every push, completion or cancellation and at the moment of the last
//! [`Step::WaitUntil`], and again until it gets [`Step::WaitUntil`] or [`Step::Idle`].

mod cache;
mod config;
mod counters;
mod inflight;
mod pace;
mod queue;
mod request;
mod time;

pub use cache::{CacheKey, Keyer, LogitsCache};
pub use config::{Accumulate, Config};
pub use counters::Counters;
pub use request::{
    Answer, BatchId, Caching, EngineId, Failure, LogitsRow, Priority, Pushed, Rejection, Request, RequestId, Retry,
    Run, Source, Step,
};
pub use time::Time;

use crate::Error;
use grice_model::{Batch, EngineError, Logits, Precision};
use inflight::{Inflight, Left, Pending, Stage};
use pace::Pace;
use queue::{JobId, Queue, Rules};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The queue, batcher and cache of one model.
#[derive(Debug)]
pub struct Schedule {
    config: Config,
    /// The latest moment told: a clock that steps back is taken to stand still.
    now: Time,
    keyer: Keyer,
    cache: LogitsCache,
    queue: Queue,
    inflight: Inflight,
    running: BTreeMap<BatchId, Running>,
    engines: Vec<EngineState>,
    answers: VecDeque<Answer>,
    draining: bool,
    pace: Pace,
    /// The totals; what [`Counters`] says of the present is filled in when asked.
    totals: Counters,
}

#[derive(Debug)]
struct Running {
    engine: EngineId,
    jobs: Vec<JobId>,
    tokens: usize,
    since: Time,
}

#[derive(Clone, Copy, Debug)]
struct EngineState {
    in_use: bool,
    is_busy: bool,
}

impl Schedule {
    /// An empty schedule for the model of this digest and precision; both go into the keys of its cache. Bounds of 0 that
    /// would let nothing run are taken as 1.
    pub fn new(config: Config, bundle_digest: &str, precision: Precision) -> Schedule {
        let rules = Rules {
            rows_max: config.batch_rows_max.max(1),
            tokens_max: config.batch_tokens_max.max(1),
            padding_ratio_max: config.padding_ratio_max,
            passed_over_max: config.passed_over_max,
            fair_batches: config.fair_batches.max(1),
        };
        Schedule {
            now: Time::START,
            keyer: Keyer::new(bundle_digest, precision),
            cache: LogitsCache::new(config.cache_bytes_max),
            queue: Queue::new(rules),
            inflight: Inflight::default(),
            running: BTreeMap::new(),
            engines: vec![EngineState { in_use: true, is_busy: false }; config.engines.max(1)],
            answers: VecDeque::new(),
            draining: false,
            pace: Pace::default(),
            totals: Counters::default(),
            config,
        }
    }

    /// Takes a request, answers it from the cache, or turns it away.
    pub fn push(&mut self, request: Request, now: Time) -> Pushed {
        let now = self.advance(now);
        // Those whose deadline has passed leave their places to others.
        self.expire(now);
        let pushed = self.admit(&request, now);
        match &pushed {
            Pushed::Accepted(_) => self.totals.accepted_total += 1,
            Pushed::Answered(_) => {
                self.totals.accepted_total += 1;
                self.totals.answered_total += 1;
            }
            Pushed::Rejected(rejection) => self.totals.count_rejection(rejection),
        }
        pushed
    }

    /// What to do next; call again until it says [`Step::WaitUntil`] or [`Step::Idle`].
    pub fn poll(&mut self, now: Time) -> Step {
        let now = self.advance(now);
        self.expire(now);
        if let Some(answer) = self.answers.pop_front() {
            return Step::Answer(answer);
        }
        if let Some(run) = self.dispatch(now) {
            return Step::Run(run);
        }
        // A batch that could not be packed has left its answers.
        if let Some(answer) = self.answers.pop_front() {
            return Step::Answer(answer);
        }
        let deadline = self.inflight.deadline().map(|(deadline, _)| deadline);
        match deadline.into_iter().chain(self.leaves_at(now)).min() {
            Some(moment) => Step::WaitUntil(moment),
            None => Step::Idle,
        }
    }

    /// Tells what became of a batch and frees its engine. `false`, and nothing else, if no such batch runs.
    ///
    /// Logits that are not one row a sequence are a failure of the engine. Rows with a value that is not finite are handed
    /// out, for the readout to name, but not cached.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Logits, Failure>, now: Time) -> bool {
        let rows = outcome.map(|logits| (0..logits.rows()).map(|row| Ok(logits.row(row).into())).collect());
        self.complete_rows(batch, rows, now)
    }

    /// The same where each sequence has an outcome of its own, in the order of the batch.
    pub fn complete_rows(
        &mut self,
        batch: BatchId,
        outcome: Result<Vec<Result<LogitsRow, Failure>>, Failure>,
        now: Time,
    ) -> bool {
        let now = self.advance(now);
        // First, so that what comes at or after a deadline is late, whoever is asked first.
        self.expire(now);
        let Some(run) = self.running.remove(&batch) else { return false };
        if let Some(engine) = self.engines.get_mut(run.engine.0) {
            engine.is_busy = false;
        }
        match outcome {
            Ok(rows) if rows.len() == run.jobs.len() => {
                // Sequences that fail cost more than their tokens.
                if rows.iter().all(Result::is_ok) {
                    self.pace.learn(run.tokens, now.since(run.since));
                }
                for (row, &job) in rows.into_iter().zip(&run.jobs) {
                    match row {
                        Ok(row) => self.finish(job, row, now),
                        Err(failure) => self.fail(job, &failure, run.engine, now),
                    }
                }
            }
            Ok(rows) => {
                let rows = (rows.len(), run.jobs.len());
                let error = EngineError::Run(format!("it answered {} rows for a batch of {}", rows.0, rows.1));
                let failure = Failure { error: Arc::new(Error::Engine(error)), retry: Retry::Never };
                run.jobs.iter().for_each(|&job| self.fail(job, &failure, run.engine, now));
            }
            Err(failure) => run.jobs.iter().for_each(|&job| self.fail(job, &failure, run.engine, now)),
        }
        true
    }

    /// Forgets a request: no answer follows. Those that share its run are not disturbed. `false` if it has, or is about to
    /// get, its answer.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let left = self.leave(request).is_some();
        self.totals.cancelled_total += u64::from(left);
        left
    }

    /// From now on pushes are turned away; what was accepted is still answered, without waiting for fuller batches.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Drains, and answers everything that is left with [`Rejection::ShuttingDown`]. Batches that run must still be completed.
    pub fn abort(&mut self) {
        self.drain();
        while let Some(request) = self.inflight.oldest() {
            let Some(pending) = self.leave(request) else { return };
            self.totals.aborted_total += 1;
            self.answer(request, &pending, Err(Rejection::ShuttingDown), None, self.now);
        }
    }

    /// Whether every accepted request has its answer, no batch runs and no answer waits for [`Schedule::poll`].
    pub fn is_empty(&self) -> bool {
        self.inflight.len() == 0 && self.running.is_empty() && self.answers.is_empty()
    }

    /// Takes an engine out of use, or back into it. A batch that runs there must still be completed. `false` if there is no
    /// such engine.
    pub fn set_engine(&mut self, engine: EngineId, in_use: bool) -> bool {
        let Some(state) = self.engines.get_mut(engine.0) else { return false };
        state.in_use = in_use;
        true
    }

    /// The key of a sequence: the same in every process that runs this model, so that they can share a cache.
    pub fn key(&mut self, ids: &[u32]) -> CacheKey {
        self.keyer.key(ids)
    }

    /// What the cache knows of a key. Counts as no look-up, so that one may look elsewhere before a push.
    pub fn peek(&self, key: &CacheKey) -> Option<LogitsRow> {
        self.cache.get(key)
    }

    /// Puts logits into the cache that another cache knew. Rows with a value that is not finite are not kept.
    pub fn seed(&mut self, key: CacheKey, row: LogitsRow) {
        if row.iter().all(|logit| logit.is_finite()) {
            self.cache.insert(key, row);
        }
    }

    /// How long a request that came now would wait for its run, judged by the batches so far; zero while none has ended. A
    /// driver that turns requests away at some length keeps the queue as short in time as its bounds keep it in space. It is a
    /// guess on the high side while batches are small, so [`Schedule::waited`] should agree.
    pub fn wait_expected(&self) -> Duration {
        let in_use = self.engines.iter().filter(|engine| engine.in_use).count();
        let busy = self.engines.iter().filter(|engine| engine.in_use && engine.is_busy).count();
        let queued = self.pace.run(self.queue.tokens(), in_use);
        // On the average a batch that runs is half done.
        let running = if busy == in_use { self.pace.batch().unwrap_or_default() / 2 } else { Duration::ZERO };
        queued.saturating_add(running)
    }

    /// How long the one that has waited longest for a run has done so; zero if none waits.
    pub fn waited(&self, now: Time) -> Duration {
        self.queue.oldest_since().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// How things stand.
    pub fn counters(&self) -> Counters {
        Counters {
            queue_rows: self.queue.rows(),
            queue_tokens: self.queue.tokens(),
            requests_pending: self.inflight.len(),
            running_batches: self.running.len(),
            running_rows: self.running.values().map(|run| run.jobs.len()).sum(),
            cache_bytes: self.cache.bytes(),
            cache_entries: self.cache.len(),
            cache_evictions_total: self.cache.evictions(),
            ..self.totals
        }
    }

    /// How it was told to behave.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Coming in.
impl Schedule {
    fn admit(&mut self, request: &Request, now: Time) -> Pushed {
        if request.ids.is_empty() {
            return Pushed::Rejected(Rejection::Empty);
        }
        if self.draining {
            return Pushed::Rejected(Rejection::ShuttingDown);
        }
        if request.deadline.is_some_and(|deadline| deadline <= now) {
            return Pushed::Rejected(Rejection::DeadlineExceeded);
        }
        let mut key = None;
        if request.caching == Caching::Use {
            let wanted = self.keyer.key(&request.ids);
            if let Some(row) = self.cache.get(&wanted) {
                self.totals.cache_hits_total += 1;
                return Pushed::Answered(row);
            }
            self.totals.cache_misses_total += 1;
            key = Some(wanted);
        }
        let shared = key.and_then(|key| self.inflight.find(&key));
        if self.has_no_room_for(request, shared.is_some()) {
            let in_use = self.engines.iter().filter(|engine| engine.in_use).count();
            let retry_after = self.pace.retry_after(self.queue.tokens(), in_use);
            return Pushed::Rejected(Rejection::QueueFull { retry_after });
        }
        match shared.and_then(|job| Some((job, self.inflight.join(job, request, now)?))) {
            Some((job, (owner, before))) => {
                self.totals.coalesced_total += 1;
                self.requeue(job, before);
                Pushed::Accepted(owner)
            }
            None => Pushed::Accepted(self.enqueue(request, key, now)),
        }
    }

    fn has_no_room_for(&self, request: &Request, is_shared: bool) -> bool {
        let tokens = self.queue.tokens().saturating_add(request.ids.len());
        let queue_is_full = self.queue.rows() >= self.config.queue_rows_max.max(1)
            || self.queue.rows() > 0 && tokens > self.config.queue_tokens_max;
        self.inflight.len() + self.answers.len() >= self.config.requests_max.max(1) || !is_shared && queue_is_full
    }

    fn enqueue(&mut self, request: &Request, key: Option<CacheKey>, now: Time) -> RequestId {
        let (owner, id) = self.inflight.begin(request, key, now);
        if let Some(job) = self.inflight.job(id) {
            self.queue.push(id, job.waiting(), job.priority);
        }
        owner
    }

    /// Tells the queue of a job's new priority.
    fn requeue(&mut self, id: JobId, before: Priority) {
        if let Some(job) = self.inflight.job(id) {
            self.queue.move_to(id, before, job.priority);
        }
    }
}

/// Going out.
impl Schedule {
    fn dispatch(&mut self, now: Time) -> Option<Run> {
        if self.queue.rows() == 0 || self.leaves_at(now).is_some() {
            return None;
        }
        for index in 0..self.engines.len() {
            if !self.is_free(index) {
                continue;
            }
            let engine = EngineId(index);
            let others = self.engines.iter().enumerate().any(|(other, state)| other != index && state.in_use);
            let jobs = self.queue.form_batch(others.then_some(engine));
            if !jobs.is_empty() {
                // Nothing runs only if packing failed, which has answered its owners; the next poll goes on.
                return self.start(engine, jobs, now);
            }
        }
        None
    }

    fn start(&mut self, engine: EngineId, jobs: Vec<JobId>, now: Time) -> Option<Run> {
        let id = BatchId(self.totals.batches_total);
        let sequences: Vec<Arc<[u32]>> =
            jobs.iter().filter_map(|&job| Some(Arc::clone(&self.inflight.job(job)?.ids))).collect();
        let batch = match Batch::pack(&sequences) {
            Ok(batch) => batch,
            Err(error) => {
                let failure = Failure { error: Arc::new(Error::Batch(error.into())), retry: Retry::Never };
                jobs.iter().for_each(|&job| self.fail(job, &failure, engine, now));
                return None;
            }
        };
        for &job in &jobs {
            if let Some(job) = self.inflight.job_mut(job) {
                job.stage = Stage::Running { since: now };
            }
        }
        let longest = sequences.iter().map(|ids| ids.len()).max().unwrap_or(0);
        self.totals.count_batch(batch.rows(), batch.tokens(), longest);
        if let Some(engine) = self.engines.get_mut(engine.0) {
            engine.is_busy = true;
        }
        self.running.insert(id, Running { engine, jobs, tokens: batch.tokens(), since: now });
        Some(Run { id, engine, batch, longest })
    }

    /// When the batch that is being held back leaves; `None` if none is, or if it may leave now.
    fn leaves_at(&self, now: Time) -> Option<Time> {
        let has_free = (0..self.engines.len()).any(|index| self.is_free(index));
        let holds = match self.config.accumulate {
            Accumulate::Never => false,
            Accumulate::WhileBusy => !self.running.is_empty(),
            Accumulate::Always => true,
        };
        if !has_free || !holds || self.draining || self.queue.fills_a_batch() {
            return None;
        }
        let waited = self.queue.oldest_since()? + self.config.wait_max;
        // Being held back must not be what costs somebody the deadline.
        let batch = self.pace.batch().unwrap_or(self.config.wait_max);
        let in_time = self.inflight.deadline().map(|(deadline, _)| deadline.before(batch));
        let moment = in_time.map_or(waited, |in_time| waited.min(in_time));
        (moment > now).then_some(moment)
    }

    fn is_free(&self, index: usize) -> bool {
        self.engines[index].in_use && !self.engines[index].is_busy
    }
}

/// Coming to an end.
impl Schedule {
    fn finish(&mut self, job: JobId, row: LogitsRow, now: Time) {
        let Some(job) = self.inflight.end(job) else { return };
        if let Some(key) = job.key.filter(|_| row.iter().all(|logit| logit.is_finite())) {
            self.cache.insert(key, Arc::clone(&row));
        }
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.answered_total += 1;
            self.answer(owner, &pending, Ok(Arc::clone(&row)), Some(job.stage), now);
        }
    }

    fn fail(&mut self, id: JobId, failure: &Failure, engine: EngineId, now: Time) {
        let Some(job) = self.inflight.job_mut(id) else { return };
        let may_retry = match failure.retry {
            Retry::Never => false,
            Retry::Once => job.failures == 0,
            Retry::OnceAnEngine => job.losses < self.engines.len(),
        };
        if may_retry && !job.owners.is_empty() {
            match failure.retry {
                Retry::OnceAnEngine => job.losses += 1,
                _ => job.failures += 1,
            }
            job.failed_on = Some(engine);
            job.stage = Stage::Queued;
            self.queue.put_back(id, job.waiting(), job.priority);
            self.totals.retried_total += 1;
            return;
        }
        let Some(job) = self.inflight.end(id) else { return };
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.failed_total += 1;
            let rejection = Rejection::Failed(Arc::clone(&failure.error));
            self.answer(owner, &pending, Err(rejection), Some(job.stage), now);
        }
    }

    fn expire(&mut self, now: Time) {
        while let Some((deadline, request)) = self.inflight.deadline() {
            if deadline > now {
                return;
            }
            let Some(pending) = self.leave(request) else { return };
            self.totals.expired_total += 1;
            let stage = self.inflight.job(pending.job).map(|job| job.stage);
            self.answer(request, &pending, Err(Rejection::DeadlineExceeded), stage, now);
        }
    }

    /// Takes a request away from its job, and a job that nobody wants out of the queue.
    fn leave(&mut self, request: RequestId) -> Option<Pending> {
        let (pending, left) = self.inflight.leave(request)?;
        match left {
            Left::Unchanged => {}
            Left::Lowered(before) => self.requeue(pending.job, before),
            Left::Dropped(priority) => self.queue.remove(pending.job, priority),
        }
        Some(pending)
    }

    fn answer(
        &mut self,
        request: RequestId,
        pending: &Pending,
        outcome: Result<LogitsRow, Rejection>,
        stage: Option<Stage>,
        now: Time,
    ) {
        let ran_since = match stage {
            Some(Stage::Running { since }) => since.max(pending.since),
            Some(Stage::Queued) | None => now,
        };
        let (queued, ran) = (ran_since.since(pending.since), now.since(ran_since));
        self.answers.push_back(Answer { request, outcome, source: pending.source, queued, ran });
    }

    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }
}
