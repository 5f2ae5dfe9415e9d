//! The library's small face: turns in, verdicts out, for somebody who waits.

use crate::isolate::run_each;
use crate::runtime::{Next, Runtime, retry_after};
use crate::schedule::{Caching, Config, Counters, LogitsRow, Pushed, Rejection, Request, Retry, Run, Time};
use crate::task::{Detect, Prepared, Task};
use crate::text::Encoded;
use crate::{AnyEngine, Bundle, Error, Model, Options, Plan, Result, Turn, Verdict};
use grice_model::{Engine, EngineError, EngineInfo, Manifest, PerMaxim};
use std::path::Path;
use std::sync::Arc;

/// No request waits here, so the schedule's clock stands still.
const NOW: Time = Time::START;

/// A loaded model that judges turns.
pub struct Detector {
    task: Detect,
    /// What another engine is made of, should this one panic.
    plan: Plan,
    engine: AnyEngine,
    threads: usize,
    /// A request's owner is its place among those that came with it.
    runtime: Runtime<usize>,
    warnings: Vec<String>,
}

impl Detector {
    /// Loads a bundle: tokenizer, graph and plan, checked to fit each other.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Detector> {
        let model = Model::load(bundle, options)?;
        let threads = options.threads.unwrap_or(1);
        let engine = model.build_engine(threads)?;
        let (task, plan) = model.into_parts();
        let (warnings, runtime) = (plan.warnings(), new_runtime(&plan));
        Ok(Detector { task, plan, engine, threads, runtime, warnings })
    }

    /// The verdict on one turn.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadInput`] for a turn that cannot be judged; other kinds for a model that fails.
    pub fn detect(&mut self, turn: &Turn) -> Result<Verdict> {
        let Prepared { ids, notes } = self.task.prepare(turn)?;
        let row = self.run([ids], Caching::Bypass)?.pop().ok_or(EngineError::Panicked)?;
        self.task.read(&notes, &row?)
    }

    /// A verdict for each turn, in their order. Those of like length run together, and identical ones once. A turn that cannot be judged, or
    /// on which the model fails, gets its own error and disturbs no other.
    ///
    /// # Errors
    /// Only of a device that went away.
    pub fn detect_batch(&mut self, turns: &[Turn]) -> Result<Vec<Result<Verdict>>> {
        let prepared: Vec<Result<Prepared<_>>> = turns.iter().map(|turn| self.task.prepare(turn)).collect();
        let sequences: Vec<Arc<[u32]>> = prepared.iter().flatten().map(|prepared| Arc::clone(&prepared.ids)).collect();
        let mut rows = self.run(sequences, Caching::Use)?.into_iter();
        let verdicts = prepared.into_iter().map(|prepared| {
            let notes = prepared?.notes;
            let row = rows.next().ok_or(EngineError::Panicked)??;
            self.task.read(&notes, &row)
        });
        Ok(verdicts.collect())
    }

    /// The logits of each sequence, in their order.
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
                    // A lost engine answers none of the others that wait.
                    self.runtime = new_runtime(&self.plan);
                })?,
                Next::WaitUntil(_) | Next::Idle => break,
            }
        }
        Ok(rows.into_iter().map(|row| row.unwrap_or_else(|| Err(EngineError::Panicked.into()))).collect())
    }

    /// Runs the engine; one that is not fit for use any more is replaced, and its sequences are tried once more, each alone.
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

    /// Token ids of a turn, as the model reads it.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn encode(&self, turn: &Turn) -> Result<Encoded> {
        self.task.encode(turn)
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.task.manifest()
    }

    /// The thresholds in force.
    pub fn thresholds(&self) -> &PerMaxim<f32> {
        self.task.thresholds()
    }

    /// What runs the model.
    pub fn engine_info(&self) -> EngineInfo {
        self.engine.info()
    }

    /// What it ran, and what it had not to run.
    pub fn counters(&self) -> Counters {
        self.runtime.schedule().counters()
    }

    /// As [`Plan::compiled`].
    pub fn compiled(&self) -> Option<&Path> {
        self.plan.compiled()
    }

    /// The name of the GPU that runs it, if one does.
    pub fn adapter(&self) -> Option<&str> {
        self.engine.adapter()
    }

    /// As [`Plan::warnings`], of the time of loading.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why it runs on the processor where a GPU would have been welcome.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.plan.fallback_reason()
    }
}

/// For one engine; no request is rejected.
fn new_runtime(plan: &Plan) -> Runtime<usize> {
    let config = Config {
        queue_rows_max: usize::MAX,
        queue_tokens_max: usize::MAX,
        requests_max: usize::MAX,
        batch_tokens_max: Config::batch_tokens_for(plan.device()),
        // What was judged is not kept from call to call: the last bits of an answer may depend on what ran beside it, and a file that is
        // resumed comes out with the same bytes.
        cache_bytes_max: 0,
        ..Config::default()
    };
    // Nothing leaves this detector: its keys need no name for the model.
    Runtime::new(config, "", plan.precision())
}

/// The error of a sequence without logits; of one that identical turns share, each gets its own.
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
