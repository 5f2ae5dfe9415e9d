//! A judged row → its line of output: the input's fields, then grice's fields.

use super::{Fields, RowError};
use grice_core::task::Explanation;
use grice_core::{Maxim, PerMaxim, Verdict};
use serde::Serialize;

/// The first of grice's fields in a judged row.
pub(crate) const VERDICT_TAIL: &str = "\"probabilities\":";
/// The first of grice's fields in a row that could not be judged.
pub(crate) const BAD_TAIL: &str = "\"line\":";

/// Names of grice's fields; includes `error`, so that rows from an earlier output do not look failed.
const IN_VERDICTS: [&str; 7] =
    ["probabilities", "violations", "cooperative", "truncated", "unknown_share", "explanation", "error"];

/// Grice's fields of a row; probabilities have six decimals, because more would be noise.
#[derive(Serialize)]
struct VerdictTail<'v> {
    probabilities: PerMaxim<f64>,
    violations: &'v PerMaxim<bool>,
    cooperative: bool,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_share: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

#[derive(Serialize)]
struct ErrorTail {
    line: u64,
    error: String,
}

/// The names of input fields that grice's fields replace.
pub(crate) fn replaced_fields(fields: &Fields, bad: bool) -> impl Iterator<Item = &str> {
    fields.iter().map(|field| field.name.as_str()).filter(move |name| is_replaced(name, bad))
}

/// The opening brace and the input's fields. The same row gives the same bytes, which `--resume` needs.
pub(crate) fn row_head(fields: &Fields, bad: bool) -> String {
    head_without(fields, |name| is_replaced(name, bad))
}

/// The opening brace and the fields, except those of some names.
pub(crate) fn head_without(fields: &Fields, is_replaced: impl Fn(&str) -> bool) -> String {
    let mut head = "{".to_owned();
    for field in fields.iter().filter(|field| !is_replaced(&field.name)) {
        head.push_str(&json_of(&field.name));
        head.push(':');
        head.push_str(field.json.get());
        head.push(',');
    }
    head
}

/// The whole line of a row, without the line end.
pub(crate) fn row_line(
    line: u64,
    fields: &Fields,
    verdict: &Result<Verdict, RowError>,
    explanation: Option<&Explanation>,
) -> String {
    let mut text = row_head(fields, verdict.is_err());
    match verdict {
        Ok(verdict) => text.push_str(&verdict_tail(verdict, explanation)),
        Err(error) => text.push_str(&error_tail(line, error)),
    }
    text
}

/// The rest of a judged row, with the closing brace.
fn verdict_tail(verdict: &Verdict, explanation: Option<&Explanation>) -> String {
    let probabilities = PerMaxim::from_fn(|maxim: Maxim| rounded(*verdict.probabilities.get(maxim)));
    let Verdict { violations, cooperative, truncated, .. } = verdict;
    let unknown_share = Some(verdict.unknown_share).filter(|&share| share > 0.0);
    let (cooperative, truncated) = (*cooperative, *truncated);
    let explanation = explanation.cloned().map(with_six_decimals);
    let tail = VerdictTail { probabilities, violations, cooperative, truncated, unknown_share, explanation };
    json_of(&tail).split_off(1)
}

/// The rest of a row that could not be judged, with the closing brace.
pub(crate) fn error_tail(line: u64, error: &RowError) -> String {
    json_of(&ErrorTail { line, error: error.to_string() }).split_off(1)
}

fn is_replaced(name: &str, bad: bool) -> bool {
    IN_VERDICTS.contains(&name) || (bad && name == "line")
}

fn with_six_decimals(mut explanation: Explanation) -> Explanation {
    for maxim in Maxim::ALL {
        for word in explanation.words.get_mut(maxim) {
            word.change = rounded(word.change) as f32;
        }
    }
    explanation
}

fn rounded(probability: f32) -> f64 {
    (f64::from(probability) * 1e6).round() / 1e6
}

/// Numbers, booleans and texts always have a JSON form.
fn json_of(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            probabilities: PerMaxim { quantity: 0.123_456_79, quality: 0.0, relation: 1.0, manner: 1e-9 },
            violations: PerMaxim { relation: true, ..PerMaxim::default() },
            cooperative: false,
            truncated: false,
            unknown_share: 0.0,
        }
    }

    const FOUND: &str = "\"probabilities\":{\"quantity\":0.123457,\"quality\":0.0,\"relation\":1.0,\"manner\":0.0},\
        \"violations\":{\"quantity\":false,\"quality\":false,\"relation\":true,\"manner\":false},\
        \"cooperative\":false,\"truncated\":false}";

    #[test]
    fn fields_are_kept_and_grices_own_replace_theirs() {
        let fields: Fields =
            serde_json::from_str("{\"line\":3,\"a\\n\":[1,  2],\"cooperative\":1,\"error\":2,\"response\":\"x\"}")
                .unwrap();
        let line = row_line(9, &fields, &Ok(verdict()), None);
        assert_eq!(line, format!("{{\"line\":3,\"a\\n\":[1,  2],\"response\":\"x\",{FOUND}"));
        let line = row_line(9, &fields, &Err(RowError::MissingField("response".to_owned())), None);
        assert_eq!(line, "{\"a\\n\":[1,  2],\"response\":\"x\",\"line\":9,\"error\":\"no field `response`\"}");
        assert_eq!(replaced_fields(&fields, false).collect::<Vec<_>>(), ["cooperative", "error"]);
    }

    #[test]
    fn a_row_without_fields_is_an_object_still() {
        assert_eq!(row_line(1, &Fields::default(), &Ok(verdict()), None), format!("{{{FOUND}"));
        let unknown = Verdict { unknown_share: 0.834, ..verdict() };
        let line = row_line(1, &Fields::default(), &Ok(unknown), None);
        assert!(line.ends_with("\"truncated\":false,\"unknown_share\":0.834}"), "{line}");
    }
}
