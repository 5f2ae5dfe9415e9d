//! The simple interface of the library: turns in, verdicts out. Calls block until the verdict is there.

use crate::isolate::run_each;
use crate::runtime::{Next, Runtime, retry_after};
use crate::schedule::{Caching, Config, Counters, LogitsRow, Pushed, Rejection, Request, Retry, Run, Time};
use crate::task::{Detect, Prepared, Task};
use crate::text::Encoded;
use crate::{AnyEngine, Bundle, Error, Model, Options, Plan, Result, Turn, Verdict};
use grice_model::{Engine, EngineError, EngineInfo, Manifest, PerMaxim};
use std::path::Path;
use std::sync::Arc;

/// Requests do not wait here, so the schedule needs no real clock.
const NOW: Time = Time::START;

/// A loaded model that judges turns.
///
/// ```
/// use grice_core::{Bundle, Detector, ErrorKind, Options, Turn};
///
/// # fn main() -> grice_core::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/tiny-bert");
/// let mut detector = Detector::load(&Bundle::open(folder)?, &Options::default())?;
///
/// let question = "What did you think of the film?";
/// let verdict = detector.detect(&Turn::new(question, "I liked the music most."))?;
/// assert!((0.0..=1.0).contains(&verdict.probabilities.quantity));
/// assert_eq!(verdict.violations.quantity, verdict.probabilities.quantity > detector.thresholds().quantity);
///
/// // In a batch, a turn that cannot be judged does not affect the others.
/// let verdicts = detector.detect_batch(&[Turn::new(question, "Yes."), Turn::new(question, "")])?;
/// assert!(verdicts[0].is_ok());
/// assert_eq!(verdicts[1].as_ref().map_err(|error| error.kind()), Err(ErrorKind::BadInput));
/// # Ok(())
/// # }
/// ```
pub struct Detector {
    task: Detect,
    /// Makes a new engine if this one panics.
    plan: Plan,
    engine: AnyEngine,
    threads: usize,
    /// The owner of a request is its index in the call.
    runtime: Runtime<usize>,
    warnings: Vec<String>,
}

impl Detector {
    /// Loads a bundle: tokenizer, graph and plan. Checks that they fit together.
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
    /// [`crate::ErrorKind::BadInput`] if the turn cannot be judged; other kinds if the model fails.
    pub fn detect(&mut self, turn: &Turn) -> Result<Verdict> {
        let Prepared { ids, notes } = self.task.prepare(turn)?;
        let row = self.run([ids], Caching::Bypass)?.pop().ok_or(EngineError::Panicked)?;
        self.task.read(&notes, &row?)
    }

    /// A verdict for each turn, in order. Turns of similar length run as one batch, and identical turns run once. A turn that cannot be judged, or
    /// on which the model fails, gets its own error and does not affect the others.
    ///
    /// # Errors
    /// Only if the device was lost.
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
                // Nobody asks for texts.
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

    /// The token ids of a turn.
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

    /// The thresholds in use.
    pub fn thresholds(&self) -> &PerMaxim<f32> {
        self.task.thresholds()
    }

    /// Describes the engine that runs the model.
    pub fn engine_info(&self) -> EngineInfo {
        self.engine.info()
    }

    /// Counts what ran, and what did not need to run.
    pub fn counters(&self) -> Counters {
        self.runtime.schedule().counters()
    }

    /// As [`Plan::compiled`].
    pub fn compiled(&self) -> Option<&Path> {
        self.plan.compiled()
    }

    /// The name of the GPU, if the model runs on one.
    pub fn adapter(&self) -> Option<&str> {
        self.engine.adapter()
    }

    /// The [`Plan::warnings`] at load.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why [`Device::Auto`](crate::Device::Auto) selected the processor.
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
