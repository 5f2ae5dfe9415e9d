//! What `eval` compares with: the `labels` and `violation_type` of a row.

use crate::rows::{Fields, RowError, kind_of, value_of};
use grice_core::{Maxim, PerMaxim};
use serde_json::{Map, Value};

const LABEL_EXPECTED: &str = "0, 1, true or false";

/// A row's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Which maxims the response violates.
    pub(crate) violated: PerMaxim<bool>,
    /// The group that the row belongs to.
    pub(crate) violation_type: Option<String>,
}

/// Reads the labels of a row.
///
/// # Errors
/// [`RowError::MissingField`], [`RowError::FieldType`] naming the maxim.
pub(crate) fn read_labels(fields: &Fields) -> Result<Labels, RowError> {
    let object = match value_of(fields, "labels")? {
        Some(Value::Object(object)) => object,
        Some(other) => return Err(wrong("labels", "an object with the four maxims", kind_of(&other))),
        None => return Err(RowError::MissingField("labels")),
    };
    let mut violated = PerMaxim::default();
    for maxim in Maxim::ALL {
        *violated.get_mut(maxim) = read_label(&object, maxim)?;
    }
    let violation_type = match value_of(fields, "violation_type")? {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => return Err(wrong("violation_type", "text", kind_of(&other))),
    };
    Ok(Labels { violated, violation_type })
}

fn read_label(object: &Map<String, Value>, maxim: Maxim) -> Result<bool, RowError> {
    let found = match object.get(maxim.name()) {
        Some(Value::Bool(label)) => return Ok(*label),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(0.0) => return Ok(false),
            Some(1.0) => return Ok(true),
            _ => number.to_string(),
        },
        Some(other) => kind_of(other).to_owned(),
        None => "nothing".to_owned(),
    };
    Err(wrong(&format!("labels.{maxim}"), LABEL_EXPECTED, &found))
}

fn wrong(field: &str, expected: &'static str, found: &str) -> RowError {
    RowError::FieldType { field: field.to_owned(), expected, found: found.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Labels, String> {
        read_labels(&serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_numbers_or_booleans() {
        let labels = read(r#"{"labels":{"quantity":1,"quality":false,"relation":0,"manner":true,"x":2}}"#).unwrap();
        assert_eq!(labels.violated, PerMaxim { quantity: true, quality: false, relation: false, manner: true });
        assert_eq!(labels.violation_type, None);
    }

    #[test]
    fn other_labels_are_refused_by_name() {
        assert_eq!(read("{}").unwrap_err(), "no field `labels`");
        assert!(read(r#"{"labels":[1,0,0,0]}"#).unwrap_err().starts_with("`labels` must be an object"));
        let missing = read(r#"{"labels":{"quantity":1,"quality":0,"relation":0}}"#).unwrap_err();
        assert_eq!(missing, "`labels.manner` must be 0, 1, true or false, found nothing");
        let wrong = read(r#"{"labels":{"quantity":0.5,"quality":0,"relation":0,"manner":0}}"#).unwrap_err();
        assert_eq!(wrong, "`labels.quantity` must be 0, 1, true or false, found 0.5");
    }
}
