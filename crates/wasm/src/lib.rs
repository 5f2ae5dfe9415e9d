//! The browser's interface to grice: JavaScript values in, JavaScript values out. It makes no verdicts itself.
//!
//! It runs on the calling thread and blocks it while a batch runs, so it belongs in a worker. It fetches nothing, stores nothing
//! and has no clock; the page provides the bundle and the time. The package in `web/` uses it.
#![cfg(target_arch = "wasm32")]

mod detector;
mod engine;
mod task;
mod values;
#[cfg(feature = "generation")]
mod workshop;

#[cfg(feature = "generation")]
pub use workshop::Workshop;
pub use {detector::Detector, engine::Engine, task::Task};

/// Shows a panic's message in the console, because a trap alone says only "unreachable".
#[wasm_bindgen::prelude::wasm_bindgen(start)]
pub fn report_panics() {
    console_error_panic_hook::set_once();
}
