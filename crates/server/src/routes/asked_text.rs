//! What Triton's clients ask of a text, by HTTP and by gRPC: `text_input`, and parameters under our names or those of Triton's backends.

use super::input::OneOrMany;
use crate::problem::Problem;
use crate::scribe::{Prepared, Scribe};
use grice_core::generate::Choice;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The input of a model that writes texts.
pub(super) const INPUT: &str = "text_input";
/// Its output.
pub(super) const OUTPUT: &str = "text_output";
/// Parameters that are numbers with a fraction; some clients can send them only as texts.
const FRACTIONS: [&str; 6] =
    ["temperature", "top_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "length_penalty"];

/// Parameters of a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    #[serde(alias = "max_tokens")]
    max_new_tokens: Option<usize>,
    #[serde(alias = "min_tokens")]
    min_new_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    #[serde(alias = "random_seed")]
    seed: Option<u64>,
    #[serde(alias = "beam_width")]
    beams: Option<usize>,
    length_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    no_repeat_ngram: Option<usize>,
    #[serde(alias = "stop_words")]
    stop: Option<OneOrMany>,
    draft: Option<usize>,
    stream: Option<bool>,
    exclude_input_in_output: Option<bool>,
}

/// A text that is asked for.
#[derive(Debug)]
pub(super) struct AskedText {
    pub(super) id: Option<String>,
    prompt: String,
    parameters: Parameters,
}

impl AskedText {
    /// Reads a body: inputs and parameters beside each other, or parameters under `parameters`.
    ///
    /// # Errors
    /// 422 with the field at fault.
    pub(super) fn from_body(mut fields: Map<String, Value>, streams: bool) -> Result<AskedText, Problem> {
        let id = match fields.shift_remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(Problem::unusable("`id` must be a text")),
        };
        let prompt = match fields.shift_remove(INPUT) {
            Some(Value::String(prompt)) => prompt,
            Some(_) => return Err(Problem::unusable(format!("`{INPUT}` must be a text"))),
            None => return Err(Problem::unusable(format!("missing field `{INPUT}`"))),
        };
        match fields.shift_remove("parameters") {
            None | Some(Value::Null) => {}
            Some(Value::Object(more)) => {
                for (name, value) in more {
                    if fields.insert(name.clone(), value).is_some() {
                        let name: String = name.escape_default().take(40).collect();
                        return Err(Problem::unusable(format!("`{name}` is given twice")));
                    }
                }
            }
            Some(_) => return Err(Problem::unusable("`parameters` must be an object")),
        }
        AskedText::new(id, prompt, fields, streams)
    }

    /// # Errors
    /// 422 with the parameter at fault.
    pub(super) fn new(
        id: Option<String>,
        prompt: String,
        mut fields: Map<String, Value>,
        streams: bool,
    ) -> Result<AskedText, Problem> {
        for name in FRACTIONS {
            if let Some(value) = fields.get_mut(name)
                && let Some(number) = value.as_str().and_then(|text| text.trim().parse::<f64>().ok())
            {
                *value = number.into();
            }
        }
        let parameters: Parameters = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("`{path}`: ") };
            Problem::unusable(format!("{place}{}", error.into_inner()).chars().take(400).collect::<String>())
        })?;
        if parameters.stream.is_some_and(|stream| stream != streams) {
            let other = if streams { "/generate" } else { "/generate_stream" };
            return Err(Problem::unusable(format!("`stream` contradicts the route; {other} is the other one")));
        }
        if parameters.exclude_input_in_output == Some(false) {
            return Err(Problem::unusable("`exclude_input_in_output` must be true: the output is the new text alone"));
        }
        Ok(AskedText { id, prompt, parameters })
    }

    /// Reads the prompt.
    ///
    /// # Errors
    /// As [`Scribe::prepare`].
    pub(super) fn prepare(self, scribe: &Scribe) -> Result<Prepared, Problem> {
        let AskedText { prompt, parameters, .. } = self;
        let of_input = |problem: Problem| {
            let detail = problem.detail.replace("`prompt`", &format!("`{INPUT}`"));
            Problem { detail, ..problem }
        };
        scribe.prepare(&prompt, &parameters.choice()).map_err(of_input)
    }
}

impl Parameters {
    fn choice(self) -> Choice {
        Choice {
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            beams: self.beams,
            length_penalty: self.length_penalty,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            no_repeat_ngram: self.no_repeat_ngram,
            stop: self.stop.map(OneOrMany::list).unwrap_or_default(),
            draft: self.draft,
            ..Choice::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value, streams: bool) -> Result<AskedText, String> {
        let Value::Object(fields) = body else { return Err("no object".to_owned()) };
        AskedText::from_body(fields, streams).map_err(|problem| problem.detail)
    }

    #[test]
    fn parameters_stand_beside_the_input_or_in_an_object() {
        let body = json!({ "id": "7", "text_input": "a", "max_tokens": 5, "parameters": { "temperature": 0.5, "stop_words": ["b"] } });
        let asked = read(body, false).unwrap();
        assert_eq!((asked.id.as_deref(), asked.prompt.as_str()), (Some("7"), "a"));
        let choice = asked.parameters.choice();
        assert_eq!(
            (choice.max_new_tokens, choice.temperature, choice.stop),
            (Some(5), Some(0.5), vec!["b".to_owned()])
        );
        let asked = read(json!({ "text_input": "a", "temperature": "0.25", "stream": true, "random_seed": 3 }), true);
        let choice = asked.unwrap().parameters.choice();
        assert_eq!((choice.temperature, choice.seed), (Some(0.25), Some(3)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, words) in [
            (json!({}), "missing field `text_input`"),
            (json!({ "text_input": ["a"] }), "`text_input` must be a text"),
            (json!({ "text_input": "a", "id": 7 }), "`id` must be a text"),
            (json!({ "text_input": "a", "parameters": [] }), "`parameters` must be an object"),
            (json!({ "text_input": "a", "top_k": 1, "parameters": { "top_k": 1 } }), "`top_k` is given twice"),
            (json!({ "text_input": "a", "max_tokens": 1, "max_new_tokens": 1 }), "duplicate field"),
            (json!({ "text_input": "a", "bad_words": [] }), "unknown field `bad_words`"),
            (json!({ "text_input": "a", "temperature": "hot" }), "`temperature`: invalid type"),
            (json!({ "text_input": "a", "stream": true }), "/generate_stream is the other one"),
            (json!({ "text_input": "a", "exclude_input_in_output": false }), "`exclude_input_in_output` must be true"),
        ] {
            let told = read(body.clone(), false).unwrap_err();
            assert!(told.contains(words), "{body}: {told}");
        }
    }
}
