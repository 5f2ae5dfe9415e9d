//! A model with its schedule, driven by the page's event loop.

use crate::values::{clock, coded, read_json, read_turn, refusal, to_js, write_json};
use grice_core::schedule::{BatchId, Failure, RequestId, Run, Time};
use grice_core::session::{Pushed, Session, Settings, Step};
use grice_core::{Bundle, CpuEngine, Engine as _, Logits, Model, Options};
use js_sys::{Function, Uint8Array};
use serde_json::json;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// A loaded model that judges turns. A driver calls `push`, then `poll` until it says `wait` or `idle`, and `run` and `complete`
/// whenever `poll` says `run`. It has no clock: `now_ms` is milliseconds since a moment of the driver's choice.
#[wasm_bindgen]
pub struct Detector {
    session: Session,
    engine: CpuEngine,
    /// The batch that `poll` told of, until `run`.
    next: Option<Run>,
    /// What came of it, until `complete`.
    done: Option<(BatchId, Result<Logits, Failure>)>,
}

#[wasm_bindgen]
impl Detector {
    /// Loads a bundle from the bytes of its `.tar`. `settings` is JSON: `{precision?, …}` and what
    /// `grice_core::session::Settings` holds.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_model"`, its message naming the file at fault, or `"bad_input"` for the settings.
    pub fn load(bundle_tar: &Uint8Array, settings: &str) -> Result<Detector, JsValue> {
        // A copy, since the caller's buffer lives outside wasm memory; dropped before the first batch.
        Detector::open(&Bundle::from_tar(&bundle_tar.to_vec()).map_err(to_js)?, settings)
    }

    /// Loads the model compiled into this module.
    ///
    /// # Errors
    /// As `load`.
    #[cfg(feature = "embedded-model")]
    pub fn embedded(settings: &str) -> Result<Detector, JsValue> {
        Detector::open(&Bundle::embedded().map_err(to_js)?, settings)
    }

    /// Takes a turn `{context?, evidence?, response}`, given as an object or as its JSON text, and how it is to be judged, as the
    /// JSON of `grice_core::session::Ask`. Gives `{request}`, a number that `poll` answers, or `{detection}` if the cache knew.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_input"` for what cannot be judged, `"overloaded"` if too many wait.
    pub fn push(&mut self, turn: &JsValue, ask: &str, clock_ms: &Function) -> Result<JsValue, JsValue> {
        let (turn, ask) = (read_turn(turn)?, read_json("options", ask)?);
        let pushed = self.session.push(&turn, &ask, || moment(clock(clock_ms)));
        match pushed.map_err(|problem| refusal(&problem))? {
            Pushed::Request(id) => write_json(&json!({ "request": id.0 })),
            Pushed::Answer(detection) => write_json(&json!({ "detection": detection })),
        }
    }

    /// What to do next: `{step: "run", rows, tokens}`, `{step: "answer", request, detection}`, `{step: "answer", request, error}`,
    /// `{step: "wait", untilMs}` or `{step: "idle"}`.
    ///
    /// # Errors
    /// None in practice; a fault in grice has `code: "bug"`.
    pub fn poll(&mut self, now_ms: f64) -> Result<JsValue, JsValue> {
        let step = match self.session.poll(moment(now_ms)) {
            Step::Answer(request, Ok(detection)) => {
                json!({ "step": "answer", "request": request.0, "detection": detection })
            }
            Step::Answer(request, Err(problem)) => {
                let step = write_json(&json!({ "step": "answer", "request": request.0 }))?;
                js_sys::Reflect::set(&step, &"error".into(), &refusal(&problem))?;
                return Ok(step);
            }
            Step::Run(run) => {
                let step = json!({ "step": "run", "rows": run.batch.rows(), "tokens": run.batch.tokens() });
                self.next = Some(run);
                step
            }
            Step::WaitUntil(moment) => json!({ "step": "wait", "untilMs": moment.as_micros() as f64 / 1e3 }),
            Step::Idle => json!({ "step": "idle" }),
        };
        write_json(&step)
    }

    /// Runs the batch that `poll` told of, and blocks for as long as that takes. Nothing happens if there is none.
    pub fn run(&mut self) {
        let Some(run) = self.next.take() else { return };
        // There is no other engine to try it on.
        let failed = |error: grice_core::EngineError| Failure { error: Arc::new(error.into()), retryable: false };
        self.done = Some((run.id, self.engine.forward(&run.batch).map_err(failed)));
    }

    /// Takes in what came of `run`. `false` if nothing did.
    pub fn complete(&mut self, now_ms: f64) -> bool {
        let Some((batch, outcome)) = self.done.take() else { return false };
        self.session.complete(batch, outcome, moment(now_ms))
    }

    /// Forgets a request: no answer follows. `false` if it has, or is about to get, its answer.
    pub fn cancel(&mut self, request: u32) -> bool {
        self.session.cancel(RequestId(request.into()))
    }

    /// What was loaded: `grice_core::session::ModelInfo`.
    ///
    /// # Errors
    /// None in practice; a fault in grice has `code: "bug"`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        write_json(&self.session.describe(&self.engine.info()))
    }

    fn open(bundle: &Bundle, settings: &str) -> Result<Detector, JsValue> {
        let mut settings: serde_json::Map<String, serde_json::Value> = read_json("settings", settings)?;
        let precision = settings.remove("precision").map(serde_json::from_value).transpose();
        let precision = precision.map_err(|error| coded("bad_input", &format!("precision: {error}")))?;
        let settings = serde_json::from_value::<Settings>(settings.into());
        let settings = settings.map_err(|error| coded("bad_input", &format!("settings: {error}")))?;
        let model = Model::load(bundle, &Options { precision, ..Options::default() }).map_err(to_js)?;
        let engine = model.build_engine(1).map_err(to_js)?;
        let path = bundle.model_path(model.precision()).map_err(to_js)?;
        // Loading has held the file to a digest in the manifest; only without one is it read again.
        let digest = match bundle.manifest().digests.get(path) {
            Some(digest) => digest.to_ascii_lowercase(),
            None => bundle.model_digest(model.precision()).map_err(to_js)?,
        };
        let session = Session::new(model, &digest, &settings).map_err(to_js)?;
        Ok(Detector { session, engine, next: None, done: None })
    }
}

/// Milliseconds of the driver's clock as the schedule counts. What is negative or no number is the start; what is too large, never.
fn moment(ms: f64) -> Time {
    Time::from_micros((ms * 1e3) as u64)
}
