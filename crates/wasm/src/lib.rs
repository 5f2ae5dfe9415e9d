//! The browser's face of grice: JavaScript values in, JavaScript values out, no judgement of its own.
//!
//! It runs on the thread that calls it and blocks it for as long as a verdict takes, so it belongs in a worker. It fetches
//! nothing, keeps nothing and knows no clock; where a bundle comes from is the page's business.
#![cfg(target_arch = "wasm32")]

mod engine;

pub use engine::Engine;

use grice_core::{Bundle, ErrorKind, Options, Turn};
use js_sys::{Error, JSON, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

/// A loaded model that judges turns.
#[wasm_bindgen]
pub struct Detector {
    inner: grice_core::Detector,
}

#[wasm_bindgen]
impl Detector {
    /// Loads a bundle from the bytes of its `.tar`.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_model"`, its message naming the file at fault.
    #[wasm_bindgen(constructor)]
    pub fn new(bundle_tar: &Uint8Array) -> Result<Detector, JsValue> {
        // A copy, since the caller's buffer lives outside wasm memory; dropped before the model is planned.
        let bundle = Bundle::from_tar(&bundle_tar.to_vec()).map_err(to_js)?;
        Detector::load(&bundle)
    }

    /// Loads the model compiled into this module.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_model"`.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Detector, JsValue> {
        Detector::load(&Bundle::embedded().map_err(to_js)?)
    }

    /// The verdict on one turn `{context?, evidence?, response}`, given as an object or as its JSON text:
    /// `{probabilities, violations, cooperative, truncated}`.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_input"` for what is not a turn or cannot be judged.
    pub fn detect(&mut self, turn: &JsValue) -> Result<JsValue, JsValue> {
        let verdict = self.inner.detect(&read_turn(turn)?).map_err(to_js)?;
        write_json(&verdict)
    }

    /// What was loaded: `{name, version, device, precision, kernels, max_tokens, thresholds}`.
    ///
    /// # Errors
    /// None in practice; a fault in grice has `code: "bug"`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let manifest = self.inner.manifest();
        let engine = self.inner.engine_info();
        write_json(&serde_json::json!({
            "name": manifest.name,
            "version": manifest.version,
            "device": engine.device,
            "precision": engine.precision,
            "kernels": engine.kernels,
            "max_tokens": manifest.max_tokens,
            "thresholds": self.inner.thresholds(),
        }))
    }

    fn load(bundle: &Bundle) -> Result<Detector, JsValue> {
        let inner = grice_core::Detector::load(bundle, &Options::default()).map_err(to_js)?;
        Ok(Detector { inner })
    }
}

/// Makes a fault in grice readable in the console, where a trap alone says only "unreachable".
#[wasm_bindgen(start)]
pub fn report_panics() {
    console_error_panic_hook::set_once();
}

fn read_turn(turn: &JsValue) -> Result<Turn, JsValue> {
    let json = match turn.as_string() {
        Some(json) => json,
        // What `stringify` throws (a cycle, a BigInt) and what it has no text for (undefined, a function) is no turn.
        None => JSON::stringify(turn)
            .ok()
            .and_then(|json| json.as_string())
            .ok_or_else(|| coded("bad_input", "the turn is not an object that JSON can hold"))?,
    };
    serde_json::from_str(&json).map_err(|error| {
        let expected = "a turn is {context?: text or list, evidence?: text, response: text}";
        coded("bad_input", &format!("not a turn ({error}); {expected}"))
    })
}

fn write_json(value: &impl serde::Serialize) -> Result<JsValue, JsValue> {
    let json = serde_json::to_string(value).map_err(|error| coded("bug", &error.to_string()))?;
    JSON::parse(&json)
}

fn to_js(error: grice_core::Error) -> JsValue {
    let code = match error.kind() {
        ErrorKind::BadInput => "bad_input",
        ErrorKind::BadModel => "bad_model",
        _ => "bug",
    };
    coded(code, &error.to_string())
}

/// A JavaScript `Error` with a `code` that a program can branch on.
fn coded(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    // Setting a property of an object made one line above cannot be refused.
    let _ = Reflect::set(&error, &JsValue::from_str("code"), &JsValue::from_str(code));
    error.into()
}
