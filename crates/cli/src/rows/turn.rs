//! A row's fields → the turn to judge.

use super::{Fields, RowError};
use grice_core::{Context, Turn, Utterance};
use serde_json::Value;

const CONTEXT_EXPECTED: &str = "text, or a list of texts or of {\"speaker\", \"text\"}";

/// Reads `context`, `evidence` and `response`.
///
/// # Errors
/// [`RowError::MissingField`], [`RowError::FieldType`] and, for a text that cannot be decoded, [`RowError::NotJson`].
pub(crate) fn read_turn(fields: &Fields) -> Result<Turn, RowError> {
    let response = text_of(fields, "response")?;
    Ok(Turn { response, ..read_context_of(fields)? })
}

/// Reads `context` and `evidence` of a row that has no response yet.
///
/// # Errors
/// As [`read_turn`].
pub(crate) fn read_context_of(fields: &Fields) -> Result<Turn, RowError> {
    let evidence = value_of(fields, "evidence")?.map(|value| read_text("evidence", value)).transpose()?;
    let context = value_of(fields, "context")?.map(read_context).transpose()?.unwrap_or_default();
    Ok(Turn { context, evidence, response: String::new() })
}

/// The text in a field.
///
/// # Errors
/// As [`read_turn`].
pub(crate) fn text_of(fields: &Fields, name: &str) -> Result<String, RowError> {
    match value_of(fields, name)? {
        Some(value) => read_text(name, value),
        None => Err(RowError::MissingField(name.to_owned())),
    }
}

/// The value of a field, unless it is missing or null.
///
/// # Errors
/// [`RowError::NotJson`] for well-formed values that cannot be decoded: half of a surrogate pair, or too deep nesting.
pub(crate) fn value_of(fields: &Fields, name: &str) -> Result<Option<Value>, RowError> {
    let parsed = fields.json(name).map(serde_json::from_str).transpose();
    parsed.map_err(|error| RowError::NotJson(format!("in `{name}`: {error}")))
}

/// The kind of a JSON value, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn read_text(field: &str, value: Value) -> Result<String, RowError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(field, "text", kind_of(&other))),
    }
}

fn read_context(value: Value) -> Result<Context, RowError> {
    match value {
        Value::String(text) => Ok(Context::Text(text)),
        Value::Array(values) => {
            let utterances = values.into_iter().enumerate().map(|(place, value)| read_utterance(place, value));
            utterances.collect::<Result<_, _>>().map(Context::Utterances)
        }
        other => Err(wrong_type("context", CONTEXT_EXPECTED, kind_of(&other))),
    }
}

fn read_utterance(place: usize, value: Value) -> Result<Utterance, RowError> {
    match value {
        Value::String(text) => Ok(Utterance::Text(text)),
        Value::Object(mut object) => {
            let mut take = |name: &str| match object.get_mut(name).map(Value::take) {
                Some(value) => read_text(&format!("context[{place}].{name}"), value),
                None => Err(wrong_type(&format!("context[{place}].{name}"), "text", "nothing")),
            };
            Ok(Utterance::Spoken { speaker: take("speaker")?, text: take("text")? })
        }
        other => Err(wrong_type(&format!("context[{place}]"), "text or {\"speaker\", \"text\"}", kind_of(&other))),
    }
}

fn wrong_type(field: &str, expected: &'static str, found: &str) -> RowError {
    RowError::FieldType { field: field.to_owned(), expected, found: found.to_owned() }
}
