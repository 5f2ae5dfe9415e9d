//! Repairs, answers and texts, driven by the page's event loop.

use crate::values::{clock, read_json, refusal, to_js, write_json};
use grice_core::JobId;
use js_sys::{Function, Uint8Array};
use std::time::Duration;
use wasm_bindgen::prelude::*;

/// A model that writes, and a detector. A driver calls `push`, then `step` until it returns `undefined`. Errors are as those of
/// `Detector`; clocks tell milliseconds since a moment that the driver chooses.
#[wasm_bindgen]
pub struct Workshop(grice_core::Workshop);

#[wasm_bindgen]
impl Workshop {
    /// Without models. `settings` is the JSON of `grice_core::WorkshopOptions`.
    #[wasm_bindgen(constructor)]
    pub fn new(settings: &str) -> Result<Workshop, JsValue> {
        Ok(Workshop(grice_core::Workshop::new(read_json("settings", settings)?)))
    }

    /// Loads the detector, or else the model that writes, from the bytes of a `.tar`, and blocks.
    pub fn load(&mut self, tar: &Uint8Array, is_detector: bool) -> Result<(), JsValue> {
        let tar = tar.to_vec();
        if is_detector { self.0.load_detector(tar) } else { self.0.load_writer(tar) }.map_err(to_js)
    }

    /// Adds a job, the JSON of `grice_core::Ask`. Returns its number.
    pub fn push(&mut self, ask: &str, clock_ms: &Function) -> Result<u32, JsValue> {
        let pushed = self.0.push(read_json("the request", ask)?, now(clock_ms));
        pushed.map(|job| job.0).map_err(|problem| refusal(&problem))
    }

    /// Runs one step, and blocks. Returns the news, a list of `grice_core::Told`; `undefined` if there was nothing to do.
    pub fn step(&mut self, clock_ms: &Function) -> Result<JsValue, JsValue> {
        let ran = self.0.step(&|| now(clock_ms)).map_err(to_js)?;
        let news = self.0.told();
        if ran || !news.is_empty() { write_json(&news) } else { Ok(JsValue::UNDEFINED) }
    }

    /// Ends a job and frees its memory. Nothing more is told of it.
    pub fn cancel(&mut self, job: u32) {
        self.0.cancel(JobId(job));
    }

    /// The models, as `grice_core::WorkshopInfo`; `undefined` without one that writes.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        self.0.info().map_or(Ok(JsValue::UNDEFINED), |info| write_json(&info))
    }
}

fn now(clock_ms: &Function) -> Duration {
    Duration::try_from_secs_f64(clock(clock_ms) / 1e3).unwrap_or_default()
}
