//! Conversion between JavaScript and Rust values, and errors with a code.

use grice_core::Turn;
use grice_core::session::Refusal;
use js_sys::{Error, JSON, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

pub(crate) fn read_turn(turn: &JsValue) -> Result<Turn, JsValue> {
    // Values that `stringify` throws on (a cycle, a BigInt) or has no text for (undefined, a function) are not turns.
    let json = turn.as_string().or_else(|| JSON::stringify(turn).ok()?.as_string());
    let json = json.ok_or_else(|| coded("bad_input", "the turn is not an object that JSON can represent"))?;
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
    coded(error.code(), &error.to_string())
}

/// The error of a turn without a verdict.
pub(crate) fn refusal(refusal: &Refusal) -> JsValue {
    coded(refusal.code(), &refusal.to_string())
}

/// A JavaScript `Error` with a `code` that a program can branch on.
pub(crate) fn coded(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    // Setting a property of a new object cannot fail.
    let _ = Reflect::set(&error, &JsValue::from_str("code"), &JsValue::from_str(code));
    error.into()
}
