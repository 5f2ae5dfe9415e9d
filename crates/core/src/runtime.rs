//! The schedule of one model, with the owner of each request. The command line, the server and browsers drive it. Owns no clock, thread, lock
//! or engine.
//!
//! ```text
//! push(request) ─► schedule ─► Next::Run ─► (an engine of the driver's) ─► complete ─► Next::Answer(owner)
//! ```

use crate::generate::Bounds;
use crate::schedule::{
    Answer, BatchId, Config, CourseRequest, CourseRun, Failure, LogitsRow, NewTokens, Pushed, Request, RequestId,
    Retry, Run, Schedule, Step, Texts, Time,
};
use crate::{Error, Rows};
use grice_model::{EngineError, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A schedule, and for each open request its owner of type `T`, a value of the caller's choice.
///
/// The caller passes the time, runs the batches and delivers the answers:
///
/// ```
/// use grice_core::schedule::{Config, Request, Retry, Time};
/// use grice_core::{Bundle, Model, Next, Options, Precision, Runtime, run_each};
///
/// # fn main() -> grice_core::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/tiny-bert");
/// let mut engine = Model::load(&Bundle::open(folder)?, &Options::default())?.build_engine(1)?;
/// let mut runtime = Runtime::new(Config::default(), "tiny-bert", Precision::Fp32);
///
/// // Ann and Bob send the same tokens, so these run once.
/// runtime.push(Request::new([2_u32, 7, 3]), Time::START, |_| "Ann");
/// runtime.push(Request::new([2_u32, 7, 3]), Time::START, |_| "Bob");
/// let (mut answered, mut rows) = (Vec::new(), 0);
/// loop {
///     match runtime.poll(Time::START) {
///         Next::Run(run) => {
///             rows += run.batch.rows();
///             let outcome = run_each(&mut engine, &run.batch);
///             runtime.complete(run.id, outcome, Retry::Never, Time::START);
///         }
///         Next::Answer(owner, answer) => answered.push((owner, answer.outcome.unwrap().len())),
///         // There are no texts here.
///         _ => break,
///     }
/// }
/// assert_eq!((answered, rows), (vec![("Ann", 4), ("Bob", 4)], 1));
/// # Ok(())
/// # }
/// ```
pub struct Runtime<T> {
    schedule: Schedule,
    owners: BTreeMap<RequestId, T>,
}

/// The next action for the caller.
#[derive(Debug)]
pub enum Next<T> {
    /// Send this answer to its owner.
    Answer(T, Answer),
    /// Run this batch, then call [`Runtime::complete`].
    Run(Run),
    /// Send these new tokens of a text to its owner: see [`Runtime::owner`].
    Tokens(RequestId, NewTokens),
    /// Send this text to its owner.
    Text(T, Answer<Texts>),
    /// Run this pass, then call [`Runtime::complete_courses`].
    Courses(CourseRun),
    /// Do nothing before this time, unless something is pushed or completed.
    WaitUntil(Time),
    /// Do nothing, unless something is pushed or completed.
    Idle,
}

impl<T> Runtime<T> {
    /// As [`Schedule::new`].
    pub fn new(config: Config, digest: &str, precision: Precision) -> Runtime<T> {
        Runtime { schedule: Schedule::new(config, digest, precision), owners: BTreeMap::new() }
    }

    /// As [`Schedule::with_courses`].
    #[must_use]
    pub fn with_courses(self, bounds: Bounds, cache_bytes_max: u64) -> Runtime<T> {
        Runtime { schedule: self.schedule.with_courses(bounds, cache_bytes_max), ..self }
    }

    /// Adds a request. If it waits, it gets an owner, and [`Runtime::poll`] returns its answer later.
    pub fn push(&mut self, request: Request, now: Time, own: impl FnOnce(RequestId) -> T) -> Pushed {
        let pushed = self.schedule.push(request, now);
        if let Pushed::Accepted(id) = pushed {
            self.owners.insert(id, own(id));
        }
        pushed
    }

    /// Adds a text. If it waits or joins another, it gets an owner.
    pub fn push_course(
        &mut self,
        request: CourseRequest,
        now: Time,
        own: impl FnOnce(RequestId) -> T,
    ) -> Pushed<Texts> {
        let pushed = self.schedule.push_course(request, now);
        if let Pushed::Accepted(id) = pushed {
            self.owners.insert(id, own(id));
        }
        pushed
    }

    /// The owner of an open request.
    pub fn owner(&self, request: RequestId) -> Option<&T> {
        self.owners.get(&request)
    }

    /// The next action; call again until it returns [`Next::WaitUntil`] or [`Next::Idle`].
    pub fn poll(&mut self, now: Time) -> Next<T> {
        loop {
            return match self.schedule.poll(now) {
                Step::Answer(answer) => match self.owners.remove(&answer.request) {
                    Some(owner) => Next::Answer(owner, answer),
                    // Every request has an owner until its only answer or its cancellation.
                    None => continue,
                },
                Step::Tokens(request, tokens) => Next::Tokens(request, tokens),
                Step::Text(text) => match self.owners.remove(&text.request) {
                    Some(owner) => Next::Text(owner, text),
                    None => continue,
                },
                Step::Run(run) => Next::Run(run),
                Step::Courses(run) => Next::Courses(run),
                Step::WaitUntil(moment) => Next::WaitUntil(moment),
                Step::Idle => Next::Idle,
            };
        }
    }

    /// Takes the result of a batch. A sequence that failed alone is not retried; if the whole engine failed, `retry` says
    /// how often its sequences are retried. Returns `false`, and does nothing, if no such batch runs.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Rows, EngineError>, retry: Retry, now: Time) -> bool {
        let failed = |error: EngineError, retry| Failure { error: Arc::new(Error::Engine(error)), retry };
        let row = |row: Result<LogitsRow, EngineError>| row.map_err(|error| failed(error, Retry::Never));
        let rows = outcome.map(|rows| rows.into_iter().map(row).collect());
        self.schedule.complete_rows(batch, rows.map_err(|error| failed(error, retry)), now)
    }

    /// Takes a pass of courses back. After a failure the texts run their tokens again, at most as often as `retry` says. Returns `false`,
    /// and does nothing, if no such pass runs.
    pub fn complete_courses(
        &mut self,
        run: CourseRun,
        outcome: Result<(), EngineError>,
        retry: Retry,
        now: Time,
    ) -> bool {
        let failed = |error: EngineError| Failure { error: Arc::new(Error::Engine(error)), retry };
        self.schedule.complete_courses(run, outcome.map_err(failed), now)
    }

    /// Drops a request, so that no answer follows. Returns `false` if the answer already exists.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let cancelled = self.schedule.cancel(request);
        if cancelled {
            self.owners.remove(&request);
        }
        cancelled
    }

    /// The current state.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// For changes of engines, and for shutting down.
    pub fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }
}

/// How often the sequences of a batch are retried after their engine failed with this error.
pub fn retry_after(error: &EngineError) -> Retry {
    match error {
        EngineError::DeviceLost(_) => Retry::OnceAnEngine,
        _ => Retry::Once,
    }
}
