//! A model and its schedule, for a driver with one engine and one thread: turns in, verdicts out. Owns no clock and no engine.
//!
//! ```text
//! push(turn) ─► tokens ─► schedule ─► Step::Run ─► (the driver's engine) ─► complete ─► Step::Answer
//! ```

use crate::runtime::{Next, Runtime};
use crate::schedule::{
    self, Accumulate, BatchId, Caching, Config, Failure, LogitsRow, Rejection, Request, RequestId, Retry, Run, Time,
};
use crate::task::{DetectNotes, Prepared, Task};
use crate::{Device, Error, Model, Options, Result, Rows, Turn, Verdict, merge_thresholds};
use grice_model::{EngineError, EngineInfo, Logits, PerMaxim, Precision};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use std::time::Duration;

/// Options of a session; missing ones keep their defaults, which suit one thread and a waiting user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SessionOptions {
    /// For [`SessionOptions::model`].
    pub precision: Option<Precision>,
    /// Thresholds that replace the bundle's: numbers from 0 to 1.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Turns in a batch, 16 if left out: a running batch cannot be interrupted.
    pub batch_rows_max: Option<usize>,
    /// Tokens in a batch, 2048 if left out.
    pub batch_tokens_max: Option<usize>,
    /// Milliseconds by which a turn may be delayed so that others can join, 0 if left out.
    pub wait_ms: f64,
    /// Size of the cache of logits in bytes, 4 MiB if left out; 0 turns it off.
    pub cache_bytes_max: Option<u64>,
    /// Turns that may wait, 1024 if left out; more are rejected.
    pub queue_max: Option<usize>,
}

/// Options for judging one turn.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ask {
    /// Thresholds that replace the session's: numbers from 0 to 1.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Milliseconds after which the answer is useless.
    pub timeout_ms: Option<f64>,
    /// Do not use the cache and do not share a run.
    pub bypass_cache: bool,
}

/// The verdict on one response, with times.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether the logits came from the cache.
    pub cached: bool,
    /// How long it took.
    pub timings: Timings,
}

/// The parts of the time between a turn's arrival and its answer.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Milliseconds for turning text into tokens.
    pub tokenize_ms: f64,
    /// Milliseconds of waiting for the run.
    pub queue_ms: f64,
    /// Milliseconds of the run of its batch; for a shared run, the part after it joined.
    pub infer_ms: f64,
}

/// The loaded model, and the device it runs on.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: String,
    /// The device.
    #[cfg_attr(feature = "typescript", ts(type = "\"cpu\" | \"gpu\""))]
    pub device: &'static str,
    /// The precision of the weights.
    pub precision: Precision,
    /// The kernels: the instruction set, or "tract" for a graph that did not fuse.
    pub kernels: &'static str,
    /// Threads that the engine uses.
    pub threads: u32,
    /// Maximum number of tokens; longer turns are truncated.
    pub max_tokens: u32,
    /// The thresholds in use.
    pub thresholds: PerMaxim<f32>,
    /// Why it runs on the CPU although a GPU was allowed.
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
    /// The schedule rejected it, or its engine failed.
    #[error(transparent)]
    Rejection(Rejection),
}

impl Refusal {
    /// Its name in the npm package: [`Error::code`], `overloaded` or `timeout`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Error(error) => error.code(),
            Refusal::Rejection(Rejection::QueueFull { .. }) => "overloaded",
            Refusal::Rejection(Rejection::DeadlineExceeded) => "timeout",
            Refusal::Rejection(Rejection::Failed(error)) => error.code(),
            Refusal::Rejection(_) => "bug",
        }
    }
}

/// The outcome of a push.
#[derive(Debug)]
pub enum Pushed {
    /// [`Session::poll`] returns the answer later.
    Request(RequestId),
    /// The cache had the answer.
    Answer(Detection),
}

/// As the npm package reads it: `{request}` or `{detection}`, with the same digits as in [`Step`].
impl Serialize for Pushed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pushed = match self {
            Pushed::Request(id) => json!({ "request": id.0 }),
            Pushed::Answer(found) => json!({ "detection": found }),
        };
        pushed.serialize(serializer)
    }
}

/// The next action for the driver.
#[derive(Debug)]
pub enum Step {
    /// Send this answer to its owner.
    Answer(RequestId, Result<Detection, Refusal>),
    /// Run this batch, then call [`Session::complete`].
    Run(Run),
    /// Do nothing before this time, unless something is pushed or completed.
    WaitUntil(Time),
    /// Do nothing, unless something is pushed or completed.
    Idle,
}

/// As the npm package reads it: `{step: "answer", request, detection?}`, where a refusal has no detection, `{step: "run", rows, tokens}`,
/// `{step: "wait", untilMs}` or `{step: "idle"}`.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step = match self {
            Step::Answer(id, Ok(found)) => json!({ "step": "answer", "request": id.0, "detection": found }),
            Step::Answer(id, Err(_)) => json!({ "step": "answer", "request": id.0 }),
            Step::Run(run) => json!({ "step": "run", "rows": run.batch.rows(), "tokens": run.batch.tokens() }),
            Step::WaitUntil(moment) => json!({ "step": "wait", "untilMs": moment.as_micros() as f64 / 1e3 }),
            Step::Idle => json!({ "step": "idle" }),
        };
        step.serialize(serializer)
    }
}

/// A model and its schedule.
pub struct Session {
    model: Model,
    thresholds: PerMaxim<f32>,
    runtime: Runtime<(RequestId, Asked)>,
    fallback_reason: Option<String>,
}

/// The data of a request that its verdict needs.
#[derive(Clone, Copy)]
struct Asked {
    notes: DetectNotes,
    tokenized: Duration,
}

impl Session {
    /// A session for a loaded model. `digest` is the digest of its ONNX file.
    ///
    /// # Errors
    /// [`Error::Threshold`].
    pub fn new(model: Model, digest: &str, settings: &SessionOptions) -> Result<Session> {
        let thresholds = merge_thresholds(model.task().thresholds(), &settings.thresholds)?;
        let runtime = Runtime::new(settings.config(), digest, model.precision());
        Ok(Session { model, thresholds, runtime, fallback_reason: None })
    }

    /// Adds a turn. `clock` is called before and after the turn is tokenized.
    ///
    /// # Errors
    /// [`Refusal`]: a turn that cannot be judged, invalid thresholds, or a full queue.
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

    /// The next action. Call it after every push, cancellation and completion, and again until it returns
    /// [`Step::WaitUntil`] or [`Step::Idle`].
    pub fn poll(&mut self, now: Time) -> Step {
        loop {
            return match self.runtime.poll(now) {
                Next::Answer((id, asked), answer) => {
                    let found = answer.outcome.map_err(Refusal::Rejection);
                    let read = |row: LogitsRow| Ok(self.read(&asked, &row, false, answer.queued, answer.ran)?);
                    Step::Answer(id, found.and_then(read))
                }
                Next::Run(run) => Step::Run(run),
                // This caller asks for no texts.
                Next::Tokens(..) | Next::Text(..) | Next::Courses(_) => continue,
                Next::WaitUntil(moment) => Step::WaitUntil(moment),
                Next::Idle => Step::Idle,
            };
        }
    }

    /// Takes the outcome of a batch. Returns `false`, and does nothing, if no such batch runs.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Logits, Failure>, now: Time) -> bool {
        self.runtime.schedule_mut().complete(batch, outcome, now)
    }

    /// The same for the result of [`crate::run_rows`]: nothing is retried, because there is no other engine.
    pub fn complete_rows(&mut self, batch: BatchId, outcome: Result<Rows, EngineError>, now: Time) -> bool {
        self.runtime.complete(batch, outcome, Retry::Never, now)
    }

    /// Drops a request, so that no answer follows. Returns `false` if the answer already exists.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        self.runtime.cancel(request)
    }

    /// Information about the loaded model and this engine.
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

    /// Continues with the same model on another device after a lost device.
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
    /// How its model is loaded: for this device, in the precision that was asked for.
    pub fn model(&self, device: Device) -> Options {
        Options { precision: self.precision, device, ..Options::default() }
    }

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

/// Milliseconds; negative values and NaN count as none.
fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or(if ms > 0.0 { Duration::MAX } else { Duration::ZERO })
}
