//! Drives a schedule and one engine for callers that wait for their answers: the library's simple interface.

use crate::isolate::run_each;
use crate::runtime::{Next, Runtime, retry_after};
use crate::schedule::{Caching, Config, LogitsRow, Pushed, Rejection, Request, Retry, Run, Time};
use crate::task::{Prepared, Task};
use crate::{AnyEngine, Error, Plan, Result};
use grice_model::EngineError;
use std::sync::Arc;

/// Requests do not wait here, so the schedule needs no real clock.
const NOW: Time = Time::START;

/// An engine, and the schedule that forms its batches.
pub(crate) struct Driver {
    /// Makes a new engine if this one panics.
    pub(crate) plan: Plan,
    pub(crate) engine: AnyEngine,
    threads: usize,
    /// The owner of a request is its index in the call.
    pub(crate) runtime: Runtime<usize>,
}

impl Driver {
    /// An engine with so many threads.
    ///
    /// # Errors
    /// As [`Plan::engine`].
    pub(crate) fn new(plan: Plan, threads: usize) -> Result<Driver> {
        let (engine, runtime) = (plan.engine(threads)?, new_runtime(&plan));
        Ok(Driver { plan, engine, threads, runtime })
    }

    /// The answer to one input.
    ///
    /// # Errors
    /// Those of the task and the engine.
    pub(crate) fn answer<T: Task>(&mut self, task: &T, ask: &T::Ask) -> Result<T::Answer> {
        let Prepared { ids, notes } = task.prepare(ask)?;
        let row = self.run([ids], Caching::Bypass)?.pop().ok_or(EngineError::Panicked)?;
        task.read(&notes, &row?)
    }

    /// An answer for each input, in order. Inputs of similar length run as one batch, and identical ones run once. An input at fault gets its
    /// own error and does not affect the others.
    ///
    /// # Errors
    /// Only if the device was lost.
    pub(crate) fn answer_all<T: Task>(&mut self, task: &T, asks: &[T::Ask]) -> Result<Vec<Result<T::Answer>>> {
        let prepared: Vec<Result<Prepared<_>>> = asks.iter().map(|ask| task.prepare(ask)).collect();
        let sequences: Vec<Arc<[u32]>> = prepared.iter().flatten().map(|prepared| Arc::clone(&prepared.ids)).collect();
        let mut rows = self.run(sequences, Caching::Use)?.into_iter();
        let answers = prepared.into_iter().map(|prepared| {
            let notes = prepared?.notes;
            let row = rows.next().ok_or(EngineError::Panicked)??;
            task.read(&notes, &row)
        });
        Ok(answers.collect())
    }

    /// The logits of each sequence, in order.
    fn run(
        &mut self,
        sequences: impl IntoIterator<Item = Arc<[u32]>>,
        caching: Caching,
    ) -> Result<Vec<Result<LogitsRow>>> {
        let mut rows: Vec<Option<Result<LogitsRow>>> = Vec::new();
        for (place, ids) in sequences.into_iter().enumerate() {
            rows.push(match self.runtime.push(Request { caching, ..Request::new(ids) }, NOW, |_| place) {
                Pushed::Accepted(_) => None,
                Pushed::Answered(row) => Some(Ok(row)),
                Pushed::Rejected(rejection) => Some(Err(error_of(rejection))),
            });
        }
        loop {
            match self.runtime.poll(NOW) {
                Next::Answer(place, answer) => rows[place] = Some(answer.outcome.map_err(error_of)),
                Next::Run(run) => self.run_batch(&run).inspect_err(|_| {
                    // After a lost engine, the waiting requests get no answer.
                    self.runtime = new_runtime(&self.plan);
                })?,
                // This caller asks for no texts.
                Next::Tokens(..) | Next::Text(..) | Next::Courses(_) => {}
                Next::WaitUntil(_) | Next::Idle => break,
            }
        }
        Ok(rows.into_iter().map(|row| row.unwrap_or_else(|| Err(EngineError::Panicked.into()))).collect())
    }

    /// Runs the engine. A broken engine is replaced, and its sequences are retried once, each alone.
    fn run_batch(&mut self, run: &Run) -> Result<()> {
        let outcome = run_each(&mut self.engine, &run.batch);
        let retry = match &outcome {
            Ok(_) => Retry::Never,
            Err(EngineError::DeviceLost(_)) => return outcome.map(|_| ()).map_err(Error::Engine),
            Err(error) => {
                self.engine = self.plan.engine(self.threads)?;
                retry_after(error)
            }
        };
        self.runtime.complete(run.id, outcome, retry, NOW);
        Ok(())
    }
}

/// For one engine; no request is rejected.
fn new_runtime(plan: &Plan) -> Runtime<usize> {
    let config = Config {
        queue_rows_max: usize::MAX,
        queue_tokens_max: usize::MAX,
        requests_max: usize::MAX,
        batch_tokens_max: Config::batch_tokens_for(plan.device()),
        // Nothing is cached between calls: the last bits of an answer can depend on the other sequences of its batch, and a resumed file must
        // have the same bytes.
        cache_bytes_max: 0,
        ..Config::default()
    };
    // The cache is private, so its keys need no model name.
    Runtime::new(config, "", plan.precision())
}

/// The error of a sequence without logits. If identical turns share it, each gets its own copy.
fn error_of(rejection: Rejection) -> Error {
    let error = match rejection {
        Rejection::Failed(error) => error,
        other => return EngineError::Run(other.to_string()).into(),
    };
    Arc::try_unwrap(error).unwrap_or_else(|shared| match &*shared {
        Error::Engine(EngineError::Panicked) => EngineError::Panicked.into(),
        Error::Engine(EngineError::Run(cause)) => EngineError::Run(cause.clone()).into(),
        &Error::Engine(EngineError::TokenId { id, rows }) => EngineError::TokenId { id, rows }.into(),
        &Error::Engine(EngineError::Positions { tokens, positions }) => {
            EngineError::Positions { tokens, positions }.into()
        }
        other => EngineError::Run(other.to_string()).into(),
    })
}
