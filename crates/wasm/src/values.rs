//! Conversion between JavaScript and Rust values, and errors with a code.

use grice_core::schedule::Rejection;
use grice_core::session::Refusal;
use grice_core::{ErrorKind, Turn};
use js_sys::{Error, JSON, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

pub(crate) fn read_turn(turn: &JsValue) -> Result<Turn, JsValue> {
    let json = match turn.as_string() {
        Some(json) => json,
        // Values that `stringify` throws on (a cycle, a BigInt) or has no text for (undefined, a function) are not turns.
        None => JSON::stringify(turn)
            .ok()
            .and_then(|json| json.as_string())
            .ok_or_else(|| coded("bad_input", "the turn is not an object that JSON can represent"))?,
    };
    serde_json::from_str(&json).map_err(|error| {
        let expected = "a turn is {context?: text or list, evidence?: text, response: text}";
        coded("bad_input", &format!("not a turn ({error}); {expected}"))
    })
}

/// Reads options of the page; `what` names them in messages.
pub(crate) fn read_json<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, JsValue> {
    serde_json::from_str(json).map_err(|error| coded("bad_input", &format!("{what}: {error}")))
}

pub(crate) fn write_json(value: &impl serde::Serialize) -> Result<JsValue, JsValue> {
    let json = serde_json::to_string(value).map_err(|error| coded("bug", &error.to_string()))?;
    JSON::parse(&json)
}

/// The driver's clock in milliseconds; NaN if it fails, which means the start.
pub(crate) fn clock(clock_ms: &js_sys::Function) -> f64 {
    clock_ms.call0(&JsValue::UNDEFINED).ok().and_then(|now| now.as_f64()).unwrap_or(f64::NAN)
}

pub(crate) fn to_js(error: grice_core::Error) -> JsValue {
    coded(code_of(&error), &error.to_string())
}

/// The error of a turn without a verdict.
pub(crate) fn refusal(refusal: &Refusal) -> JsValue {
    let code = match refusal {
        Refusal::Error(error) => code_of(error),
        Refusal::Rejection(Rejection::QueueFull { .. }) => "overloaded",
        Refusal::Rejection(Rejection::DeadlineExceeded) => "timeout",
        Refusal::Rejection(Rejection::Failed(error)) => code_of(error),
        Refusal::Rejection(_) => "bug",
    };
    coded(code, &refusal.to_string())
}

fn code_of(error: &grice_core::Error) -> &'static str {
    match error.kind() {
        // The package then loads the artifact that reads ONNX.
        _ if matches!(error, grice_core::Error::NeedsOnnx { .. }) => "needs_onnx",
        ErrorKind::BadInput => "bad_input",
        ErrorKind::BadModel => "bad_model",
        ErrorKind::Device => "unsupported",
        _ => "bug",
    }
}

/// A JavaScript `Error` with a `code` that a program can branch on.
pub(crate) fn coded(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    // Setting a property of a new object cannot fail.
    let _ = Reflect::set(&error, &JsValue::from_str("code"), &JsValue::from_str(code));
    error.into()
}
