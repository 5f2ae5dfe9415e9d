//! Parses the bodies of the domain routes. No state and no I/O, so that a fuzzer can run it.

use crate::problem::{ItemProblem, Problem};
use grice_core::{Context, Error, PerMaxim, THRESHOLD_EXPECTED, Turn, merge_thresholds};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

const DETAIL_CHARS_MAX: usize = 400;

/// One turn to judge, with its options.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    #[serde(default)]
    context: Option<Context>,
    #[serde(default)]
    evidence: Option<String>,
    response: String,
    /// The model; `None` for the default.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Thresholds that replace the model's.
    #[serde(default)]
    pub(crate) thresholds: Option<Thresholds>,
    /// Whether the words that moved the verdict are wanted.
    #[serde(default)]
    pub(crate) explain: Option<bool>,
}

/// Some thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thresholds {
    quantity: Option<f32>,
    quality: Option<f32>,
    relation: Option<f32>,
    manner: Option<f32>,
}

/// One turn, or an array of them.
#[derive(Debug)]
pub(crate) enum Items {
    One(Box<Item>),
    /// Invalid items have a problem each.
    Many(Vec<Result<Item, Problem>>),
}

/// A text, or a list of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn list(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// GriceBench's own body.
#[derive(Debug, Deserialize)]
pub(crate) struct AliasItem {
    #[serde(default)]
    context: Option<Context>,
    #[serde(default)]
    evidence: Option<String>,
    response: String,
    /// The threshold for all maxims.
    #[serde(default)]
    pub(crate) threshold: Option<f32>,
}

impl Items {
    /// Reads a body: an object or an array of objects.
    ///
    /// # Errors
    /// 400 if it is not JSON, 422 with the field for JSON of another form, 413 for too many items.
    pub(crate) fn parse(body: &[u8], items_max: usize) -> Result<Items, Problem> {
        match body.trim_ascii_start().first() {
            Some(b'[') => {
                let items: Vec<Box<RawValue>> = parse_json(body)?;
                if items.len() > items_max {
                    let detail = format!("{} turns are more than the {items_max} allowed in one request", items.len());
                    return Err(Problem::too_large(detail));
                }
                Ok(Items::Many(items.iter().map(|item| parse_json(item.get().as_bytes())).collect()))
            }
            _ => Ok(Items::One(Box::new(parse_json(body)?))),
        }
    }
}

impl Item {
    pub(crate) fn turn(&mut self) -> Turn {
        let context = self.context.take().unwrap_or_default();
        Turn { context, evidence: self.evidence.take(), response: std::mem::take(&mut self.response) }
    }
}

impl AliasItem {
    pub(crate) fn turn(&mut self) -> Turn {
        let context = self.context.take().unwrap_or_default();
        Turn { context, evidence: self.evidence.take(), response: std::mem::take(&mut self.response) }
    }
}

impl Thresholds {
    /// The same for every maxim.
    pub(crate) fn all(value: f32) -> Thresholds {
        let value = Some(value);
        Thresholds { quantity: value, quality: value, relation: value, manner: value }
    }

    /// These thresholds, and the model's for the missing ones.
    ///
    /// # Errors
    /// 422 with the maxim of an invalid threshold.
    pub(crate) fn over(&self, model: &PerMaxim<f32>) -> Result<PerMaxim<f32>, Problem> {
        let given =
            PerMaxim { quantity: self.quantity, quality: self.quality, relation: self.relation, manner: self.manner };
        merge_thresholds(model, &given).map_err(|error| match error {
            Error::Threshold(maxim) => Problem::unusable(format!("`thresholds.{maxim}` must be {THRESHOLD_EXPECTED}")),
            other => Problem::from(&other),
        })
    }
}

/// Reads JSON; after a failure reads it again, slowly, to find the place of the error.
///
/// # Errors
/// 400 if it is not JSON, 422 with the field for JSON of another form.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => {
            let deserializer = &mut serde_json::Deserializer::from_slice(body);
            let path =
                serde_path_to_error::deserialize::<_, T>(deserializer).err().map(|error| error.path().to_string());
            let place = path.filter(|path| path != ".").map(|path| format!("`{path}`: ")).unwrap_or_default();
            Problem::unusable(shortened(&format!("{place}{error}")))
        }
        _ if body.trim_ascii().is_empty() => Problem::malformed("the body is empty; it must be JSON"),
        _ => Problem::malformed(format!("the body is not JSON: {error}")),
    })
}

/// serde quotes the value that it found, at any length.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One problem for all invalid items.
pub(crate) fn items_problem(items: Vec<(usize, Problem)>) -> Option<Problem> {
    let count = items.len();
    let errors: Vec<ItemProblem> =
        items.iter().map(|(index, problem)| ItemProblem { index: *index, detail: problem.detail.clone() }).collect();
    let (first, mut problem) = items.into_iter().next()?;
    if count > 1 {
        problem.detail = format!("{count} items cannot be judged; the first is item {first}: {}", problem.detail);
    } else {
        problem.detail = format!("item {first}: {}", problem.detail);
    }
    problem.items = errors;
    Some(problem)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, status: u16, words: &str) {
        let problem = Items::parse(body.as_bytes(), 3).map(|_| ()).expect_err(body);
        assert_eq!(problem.status.as_u16(), status, "{body}: {}", problem.detail);
        assert!(problem.detail.contains(words), "{body}: {}", problem.detail);
        assert!(problem.detail.len() < 2 * DETAIL_CHARS_MAX, "{}", problem.detail);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check("", 400, "empty");
        check("{\"response\": \"a", 400, "not JSON");
        check("{\"response\": \"\\ud800\"}", 400, "not JSON");
        check("{\"response\": \"a\", \"thresholds\": {\"manner\": 1e999}}", 400, "number out of range");
        check(&format!("{{\"x\": {}", "[".repeat(100_000)), 400, "not JSON: EOF");
        check(&"[".repeat(100_000), 400, "not JSON: EOF");
        check(&format!("{{\"response\": 1, \"context\": {{}}, \"x\": \"{}\"}}", "y".repeat(10_000)), 422, "`response`");
        check(&format!("{{\"response\": \"a\", \"context\": [[\"{}\"]]}}", "y".repeat(10_000)), 422, "`context[0]`");
        check("{}", 422, "missing field `response`");
        check("7", 422, "invalid type");
        check("{\"response\": 1}", 422, "`response`: invalid type: integer `1`");
        check("{\"response\": \"a\", \"context\": [{\"speaker\": \"A\", \"text\": 1}]}", 422, "`context[0].text`");
        check("{\"response\": \"a\", \"thresholds\": {\"maner\": 0.5}}", 422, "`thresholds.maner`");
        check("[{\"response\":\"a\"},{\"response\":\"a\"},{\"response\":\"a\"},{\"response\":\"a\"}]", 413, "4 turns");
    }

    #[test]
    fn an_item_that_cannot_be_read_leaves_the_others() {
        let body = b"[{\"response\": \"a\"}, {\"response\": null}, 7, {\"response\": \"b\"}]";
        let Ok(Items::Many(items)) = Items::parse(body, 4) else { panic!("no items") };
        let told: Vec<String> = items
            .iter()
            .map(|item| item.as_ref().err().map_or(String::new(), |problem| problem.detail.clone()))
            .collect();
        assert_eq!((told[0].as_str(), told[3].as_str()), ("", ""));
        assert!(told[1].starts_with("`response`: ") && told[2].contains("invalid type"), "{told:?}");
    }

    #[test]
    fn thresholds_are_numbers_from_0_to_1() {
        let model = PerMaxim::from_fn(|_| 0.5);
        let over = |json: &str| serde_json::from_str::<Thresholds>(json).unwrap().over(&model);
        assert_eq!(over("{\"manner\": 0.25}").unwrap(), PerMaxim { manner: 0.25, ..model });
        assert_eq!(over("{\"manner\": 0, \"quality\": 1}").unwrap(), PerMaxim { manner: 0.0, quality: 1.0, ..model });
        for outside in ["{\"manner\": 1.001}", "{\"manner\": -1}", "{\"manner\": 1e30}"] {
            assert!(over(outside).unwrap_err().detail.contains("thresholds.manner"), "{outside}");
        }
    }
}
