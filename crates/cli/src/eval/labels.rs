//! The expected values for `eval`: the `labels` and `violation_type` of a row, or the answer to one question.

use crate::rows::{Fields, RowError, kind_of, value_of};
use grice_core::{Maxim, PerMaxim};
use serde_json::{Map, Value};

const LABEL_EXPECTED: &str = "0, 1, true or false";

/// A row's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Which maxims the response violates.
    pub(crate) violated: PerMaxim<bool>,
    /// The row's group.
    pub(crate) violation_type: Option<String>,
}

/// Whether people found one maxim violated, or any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The question: the fields `set` and `question`, if present.
    pub(crate) name: String,
    /// The maxim of the question; `None` for any violation.
    pub(crate) maxim: Option<Maxim>,
    /// The answer.
    pub(crate) violated: bool,
    /// Rows of a group (for example a dialogue) depend on each other.
    pub(crate) group: Option<String>,
}

/// The expected values of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All four maxims.
    Labels(Labels),
    /// The answer to one question.
    Question(Question),
}

/// Reads the expected values: the answer to a question if there is a field `violated` and no `labels`.
///
/// # Errors
/// [`RowError::MissingField`], [`RowError::FieldType`] with the field.
pub(crate) fn read_known(fields: &Fields) -> Result<Known, RowError> {
    let asks_one = value_of(fields, "labels")?.is_none() && value_of(fields, "violated")?.is_some();
    Ok(if asks_one { Known::Question(read_question(fields)?) } else { Known::Labels(read_labels(fields)?) })
}

fn read_question(fields: &Fields) -> Result<Question, RowError> {
    let text = |field: &'static str| match value_of(fields, field)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(field, "text", kind_of(&other))),
    };
    let maxim = match text("maxim")? {
        None => None,
        Some(name) => {
            let maxim = Maxim::ALL.into_iter().find(|maxim| maxim.name() == name);
            Some(maxim.ok_or_else(|| wrong("maxim", "quantity, quality, relation, manner or null", &name))?)
        }
    };
    let violated = value_of(fields, "violated")?.ok_or(RowError::MissingField("violated".to_owned()))?;
    let names: Vec<String> = [text("set")?, text("question")?].into_iter().flatten().collect();
    let name = if names.is_empty() { "violated".to_owned() } else { names.join("/") };
    Ok(Question { name, maxim, violated: read_bit("violated", Some(&violated))?, group: text("group")? })
}

/// Reads the labels of a row.
///
/// # Errors
/// [`RowError::MissingField`], [`RowError::FieldType`] with the maxim.
pub(crate) fn read_labels(fields: &Fields) -> Result<Labels, RowError> {
    let object = match value_of(fields, "labels")? {
        Some(Value::Object(object)) => object,
        Some(other) => return Err(wrong("labels", "an object with the four maxims", kind_of(&other))),
        None => return Err(RowError::MissingField("labels".to_owned())),
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
    read_bit(&format!("labels.{maxim}"), object.get(maxim.name()))
}

fn read_bit(field: &str, value: Option<&Value>) -> Result<bool, RowError> {
    let found = match value {
        Some(Value::Bool(label)) => return Ok(*label),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(0.0) => return Ok(false),
            Some(1.0) => return Ok(true),
            _ => number.to_string(),
        },
        Some(other) => kind_of(other).to_owned(),
        None => "nothing".to_owned(),
    };
    Err(wrong(field, LABEL_EXPECTED, &found))
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

    fn known(json: &str) -> Result<Known, String> {
        read_known(&serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_row_may_answer_one_question() {
        let question = |name: &str, maxim, group: Option<&str>| {
            let group = group.map(str::to_owned);
            Ok(Known::Question(Question { name: name.to_owned(), maxim, violated: true, group }))
        };
        let row = r#"{"set":"s","question":"q","maxim":"relation","violated":1,"group":"g"}"#;
        assert_eq!(known(row), question("s/q", Some(Maxim::Relation), Some("g")));
        assert_eq!(known(r#"{"maxim":null,"violated":true}"#), question("violated", None, None));
        assert_eq!(known("{}").unwrap_err(), "no field `labels`");
        let wrong = known(r#"{"maxim":"style","violated":1}"#).unwrap_err();
        assert_eq!(wrong, "`maxim` must be quantity, quality, relation, manner or null, found style");
        let wrong = known(r#"{"maxim":"manner","violated":"yes"}"#).unwrap_err();
        assert!(wrong.starts_with("`violated` must be 0, 1, true or false"), "{wrong}");
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
