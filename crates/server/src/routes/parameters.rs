//! Parameters of inference requests: reads the supported ones, and refuses all others by name.

use crate::problem::Problem;
use serde_json::{Map, Value};
use std::time::Duration;

/// Parameters as sent.
pub(crate) type Given = Map<String, Value>;

/// Parameters of a whole request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfRequest {
    pub(crate) binary_data_output: bool,
    pub(crate) timeout: Option<Duration>,
}

/// Parameters of one output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfOutput {
    pub(crate) binary_data: Option<bool>,
    pub(crate) classes: Option<u64>,
}

/// Reads those of a request. `as_json` means that it is JSON, which may have binary tensors.
///
/// # Errors
/// 400 with the name of an unsupported or invalid parameter.
pub(crate) fn read_request(given: &Given, as_json: bool) -> Result<OfRequest, Problem> {
    let mut read = OfRequest::default();
    for (name, value) in given {
        match name.as_str() {
            "binary_data_output" if as_json => read.binary_data_output = flag(name, value)?,
            "timeout" => {
                // Zero means none in Triton.
                let micros = whole(name, value)?;
                read.timeout = (micros > 0).then(|| Duration::from_micros(micros));
            }
            // The defaults of clients that do not use them.
            "sequence_id" | "sequence_start" | "sequence_end" | "priority" if is_neutral(value) => {}
            "sequence_id" | "sequence_start" | "sequence_end" => {
                return Err(unsupported("request", name, "requests are independent"));
            }
            "priority" => return Err(unsupported("request", name, "all requests have the same priority")),
            _ => {
                return Err(unsupported(
                    "request",
                    name,
                    "the parameters are timeout and, with JSON, binary_data_output",
                ));
            }
        }
    }
    Ok(read)
}

/// Number of bytes of an input's binary data, if any.
///
/// # Errors
/// As [`read_request`].
pub(crate) fn read_input(input: &str, given: &Given, as_json: bool) -> Result<Option<u64>, Problem> {
    let mut size = None;
    for (name, value) in given {
        match name.as_str() {
            "binary_data_size" if as_json => size = Some(whole(name, value)?),
            _ => return Err(unsupported(&of("input", input), name, instead(name, "binary_data_size"))),
        }
    }
    Ok(size)
}

/// Reads those of an output.
///
/// # Errors
/// As [`read_request`].
pub(crate) fn read_output(output: &str, given: &Given, as_json: bool) -> Result<OfOutput, Problem> {
    let mut read = OfOutput::default();
    for (name, value) in given {
        match name.as_str() {
            "binary_data" if as_json => read.binary_data = Some(flag(name, value)?),
            "classification" => read.classes = Some(whole(name, value)?).filter(|&count| count > 0),
            _ => {
                return Err(unsupported(&of("output", output), name, instead(name, "binary_data and classification")));
            }
        }
    }
    Ok(read)
}

fn of(what: &str, name: &str) -> String {
    format!("{what} `{}`", shortened(name))
}

fn instead(name: &str, known: &'static str) -> &'static str {
    if name.starts_with("shared_memory") { "this server has no shared memory; send the data" } else { known }
}

fn unsupported(place: &str, name: &str, why: &str) -> Problem {
    let detail = format!("{place}: parameter `{}` is not supported: {why}", shortened(name));
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "unsupported-parameter", detail)
}

fn shortened(name: &str) -> String {
    name.escape_default().take(80).collect()
}

fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| Problem::malformed(format!("parameter `{name}` must be true or false")))
}

fn whole(name: &str, value: &Value) -> Result<u64, Problem> {
    value.as_u64().ok_or_else(|| Problem::malformed(format!("parameter `{name}` must be a whole number, at least 0")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(value: Value) -> Given {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let request = |value: Value| read_request(&given(value), true).map(|_| ());
        let input = |value: Value| read_input("response", &given(value), true).map(|_| ());
        let output = |value: Value| read_output("logits", &given(value), true).map(|_| ());
        for (found, words) in [
            (request(json!({ "sequence_id": 7 })), "request: parameter `sequence_id` is not supported"),
            (request(json!({ "sequence_id": "a" })), "`sequence_id`"),
            (request(json!({ "sequence_start": true })), "`sequence_start`"),
            (request(json!({ "priority": 1 })), "`priority`"),
            (request(json!({ "temperature": 0 })), "`temperature`"),
            (request(json!({ "timeout": -1 })), "`timeout` must be a whole number"),
            (request(json!({ "binary_data_output": 1 })), "`binary_data_output` must be true or false"),
            (input(json!({ "shared_memory_region": "a" })), "input `response`: parameter `shared_memory_region`"),
            (input(json!({ "binary_data_size": -4 })), "`binary_data_size` must be"),
            (input(json!({ "content_type": "str" })), "`content_type`"),
            (output(json!({ "shared_memory_byte_size": 4 })), "output `logits`: parameter `shared_memory_byte_size`"),
            (output(json!({ "binary_data": "yes" })), "`binary_data` must be true or false"),
            (output(json!({ "classification": -1 })), "`classification` must be"),
            (output(json!({ "binary_data_size": 4 })), "`binary_data_size` is not supported"),
            (read_request(&given(json!({ "binary_data_output": true })), false).map(|_| ()), "`binary_data_output`"),
        ] {
            let problem = found.unwrap_err();
            assert_eq!(problem.status.as_u16(), 400);
            assert!(problem.detail.contains(words), "{}", problem.detail);
        }
    }

    #[test]
    fn what_is_supported_is_read() {
        let neutral =
            json!({ "sequence_id": 0, "sequence_start": false, "sequence_end": false, "priority": 0, "timeout": 0 });
        assert!(read_request(&given(neutral), true).unwrap().timeout.is_none());
        let request = read_request(&given(json!({ "timeout": 1500, "binary_data_output": true })), true).unwrap();
        assert_eq!((request.timeout, request.binary_data_output), (Some(Duration::from_micros(1500)), true));
        assert_eq!(read_input("a", &given(json!({ "binary_data_size": 4 })), true).unwrap(), Some(4));
        let output = read_output("a", &given(json!({ "binary_data": false, "classification": 2 })), true).unwrap();
        assert_eq!((output.binary_data, output.classes), (Some(false), Some(2)));
        assert_eq!(read_output("a", &given(json!({ "classification": 0 })), true).unwrap().classes, None);
    }
}
