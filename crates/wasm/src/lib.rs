//! The browser's face of grice: JavaScript values in, JavaScript values out, no judgement of its own.
//!
//! It runs on the thread that calls it and blocks it for as long as a batch takes, so it belongs in a worker. It fetches
//! nothing, keeps nothing and knows no clock; where a bundle comes from, and what time it is, is the page's business. The
//! package in `web/` is made of it.
#![cfg(target_arch = "wasm32")]

mod detector;
mod engine;
mod task;
mod values;

pub use {detector::Detector, engine::Engine, task::Task};

/// Makes a fault in grice readable in the console, where a trap alone says only "unreachable".
#[wasm_bindgen::prelude::wasm_bindgen(start)]
pub fn report_panics() {
    console_error_panic_hook::set_once();
}
