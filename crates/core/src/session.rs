//! A model and its schedule for a driver with one engine and one thread: turns in, verdicts out. Owns no clock and no engine.
//!
//! ```text
//! push(turn) ─► tokens ─► schedule ─► Step::Run ─► (the driver's engine) ─► complete ─► Step::Answer
//! ```

use crate::runtime::{Next, Runtime};
use crate::schedule::{
    self, Accumulate, BatchId, Caching, Config, Failure, LogitsRow, Rejection, Request, RequestId, Retry, Run, Time,
};
use crate::task::{DetectNotes, Prepared, Task};
use crate::{Error, Model, Result, Rows, Turn, Verdict, merge_thresholds};
use grice_model::{EngineError, EngineInfo, Logits, PerMaxim, Precision};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a session is to behave; what is left out keeps its default. Its defaults suit one thread that somebody waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SessionOptions {
    /// Thresholds in place of the bundle's: numbers from 0 to 1.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Turns in a batch, 16 if left out: a batch that runs cannot be interrupted.
    pub batch_rows_max: Option<usize>,
    /// Tokens in a batch, 2048 if left out.
    pub batch_tokens_max: Option<usize>,
    /// Milliseconds for which a turn may be held back so that others join it, 0 if left out.
    pub wait_ms: f64,
    /// Bytes of logits that are kept, 4 MiB if left out; 0 keeps none.
    pub cache_bytes_max: Option<u64>,
    /// Turns that may wait, 1024 if left out; more are turned away.
    pub queue_max: Option<usize>,
}

/// How one turn is to be judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ask {
    /// Thresholds in place of the session's: numbers from 0 to 1.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Milliseconds after which an answer is of no use.
    pub timeout_ms: Option<f64>,
    /// Neither answered from the cache, nor kept, nor shared.
    pub bypass_cache: bool,
}

/// What was found in one response, and how long that took.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// What was found.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether the logits were known from an earlier turn.
    pub cached: bool,
    /// How long it took.
    pub timings: Timings,
}

/// Where the time between a turn's arrival and its answer went.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Milliseconds for turning text into tokens.
    pub tokenize_ms: f64,
    /// Milliseconds of waiting for a run to begin.
    pub queue_ms: f64,
    /// Milliseconds that the run of its batch took, or what it saw of a shared one.
    pub infer_ms: f64,
}

/// What was loaded, and what it runs on.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: String,
    /// What runs.
    #[cfg_attr(feature = "typescript", ts(type = "\"cpu\" | \"gpu\""))]
    pub device: &'static str,
    /// The precision of the weights.
    pub precision: Precision,
    /// What computes: the instruction set, or "tract" for a graph that did not fuse.
    pub kernels: &'static str,
    /// Threads that the engine uses.
    pub threads: u32,
    /// Tokens that the model reads; longer turns are truncated.
    pub max_tokens: u32,
    /// The thresholds in force.
    pub thresholds: PerMaxim<f32>,
    /// Why it runs on the CPU where a GPU would have been welcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub fallback_reason: Option<String>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The turn, the model or grice is at fault.
    #[error(transparent)]
    Error(#[from] Error),
    /// The schedule would not, or its engine could not.
    #[error(transparent)]
    Rejection(Rejection),
}

/// What became of a push.
#[derive(Debug)]
pub enum Pushed {
    /// The answer follows from [`Session::poll`].
    Request(RequestId),
    /// The cache knew.
    Answer(Detection),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Hand this to its owner.
    Answer(RequestId, Result<Detection, Refusal>),
    /// Run this, then [`Session::complete`].
    Run(Run),
    /// Nothing before this moment, unless something is pushed or completed.
    WaitUntil(Time),
    /// Nothing, unless something is pushed or completed.
    Idle,
}

/// A model and its schedule.
pub struct Session {
    model: Model,
    thresholds: PerMaxim<f32>,
    runtime: Runtime<(RequestId, Asked)>,
    fallback_reason: Option<String>,
}

/// What is needed of a request once its logits are there.
#[derive(Clone, Copy)]
struct Asked {
    notes: DetectNotes,
    tokenized: Duration,
}

impl Session {
    /// For a loaded model. `digest` is that of its ONNX file.
    ///
    /// # Errors
    /// [`Error::Threshold`].
    pub fn new(model: Model, digest: &str, settings: &SessionOptions) -> Result<Session> {
        let thresholds = merge_thresholds(model.task().thresholds(), &settings.thresholds)?;
        let runtime = Runtime::new(settings.config(), digest, model.precision());
        Ok(Session { model, thresholds, runtime, fallback_reason: None })
    }

    /// Takes a turn. `clock` says what time it is, before the turn is tokenized and after.
    ///
    /// # Errors
    /// [`Refusal`]: a turn that cannot be judged, thresholds that make no sense, too many that wait.
    pub fn push(&mut self, turn: &Turn, ask: &Ask, mut clock: impl FnMut() -> Time) -> Result<Pushed, Refusal> {
        let came = clock();
        let given = PerMaxim::from_fn(|maxim| ask.thresholds.get(maxim).or(Some(*self.thresholds.get(maxim))));
        let Prepared { ids, notes } = self.model.task().prepare_above(turn, &given)?;
        let now = clock();
        let asked = Asked { notes, tokenized: now.since(came) };
        let request = Request {
            deadline: ask.timeout_ms.map(|timeout_ms| came + duration(timeout_ms)),
            caching: if ask.bypass_cache { Caching::Bypass } else { Caching::Use },
            ..Request::new(ids)
        };
        match self.runtime.push(request, now, |id| (id, asked)) {
            schedule::Pushed::Accepted(id) => Ok(Pushed::Request(id)),
            schedule::Pushed::Answered(row) => {
                Ok(Pushed::Answer(self.read(&asked, &row, true, Duration::ZERO, Duration::ZERO)?))
            }
            schedule::Pushed::Rejected(rejection) => Err(Refusal::Rejection(rejection)),
        }
    }

    /// What to do next. To be called after every push, cancellation and completion, and again until it says
    /// [`Step::WaitUntil`] or [`Step::Idle`].
    pub fn poll(&mut self, now: Time) -> Step {
        match self.runtime.poll(now) {
            Next::Answer((id, asked), answer) => {
                let found = answer.outcome.map_err(Refusal::Rejection);
                let read = |row: LogitsRow| Ok(self.read(&asked, &row, false, answer.queued, answer.ran)?);
                Step::Answer(id, found.and_then(read))
            }
            Next::Run(run) => Step::Run(run),
            Next::WaitUntil(moment) => Step::WaitUntil(moment),
            Next::Idle => Step::Idle,
        }
    }

    /// Tells what became of a batch. `false`, and nothing else, if no such batch runs.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Logits, Failure>, now: Time) -> bool {
        self.runtime.schedule_mut().complete(batch, outcome, now)
    }

    /// The same for what [`crate::run_rows`] made of it: nothing is tried again, for there is no other engine.
    pub fn complete_rows(&mut self, batch: BatchId, outcome: Result<Rows, EngineError>, now: Time) -> bool {
        self.runtime.complete(batch, outcome, Retry::Never, now)
    }

    /// Forgets a request: no answer follows. `false` if it has, or is about to get, its answer.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        self.runtime.cancel(request)
    }

    /// What was loaded, run by this engine.
    pub fn describe(&self, engine: &EngineInfo) -> ModelInfo {
        let manifest = self.model.task().manifest();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ModelInfo {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            device: engine.device,
            precision: engine.precision,
            kernels: engine.kernels,
            threads: number(engine.threads),
            max_tokens: number(manifest.max_tokens),
            thresholds: self.thresholds,
            fallback_reason: self.fallback_reason.clone().or(self.model.plan().fallback_reason().map(str::to_owned)),
        }
    }

    /// Goes on with the same model on another device, because the one before went away.
    pub fn fall_back(&mut self, model: Model, reason: String) {
        self.model = model;
        self.fallback_reason = Some(reason);
    }

    fn read(&self, asked: &Asked, row: &LogitsRow, cached: bool, queued: Duration, ran: Duration) -> Result<Detection> {
        let verdict = self.model.task().read(&asked.notes, row)?;
        let [tokenize_ms, queue_ms, infer_ms] =
            [asked.tokenized, queued, ran].map(|duration| duration.as_secs_f64() * 1e3);
        Ok(Detection { verdict, cached, timings: Timings { tokenize_ms, queue_ms, infer_ms } })
    }
}

impl SessionOptions {
    fn config(&self) -> Config {
        let usual = Config::default();
        let wait_max = duration(self.wait_ms);
        Config {
            queue_rows_max: self.queue_max.unwrap_or(usual.queue_rows_max),
            requests_max: self.queue_max.unwrap_or(usual.queue_rows_max),
            batch_rows_max: self.batch_rows_max.unwrap_or(16),
            batch_tokens_max: self.batch_tokens_max.unwrap_or(2048),
            accumulate: if wait_max.is_zero() { Accumulate::Never } else { Accumulate::Always },
            wait_max,
            cache_bytes_max: self.cache_bytes_max.unwrap_or(4 << 20),
            ..usual
        }
    }
}

/// Milliseconds; what is negative or no number is none.
fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or(if ms > 0.0 { Duration::MAX } else { Duration::ZERO })
}
