//! One model's schedule, and whose each of its requests is: what the command line, the server and browsers drive. Owns no clock, thread, lock
//! or engine.
//!
//! ```text
//! push(request) ─► schedule ─► Next::Run ─► (an engine of the driver's) ─► complete ─► Next::Answer(owner)
//! ```

use crate::schedule::{
    Answer, BatchId, Config, Failure, LogitsRow, Pushed, Request, RequestId, Retry, Run, Schedule, Step, Time,
};
use crate::{Error, Rows};
use grice_model::{EngineError, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A schedule and, for each request without an answer, what its driver keeps of it.
pub struct Runtime<T> {
    schedule: Schedule,
    owners: BTreeMap<RequestId, T>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next<T> {
    /// Hand this to its owner.
    Answer(T, Answer),
    /// Run this, then [`Runtime::complete`].
    Run(Run),
    /// Nothing before this moment, unless something is pushed or completed.
    WaitUntil(Time),
    /// Nothing, unless something is pushed or completed.
    Idle,
}

impl<T> Runtime<T> {
    /// As [`Schedule::new`].
    pub fn new(config: Config, digest: &str, precision: Precision) -> Runtime<T> {
        Runtime { schedule: Schedule::new(config, digest, precision), owners: BTreeMap::new() }
    }

    /// Takes a request. One that waits gets an owner, to whom [`Runtime::poll`] gives the answer.
    pub fn push(&mut self, request: Request, now: Time, own: impl FnOnce(RequestId) -> T) -> Pushed {
        let pushed = self.schedule.push(request, now);
        if let Pushed::Accepted(id) = pushed {
            self.owners.insert(id, own(id));
        }
        pushed
    }

    /// What to do next; call again until it says [`Next::WaitUntil`] or [`Next::Idle`].
    pub fn poll(&mut self, now: Time) -> Next<T> {
        loop {
            return match self.schedule.poll(now) {
                Step::Answer(answer) => match self.owners.remove(&answer.request) {
                    Some(owner) => Next::Answer(owner, answer),
                    // Every request has an owner until its only answer or its cancellation.
                    None => continue,
                },
                Step::Run(run) => Next::Run(run),
                Step::WaitUntil(moment) => Next::WaitUntil(moment),
                Step::Idle => Next::Idle,
            };
        }
    }

    /// Takes in what came of a batch. A sequence that failed is at fault itself and not tried again; of an engine that failed, `retry` says
    /// what its sequences are worth. `false`, and nothing else, if no such batch runs.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Rows, EngineError>, retry: Retry, now: Time) -> bool {
        let failed = |error: EngineError, retry| Failure { error: Arc::new(Error::Engine(error)), retry };
        let row = |row: Result<LogitsRow, EngineError>| row.map_err(|error| failed(error, Retry::Never));
        let rows = outcome.map(|rows| rows.into_iter().map(row).collect());
        self.schedule.complete_rows(batch, rows.map_err(|error| failed(error, retry)), now)
    }

    /// Forgets a request: no answer follows. `false` if it has, or is about to get, its answer.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let cancelled = self.schedule.cancel(request);
        if cancelled {
            self.owners.remove(&request);
        }
        cancelled
    }

    /// How things stand.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// For engines that come and go, and for what ends.
    pub fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }
}

/// What the sequences of a batch are worth whose engine failed as a whole.
pub fn retry_after(error: &EngineError) -> Retry {
    match error {
        EngineError::DeviceLost(_) => Retry::OnceAnEngine,
        _ => Retry::Once,
    }
}
