//! Drives one model's schedule: requests in, batches to replicas, answers to whoever waits.
//!
//! The schedule stands behind one lock, held for microseconds. Request tasks push and poll; a replica that ends a batch
//! completes and polls, on its own thread; a timer polls when the schedule says that a moment has come.

use crate::metrics::{Metrics, ModelLabels};
use crate::statistics::Statistics;
use crate::texts::Tokenized;
use grice_core::schedule::{
    Answer, BatchId, CacheKey, Caching, Config, Counters, EngineId, Keyer, LogitsRow, Pushed, Rejection, Request,
    RequestId, Retry, Run, Time,
};
use grice_core::{EngineError, Next, Precision, Rows, Runtime, retry_after};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// With no replica in use this long after one could not be built anew, requests are turned away rather than queued. While they
/// are being built for the first time, requests wait: a GPU that was lost takes seconds to be opened anew.
const DEAD_MAX: Duration = Duration::from_secs(1);

/// One model's schedule and the way to its replicas.
pub(crate) struct Runner {
    name: String,
    metrics: Arc<Metrics>,
    statistics: Statistics,
    started: Instant,
    /// Requests are turned away when the queue is this long in time.
    queue_wait_max: Duration,
    state: Mutex<State>,
    /// The moment that the timer waits for, in microseconds.
    alarm: AtomicU64,
    alarm_moved: Notify,
}

struct State {
    runtime: Runtime<oneshot::Sender<Answer>>,
    /// One for each replica; none once the runner is closed.
    inboxes: Vec<mpsc::Sender<Run>>,
    /// How long it took to put each batch together that is being run.
    put_together: HashMap<BatchId, Duration>,
    in_use: Vec<bool>,
    /// Since when no replica is in use, and one could not be built anew.
    dead_since: Option<Time>,
    /// What metrics know of the schedule's counters.
    counted: Counters,
}

/// What came of a request.
pub(crate) enum Submitted {
    /// The cache knew.
    Known(LogitsRow),
    /// It waits for a run.
    Waits(Ticket),
}

/// A request's place; dropped, it leaves the queue.
pub(crate) struct Ticket {
    runner: Arc<Runner>,
    id: RequestId,
    answer: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Runner {
    /// For a model of this name; its replicas read from the second value, one each.
    pub(crate) fn new(
        name: &str,
        config: Config,
        digest: &str,
        precision: Precision,
        queue_wait_max: Duration,
        metrics: Arc<Metrics>,
    ) -> (Arc<Runner>, Vec<mpsc::Receiver<Run>>) {
        let engines = config.engines;
        let (inboxes, outboxes) = (0..engines).map(|_| mpsc::channel()).unzip();
        let mut runtime = Runtime::new(config, digest, precision);
        // They are not built yet.
        (0..engines).for_each(|engine| _ = runtime.schedule_mut().set_engine(EngineId(engine), false));
        let state = State {
            runtime,
            inboxes,
            put_together: HashMap::new(),
            in_use: vec![false; engines],
            dead_since: None,
            counted: Counters::default(),
        };
        let runner = Runner {
            name: name.to_owned(),
            metrics,
            statistics: Statistics::default(),
            started: Instant::now(),
            queue_wait_max,
            state: Mutex::new(state),
            alarm: AtomicU64::new(u64::MAX),
            alarm_moved: Notify::new(),
        };
        (Arc::new(runner), outboxes)
    }

    /// What was run, and what became of requests.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The moment of an instant, as the schedule counts.
    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        Time::from(instant.saturating_duration_since(self.started))
    }

    fn now(&self) -> Time {
        Time::from(self.started.elapsed())
    }

    /// Asks for the logits of some sequences: all of them or, where one is turned away, none. They enter together, so that
    /// they can run together.
    ///
    /// # Errors
    /// Why the first of those that were turned away was.
    pub(crate) fn submit(
        self: &Arc<Runner>,
        sequences: &[&Tokenized],
        deadline: Time,
        caching: Caching,
    ) -> Result<Vec<Submitted>, Rejection> {
        let now = self.now();
        let mut state = self.lock();
        let (wait, waited) = (state.runtime.schedule().wait_expected(), state.runtime.schedule().waited(now));
        let mut submitted = Vec::with_capacity(sequences.len());
        for tokenized in sequences {
            let key = Some(tokenized.key);
            let request =
                Request { key, deadline: Some(deadline), caching, ..Request::new(Arc::clone(&tokenized.ids)) };
            let (sender, answer) = oneshot::channel();
            match state.runtime.push(request, now, |_| sender) {
                Pushed::Answered(row) => submitted.push(Submitted::Known(row)),
                Pushed::Accepted(id) => {
                    let ticket = Ticket { runner: Arc::clone(self), id, answer, is_answered: false };
                    submitted.push(Submitted::Waits(ticket));
                }
                Pushed::Rejected(rejection) => {
                    // Not before the lock is free: dropped tickets take it to leave the queue.
                    drop(state);
                    drop(submitted);
                    return Err(rejection);
                }
            }
        }
        if !submitted.iter().any(|submitted| matches!(submitted, Submitted::Waits(_))) {
            return Ok(submitted);
        }
        // Judged by who was there before: however many sequences a request has, on an idle server it may wait. And not by a
        // guess alone: a burst after a quiet time is no overload until somebody has waited.
        let wait_max = self.queue_wait_max.min(deadline.since(now));
        if wait > wait_max && waited > wait_max / 4 {
            drop(state);
            drop(submitted);
            return Err(Rejection::QueueFull { retry_after: wait - wait_max });
        }
        self.pump(state, now);
        Ok(submitted)
    }

    /// Those keys that the cache in the process does not know.
    pub(crate) fn unknown_keys(&self, keys: impl Iterator<Item = CacheKey>) -> Vec<CacheKey> {
        let state = self.lock();
        keys.filter(|key| state.runtime.schedule().peek(key).is_none()).collect()
    }

    /// What makes the keys of its model.
    pub(crate) fn keyer(&self) -> Keyer {
        self.lock().runtime.schedule().keyer().clone()
    }

    /// Puts logits from another cache into that of the process.
    pub(crate) fn seed(&self, key: CacheKey, row: LogitsRow) {
        self.lock().runtime.schedule_mut().seed(key, row);
    }

    /// Whether no replica has been in use for too long for a request to wait.
    pub(crate) fn is_dead(&self) -> bool {
        let now = self.now();
        self.lock().dead_since.is_some_and(|since| now.since(since) >= DEAD_MAX)
    }

    /// How many replicas are in use, of how many.
    pub(crate) fn replicas(&self) -> (usize, usize) {
        let state = self.lock();
        (state.in_use.iter().filter(|&&in_use| in_use).count(), state.in_use.len())
    }

    /// Takes a replica into use, or out of it.
    pub(crate) fn set_replica(&self, index: usize, in_use: bool) {
        let now = self.now();
        let mut state = self.lock();
        state.runtime.schedule_mut().set_engine(EngineId(index), in_use);
        if let Some(told) = state.in_use.get_mut(index) {
            *told = in_use;
        }
        let count = state.in_use.iter().filter(|&&in_use| in_use).count();
        if count > 0 {
            state.dead_since = None;
        }
        self.metrics.set_replicas(&self.name, count, state.in_use.len() - count);
        if !in_use {
            self.metrics.replica_failures.get_or_create(&ModelLabels { model: self.name.clone() }).inc();
        }
        self.pump(state, now);
    }

    /// Of a replica that cannot be built anew: it may take longer than requests can wait.
    pub(crate) fn note_failed_build(&self) {
        let now = self.now();
        let mut state = self.lock();
        if !state.in_use.contains(&true) {
            state.dead_since.get_or_insert(now);
        }
    }

    /// Of a replica whose device went away, which fails for it.
    pub(crate) fn count_device_loss(&self) {
        self.metrics.device_losses.get_or_create(&ModelLabels { model: self.name.clone() }).inc();
    }

    /// Hands in what came of a batch.
    pub(crate) fn complete(&self, run: &Run, outcome: Result<Rows, EngineError>, took: Duration) {
        self.metrics.infer.observe(took.as_secs_f64());
        self.metrics.batch_size.observe(run.batch.rows() as f64);
        self.metrics.batch_tokens.observe(run.batch.tokens() as f64);
        self.metrics.batch_padding.observe(run.padding_ratio());
        let now = self.now();
        let has_run = outcome.is_ok();
        let retry = outcome.as_ref().err().map_or(Retry::Never, retry_after);
        let mut state = self.lock();
        let put_together = state.put_together.remove(&run.id).unwrap_or_default();
        let start = Instant::now();
        state.runtime.complete(run.id, outcome, retry, now);
        if has_run {
            self.statistics.add_batch(run.batch.rows(), put_together, took, start.elapsed());
        }
        self.pump(state, now);
    }

    /// Passes the schedule's own counts on to the metrics.
    pub(crate) fn report(&self) {
        let mut state = self.lock();
        let now = state.runtime.schedule().counters();
        self.metrics.add_counters(&self.name, &state.counted, &now);
        state.counted = now;
    }

    /// Lets the replicas end once they have done what they were given. Nobody may be waiting any more.
    pub(crate) fn close(&self) {
        self.report();
        let mut state = self.lock();
        state.runtime.schedule_mut().abort();
        state.inboxes.clear();
        let now = self.now();
        self.pump(state, now);
        self.alarm_moved.notify_one();
    }

    /// Polls when the schedule's moments come, until the runner is gone.
    pub(crate) async fn keep_time(runner: Weak<Runner>) {
        loop {
            let Some(alive) = runner.upgrade() else { return };
            let moment = Time::from_micros(alive.alarm.load(Ordering::Acquire));
            let wait = moment.since(alive.now()).min(Duration::from_secs(3600));
            let moved = alive.alarm_moved.notified();
            tokio::select! {
                () = tokio::time::sleep(wait) => alive.ring(),
                () = moved => {}
            }
            if alive.lock().inboxes.is_empty() {
                return;
            }
        }
    }

    fn ring(&self) {
        self.alarm.store(u64::MAX, Ordering::Release);
        let now = self.now();
        self.pump(self.lock(), now);
    }

    /// Does all that the schedule has to be done now.
    fn pump(&self, mut state: MutexGuard<'_, State>, now: Time) {
        let mut answers = Vec::new();
        let moment = loop {
            let start = Instant::now();
            match state.runtime.poll(now) {
                Next::Answer(owner, answer) => answers.push((owner, answer)),
                Next::Run(run) => {
                    let place = run.engine.0;
                    state.put_together.insert(run.id, start.elapsed());
                    let sent = state.inboxes.get(place).map(|inbox| inbox.send(run));
                    debug_assert!(matches!(sent, Some(Ok(()))), "a replica in use has an inbox that is read");
                }
                Next::WaitUntil(moment) => break moment,
                Next::Idle => break Time::NEVER,
            }
        };
        drop(state);
        // Outside the lock: each wakes a task.
        for (owner, answer) in answers {
            // Whoever went away in this very moment wants no answer.
            _ = owner.send(answer);
        }
        if moment.as_micros() < self.alarm.fetch_min(moment.as_micros(), Ordering::AcqRel) {
            self.alarm_moved.notify_one();
        }
    }

    fn cancel(&self, id: RequestId) {
        let now = self.now();
        let mut state = self.lock();
        if state.runtime.cancel(id) {
            self.pump(state, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be ours; the schedule itself does not panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits for the answer. The schedule gives one at the deadline at the latest.
    pub(crate) async fn answer(mut self) -> Option<Answer> {
        let answer = (&mut self.answer).await.ok();
        self.is_answered = true;
        answer
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.runner.cancel(self.id);
        }
    }
}
