//! A model with its schedule, driven by the page's event loop.

use crate::task::Task;
use crate::values::{clock, read_json, read_turn, refusal, to_js, write_json};
use grice_core::schedule::{BatchId, RequestId, Run, Time};
use grice_core::session::{Session, SessionOptions, Step};
use grice_core::{
    AnyEngine, Batch, Bundle, Device, Engine as _, EngineError, Model, Options, Rows, run_rows, run_rows_blocking,
};
use js_sys::{Function, Uint8Array};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// A loaded model that judges turns. A driver calls `push`, then `poll` until it returns `wait` or `idle`, and `run` and `complete`
/// after each `run` step. It has no clock: `now_ms` is milliseconds since a moment that the driver chooses.
#[wasm_bindgen]
pub struct Detector {
    session: Session,
    /// The batch from `poll`, until `run`.
    next: Option<Run>,
    desk: Rc<RefCell<Desk>>,
    /// The source for rebuilding a model after a lost GPU; `None` on the processor.
    spare: Option<Rc<(Bundle, Options)>>,
}

/// The state of a run, which may outlive a call of `run`.
struct Desk {
    /// `None` while it runs.
    engine: Option<AnyEngine>,
    /// The outcome of the last run, until `complete`.
    done: Option<(BatchId, Result<Rows, EngineError>)>,
    /// The model on another device, and why.
    moved: Option<(Model, String)>,
}

#[wasm_bindgen]
impl Detector {
    /// Loads a bundle from the bytes of its `.tar` on the processor, and blocks. `settings` is the JSON of
    /// `grice_core::session::SessionOptions`.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_model"`, its message naming the file at fault, or `"bad_input"` for the settings.
    pub fn load(bundle_tar: &Uint8Array, settings: &str) -> Result<Detector, JsValue> {
        // A copy, because the caller's buffer is outside wasm memory; dropped before the first batch.
        Detector::of(Bundle::from_bytes(bundle_tar.to_vec()), settings)
    }

    /// The same on another device: `"auto"`, `"cpu"` or `"gpu"`. The task ends with a `Detector`, with an error as in `load`, or with
    /// `code: "unsupported"` if a GPU is required but cannot be used.
    #[cfg(feature = "gpu")]
    pub fn open(bundle_tar: Uint8Array, settings: String, device: String) -> Task {
        Task(Box::pin(async move {
            let bundle = Bundle::from_bytes(bundle_tar.to_vec()).map_err(to_js)?;
            let device = device.parse().map_err(|problem: String| crate::values::coded("bad_input", &problem))?;
            let settings: SessionOptions = read_json("settings", &settings)?;
            let options = settings.model(device);
            let model = Model::open(&bundle, &options).await.map_err(to_js)?;
            Detector::new(bundle, model, &settings, options).map(JsValue::from)
        }))
    }

    /// Loads the model compiled into this module.
    ///
    /// # Errors
    /// As in `load`.
    #[cfg(feature = "embedded-model")]
    pub fn embedded(settings: &str) -> Result<Detector, JsValue> {
        Detector::of(Bundle::embedded(), settings)
    }

    /// Adds a turn `{context?, evidence?, response}`, as an object or as JSON text, with its options as the
    /// JSON of `grice_core::session::Ask`. Returns `{request}`, a number that `poll` answers later, or `{detection}` from the cache.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_input"` if it cannot be judged, `"overloaded"` if too many turns wait.
    pub fn push(&mut self, turn: &JsValue, ask: &str, clock_ms: &Function) -> Result<JsValue, JsValue> {
        let (turn, ask) = (read_turn(turn)?, read_json("options", ask)?);
        let pushed = self.session.push(&turn, &ask, || moment(clock(clock_ms)));
        write_json(&pushed.map_err(|problem| refusal(&problem))?)
    }

    /// The next action: `{step: "run", rows, tokens}`, `{step: "answer", request, detection}`, `{step: "answer", request, error}`,
    /// `{step: "wait", untilMs}` or `{step: "idle"}`.
    ///
    /// # Errors
    /// None in practice; a bug in grice has `code: "bug"`.
    pub fn poll(&mut self, now_ms: f64) -> Result<JsValue, JsValue> {
        let step = self.session.poll(moment(now_ms));
        let told = write_json(&step)?;
        match step {
            Step::Answer(_, Err(problem)) => _ = js_sys::Reflect::set(&told, &"error".into(), &refusal(&problem))?,
            Step::Run(run) => self.next = Some(run),
            _ => {}
        }
        Ok(told)
    }

    /// Runs the batch from `poll`: on the processor it blocks until the end; on a GPU it returns a task, which
    /// ends with `true`. Does nothing if there is no batch. The processor replaces a lost GPU, and `info` shows it.
    pub fn run(&mut self) -> Option<Task> {
        let run = self.next.take()?;
        let mut engine = self.desk.borrow_mut().engine.take()?;
        if engine.info().device == "cpu" {
            // Not in a promise, which would hide a trap.
            let outcome = run_rows_blocking(&run.batch, |part| engine.forward(part));
            self.desk.borrow_mut().put_back(engine, &run, outcome);
            return None;
        }
        let (desk, spare) = (Rc::clone(&self.desk), self.spare.clone());
        Some(Task(Box::pin(async move {
            let mut outcome = run_rows(&run.batch, async |part: &Batch| engine.run(part).await).await;
            if let (Err(EngineError::DeviceLost(reason)), Some(spare)) = (&outcome, spare) {
                let options = Options { device: Device::Cpu, ..spare.1.clone() };
                let model = Model::open(&spare.0, &options).await.map_err(to_js)?;
                engine = model.build_engine(1).map_err(to_js)?;
                desk.borrow_mut().moved = Some((model, format!("the GPU was lost: {reason}")));
                outcome = run_rows(&run.batch, async |part: &Batch| engine.run(part).await).await;
            }
            desk.borrow_mut().put_back(engine, &run, outcome);
            Ok(JsValue::TRUE)
        })))
    }

    /// Takes the outcome of `run`. Returns `false` if there is none.
    pub fn complete(&mut self, now_ms: f64) -> bool {
        let mut desk = self.desk.borrow_mut();
        if let Some((model, reason)) = desk.moved.take() {
            self.session.fall_back(model, reason);
            self.spare = None;
        }
        let Some((batch, outcome)) = desk.done.take() else { return false };
        self.session.complete_rows(batch, outcome, moment(now_ms))
    }

    /// Drops a request, so that no answer follows. Returns `false` if the answer already exists.
    pub fn cancel(&mut self, request: u32) -> bool {
        self.session.cancel(RequestId(request.into()))
    }

    /// The loaded model, as `grice_core::session::ModelInfo`; `undefined` while a batch runs.
    ///
    /// # Errors
    /// None in practice; a bug in grice has `code: "bug"`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let desk = self.desk.borrow();
        let info = desk.engine.as_ref().map(|engine| self.session.describe(&engine.info()));
        info.map_or(Ok(JsValue::UNDEFINED), |info| write_json(&info))
    }

    fn of(bundle: grice_core::Result<Bundle>, settings: &str) -> Result<Detector, JsValue> {
        let bundle = bundle.map_err(to_js)?;
        let settings: SessionOptions = read_json("settings", settings)?;
        let options = settings.model(Device::Cpu);
        let model = Model::load(&bundle, &options).map_err(to_js)?;
        Detector::new(bundle, model, &settings, options)
    }

    fn new(bundle: Bundle, model: Model, settings: &SessionOptions, options: Options) -> Result<Detector, JsValue> {
        let engine = model.build_engine(1).map_err(to_js)?;
        let digest = bundle.model_digest(model.precision()).map_err(to_js)?;
        let is_gpu = engine.info().device == "gpu";
        let session = Session::new(model, &digest, settings).map_err(to_js)?;
        let desk = Rc::new(RefCell::new(Desk { engine: Some(engine), done: None, moved: None }));
        Ok(Detector { session, next: None, desk, spare: is_gpu.then(|| Rc::new((bundle, options))) })
    }
}

impl Desk {
    fn put_back(&mut self, engine: AnyEngine, run: &Run, outcome: Result<Rows, EngineError>) {
        self.engine = Some(engine);
        self.done = Some((run.id, outcome));
    }
}

/// Converts milliseconds of the driver's clock to the schedule's time. Negative values and NaN mean the start, too large values mean never.
fn moment(ms: f64) -> Time {
    Time::from_micros((ms * 1e3) as u64)
}
