//! Drives one model's schedule: requests in, batches to replicas, answers to the waiting tasks.
//!
//! One lock protects the schedule; it is held for microseconds. Request tasks push and poll; a replica that ends a batch
//! completes and polls, on its own thread; a timer polls at the times that the schedule sets.

use crate::listener::{Listener, Said};
use crate::metrics::{Metrics, ModelLabels};
use crate::statistics::Statistics;
use crate::texts::Tokenized;
use grice_core::generate::Bounds;
use grice_core::schedule::{
    Answer, BatchId, CacheKey, Caching, Config, Counters, CourseRequest, CourseRun, EngineId, Keyer, LogitsRow, Pushed,
    Rejection, Request, RequestId, Retry, Run, Texts, Time,
};
use grice_core::{EngineError, Next, Precision, Rows, Runtime, retry_after};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

/// If no replica is in use for this long after a rebuild failed, requests are rejected instead of queued. During the
/// first rebuild, requests wait: opening a lost GPU again takes seconds.
const DEAD_MAX: Duration = Duration::from_secs(1);

/// One model's schedule and the way to its replicas.
pub(crate) struct Runner {
    name: String,
    metrics: Arc<Metrics>,
    statistics: Statistics,
    started: Instant,
    /// Requests are rejected if the expected wait is longer than this.
    queue_wait_max: Duration,
    state: Mutex<State>,
    /// The time that the timer waits for, in microseconds.
    alarm: AtomicU64,
    alarm_moved: Notify,
}

/// What a replica runs.
pub(crate) enum Order {
    Batch(Run),
    Pass(CourseRun),
}

/// Who waits for a request's answer.
enum Owner {
    Once(oneshot::Sender<Answer>),
    Text(Reader),
}

/// Who reads a text.
struct Reader {
    said: UnboundedSender<Said>,
    /// When tokens were told last.
    told: Cell<Option<Instant>>,
}

/// Something to tell an owner.
enum Message {
    Answer(oneshot::Sender<Answer>, Answer),
    Said(UnboundedSender<Said>, Said),
}

struct State {
    runtime: Runtime<Owner>,
    /// One for each replica; empty after the runner is closed.
    inboxes: Vec<mpsc::Sender<Order>>,
    /// How long it took to form each running batch.
    put_together: HashMap<BatchId, Duration>,
    in_use: Vec<bool>,
    /// Since when no replica is in use after a failed rebuild.
    dead_since: Option<Time>,
    /// The schedule's counters that are already in the metrics.
    counted: Counters,
}

/// The outcome of a request.
pub(crate) enum Submitted {
    /// The cache had the answer.
    Known(LogitsRow),
    /// It waits for a run.
    Waits(Ticket),
}

/// The outcome of a request for a text.
pub(crate) enum SubmittedText {
    /// The cache had the text.
    Known(Texts),
    /// It waits, or is being written.
    Waits(Listener),
}

/// A request in the queue; dropping it removes the request.
pub(crate) struct Ticket {
    runner: Arc<Runner>,
    id: RequestId,
    answer: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Runner {
    /// A runner for a model; each replica reads from one channel of the second value.
    pub(crate) fn new(
        name: &str,
        config: Config,
        digest: &str,
        precision: Precision,
        courses: Option<Bounds>,
        queue_wait_max: Duration,
        metrics: Arc<Metrics>,
    ) -> (Arc<Runner>, Vec<mpsc::Receiver<Order>>) {
        let (engines, cache_bytes_max) = (config.engines, config.cache_bytes_max);
        let (inboxes, outboxes) = (0..engines).map(|_| mpsc::channel()).unzip();
        let mut runtime = match courses {
            // A model that writes has no logits to keep.
            Some(bounds) => {
                let config = Config { cache_bytes_max: 0, ..config };
                Runtime::new(config, digest, precision).with_courses(bounds, cache_bytes_max)
            }
            None => Runtime::new(config, digest, precision),
        };
        // The replicas are not built yet.
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

    /// Statistics of batches and requests.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Converts an instant to the schedule's time.
    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        Time::from(instant.saturating_duration_since(self.started))
    }

    fn now(&self) -> Time {
        Time::from(self.started.elapsed())
    }

    /// Requests the logits of some sequences: all of them or, if one is rejected, none. They are added together, so that
    /// they can run together.
    ///
    /// # Errors
    /// The first rejection.
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
            match state.runtime.push(request, now, |_| Owner::Once(sender)) {
                Pushed::Answered(row) => submitted.push(Submitted::Known(row)),
                Pushed::Accepted(id) => {
                    let ticket = Ticket { runner: Arc::clone(self), id, answer, is_answered: false };
                    submitted.push(Submitted::Waits(ticket));
                }
                Pushed::Rejected(rejection) => {
                    // After the lock is free, because dropping tickets takes it.
                    drop(state);
                    drop(submitted);
                    return Err(rejection);
                }
            }
        }
        if !submitted.iter().any(|submitted| matches!(submitted, Submitted::Waits(_))) {
            return Ok(submitted);
        }
        // Uses the queue before this request, so that a request of any size may wait on an idle server. And not only the
        // estimate: a burst after a quiet time is no overload until a request has waited.
        let wait_max = self.queue_wait_max.min(deadline.since(now));
        if wait > wait_max && waited > wait_max / 4 {
            drop(state);
            drop(submitted);
            return Err(Rejection::QueueFull { retry_after: wait - wait_max });
        }
        self.pump(state, now);
        Ok(submitted)
    }

    /// Requests a text.
    ///
    /// # Errors
    /// The rejection.
    pub(crate) fn submit_course(self: &Arc<Runner>, request: CourseRequest) -> Result<SubmittedText, Rejection> {
        let now = self.now();
        let mut state = self.lock();
        let schedule = state.runtime.schedule();
        let (wait, waited) = (schedule.course_wait_expected(), schedule.course_waited(now));
        let left = request.deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
        let (sender, receiver) = unbounded_channel();
        let reader = Reader { said: sender, told: Cell::new(None) };
        let id = match state.runtime.push_course(request, now, |_| Owner::Text(reader)) {
            Pushed::Answered(texts) => return Ok(SubmittedText::Known(texts)),
            Pushed::Rejected(rejection) => return Err(rejection),
            Pushed::Accepted(id) => id,
        };
        // As in `submit`.
        let wait_max = self.queue_wait_max.min(left);
        if wait > wait_max && waited > wait_max / 4 {
            state.runtime.cancel(id);
            return Err(Rejection::QueueFull { retry_after: wait - wait_max });
        }
        self.pump(state, now);
        let runner = Arc::clone(self);
        Ok(SubmittedText::Waits(Listener::new(receiver, move || runner.cancel(id))))
    }

    /// The keys that are not in the process's cache.
    pub(crate) fn unknown_keys(&self, keys: impl Iterator<Item = CacheKey>) -> Vec<CacheKey> {
        let state = self.lock();
        keys.filter(|key| state.runtime.schedule().peek(key).is_none()).collect()
    }

    /// Makes the keys of its model.
    pub(crate) fn keyer(&self) -> Keyer {
        self.lock().runtime.schedule().keyer().clone()
    }

    /// Adds logits from another cache to the process's cache.
    pub(crate) fn seed(&self, key: CacheKey, row: LogitsRow) {
        self.lock().runtime.schedule_mut().seed(key, row);
    }

    /// Whether no replica has been in use for so long that requests should not wait.
    pub(crate) fn is_dead(&self) -> bool {
        let now = self.now();
        self.lock().dead_since.is_some_and(|since| now.since(since) >= DEAD_MAX)
    }

    /// The number of replicas in use, and of all replicas.
    pub(crate) fn replicas(&self) -> (usize, usize) {
        let state = self.lock();
        (state.in_use.iter().filter(|&&in_use| in_use).count(), state.in_use.len())
    }

    /// Takes a replica into use, or out of use.
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

    /// Notes that a replica cannot be rebuilt: this may take longer than requests can wait.
    pub(crate) fn note_failed_build(&self) {
        let now = self.now();
        let mut state = self.lock();
        if !state.in_use.contains(&true) {
            state.dead_since.get_or_insert(now);
        }
    }

    /// Counts a failure because of a lost device.
    pub(crate) fn count_device_loss(&self) {
        self.metrics.device_losses.get_or_create(&ModelLabels { model: self.name.clone() }).inc();
    }

    /// Reports the outcome of a batch.
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

    /// Reports the outcome of a pass.
    pub(crate) fn complete_courses(&self, run: CourseRun, outcome: Result<(), EngineError>, took: Duration) {
        self.metrics.infer.observe(took.as_secs_f64());
        self.metrics.batch_size.observe(run.courses() as f64);
        self.metrics.batch_tokens.observe(run.work.pass.ids.len() as f64);
        let now = self.now();
        let retry = outcome.as_ref().err().map_or(Retry::Never, retry_after);
        let mut state = self.lock();
        state.runtime.complete_courses(run, outcome, retry, now);
        self.pump(state, now);
    }

    /// Adds the schedule's counters to the metrics.
    pub(crate) fn report(&self) {
        let mut state = self.lock();
        let now = state.runtime.schedule().counters();
        self.metrics.add_counters(&self.name, &state.counted, &now);
        state.counted = now;
    }

    /// Ends all open requests, with the reason that the server stops; later ones are refused.
    pub(crate) fn abort(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.runtime.schedule_mut().abort();
        self.pump(state, now);
    }

    /// Lets the replicas end after their current work. No request may be waiting.
    pub(crate) fn close(&self) {
        self.report();
        let mut state = self.lock();
        state.runtime.schedule_mut().abort();
        state.inboxes.clear();
        let now = self.now();
        self.pump(state, now);
        self.alarm_moved.notify_one();
    }

    /// Polls at the schedule's times, until the runner is gone.
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

    /// Executes all current actions of the schedule.
    fn pump(&self, mut state: MutexGuard<'_, State>, now: Time) {
        let mut messages = Vec::new();
        let moment = loop {
            let start = Instant::now();
            match state.runtime.poll(now) {
                Next::Answer(Owner::Once(owner), answer) => messages.push(Message::Answer(owner, answer)),
                Next::Text(Owner::Text(reader), answer) => messages.push(Message::Said(reader.said, Said::End(answer))),
                Next::Tokens(id, tokens) => {
                    if let Some(Owner::Text(reader)) = state.runtime.owner(id) {
                        self.count_pause(reader, tokens.len());
                        messages.push(Message::Said(reader.said.clone(), Said::Tokens(tokens)));
                    }
                }
                // Sequences and texts have owners of their own kind.
                Next::Answer(Owner::Text(_), _) | Next::Text(Owner::Once(_), _) => {}
                Next::Run(run) => {
                    state.put_together.insert(run.id, start.elapsed());
                    state.send(run.engine, Order::Batch(run));
                }
                Next::Courses(run) => state.send(run.engine, Order::Pass(run)),
                Next::WaitUntil(moment) => break moment,
                Next::Idle => break Time::NEVER,
            }
        };
        drop(state);
        // Outside the lock, because each wakes a task.
        messages.into_iter().for_each(Message::deliver);
        if moment.as_micros() < self.alarm.fetch_min(moment.as_micros(), Ordering::AcqRel) {
            self.alarm_moved.notify_one();
        }
    }

    /// Counts the time since a reader's last tokens, shared among the new ones. The first ones have another metric.
    fn count_pause(&self, reader: &Reader, tokens: usize) {
        let now = Instant::now();
        let Some(last) = reader.told.replace(Some(now)) else { return };
        let each = (now - last).as_secs_f64() / tokens.max(1) as f64;
        (0..tokens).for_each(|_| self.metrics.between_tokens.observe(each));
    }

    fn cancel(&self, id: RequestId) {
        let now = self.now();
        let mut state = self.lock();
        if state.runtime.cancel(id) {
            self.pump(state, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held would be a bug here; the schedule itself does not panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&self, engine: EngineId, order: Order) {
        let is_sent = self.inboxes.get(engine.0).is_some_and(|inbox| inbox.send(order).is_ok());
        debug_assert!(is_sent, "a replica in use has an inbox that is read");
    }
}

impl Message {
    fn deliver(self) {
        // A client that just disconnected needs no answer.
        match self {
            Message::Answer(owner, answer) => _ = owner.send(answer),
            Message::Said(owner, said) => _ = owner.send(said),
        }
    }
}

impl Ticket {
    /// Waits for the answer. The schedule gives one by the deadline.
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
