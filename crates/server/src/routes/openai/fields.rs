//! What the bodies of chats and completions share, and how they are read: a field that changes the answer and is not supported is refused by
//! its name.

use super::super::input::{OneOrMany, parse_json};
use crate::problem::Problem;
use grice_core::generate::Choice;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// As OpenAI bounds it.
const TEXTS_MOST: usize = 128;
/// Alternatives of a token.
pub(super) const ALTERNATIVES_MOST: usize = 20;
/// Fields that change nothing here.
const IGNORED: [&str; 9] = [
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "verbosity",
];
/// Fields that would change the answer, which may have the value that changes nothing.
const UNSUPPORTED: [&str; 15] = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "logit_bias",
    "modalities",
    "audio",
    "prediction",
    "reasoning_effort",
    "web_search_options",
    "moderation",
    "echo",
    "suffix",
    "best_of",
];
const SHARED: [&str; 14] = [
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "stream",
    "stream_options",
];

/// The fields that chats and completions share.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Shared {
    temperature: Option<f32>,
    top_p: Option<f32>,
    /// Not OpenAI's own, as the next ones that are marked.
    top_k: Option<usize>,
    n: Option<usize>,
    stop: Option<OneOrMany>,
    seed: Option<i64>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    /// Not OpenAI's own.
    repetition_penalty: Option<f32>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    /// Not OpenAI's own.
    min_tokens: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
}

/// A body, in what is shared and the rest.
///
/// # Errors
/// 400 if it is not JSON, 422 with the field for JSON of another form and for what is not supported.
pub(super) fn split<T: DeserializeOwned>(body: &[u8]) -> Result<(Shared, T), Problem> {
    let mut fields: Map<String, Value> = parse_json(body)?;
    IGNORED.iter().for_each(|name| _ = fields.shift_remove(*name));
    for name in UNSUPPORTED {
        match fields.shift_remove(name) {
            Some(value) if !is_neutral(name, &value) => {
                return Err(Problem::unusable(format!("`{name}` is not supported; leave it out")));
            }
            _ => {}
        }
    }
    let shared: Map<String, Value> =
        SHARED.iter().filter_map(|name| Some(((*name).to_owned(), fields.shift_remove(*name)?))).collect();
    Ok((read(shared)?, read(fields)?))
}

/// Fields, or the name of the one at fault.
fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("`{path}`: ") };
        let told = error.into_inner().to_string();
        // The library lists only the fields of one half of the body.
        let told =
            if told.starts_with("unknown field") { "unknown field; /docs shows all fields" } else { told.as_str() };
        let mut detail = format!("{place}{told}");
        detail.truncate(detail.char_indices().nth(400).map_or(detail.len(), |(end, _)| end));
        Problem::unusable(detail)
    })
}

/// Whether a value is as good as none.
fn is_neutral(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null | Value::Bool(false)) => true,
        (_, Value::Array(items)) if items.is_empty() => true,
        (_, Value::Object(fields)) if fields.is_empty() => true,
        ("suffix", Value::String(text)) => text.is_empty(),
        ("tool_choice", Value::String(choice)) => choice == "none" || choice == "auto",
        ("function_call", Value::String(choice)) => choice == "none" || choice == "auto",
        ("response_format", Value::Object(format)) => format.get("type").is_some_and(|kind| kind == "text"),
        ("modalities", Value::Array(kinds)) => kinds.iter().all(|kind| kind == "text"),
        ("best_of", Value::Number(count)) => count.as_u64() == Some(1),
        _ => false,
    }
}

impl Shared {
    /// How many texts of each prompt.
    ///
    /// # Errors
    /// 422.
    pub(super) fn count(&self) -> Result<usize, Problem> {
        let count = self.n.unwrap_or(1);
        match (1..=TEXTS_MOST).contains(&count) {
            true => Ok(count),
            false => {
                Err(Problem::unusable(format!("`n` is {count}; it must be a whole number from 1 to {TEXTS_MOST}")))
            }
        }
    }

    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream ends with the number of tokens.
    ///
    /// # Errors
    /// 422 for options of a stream without one.
    pub(super) fn tells_usage(&self) -> Result<bool, Problem> {
        match &self.stream_options {
            Some(_) if !self.streams() => Err(Problem::unusable(
                "`stream_options` has a meaning only with `stream`; leave it out, or set `stream`",
            )),
            options => Ok(options.as_ref().is_some_and(|options| options.include_usage.unwrap_or(false))),
        }
    }

    /// How tokens are chosen.
    ///
    /// # Errors
    /// 422 for two lengths.
    pub(super) fn choice(self, log_probabilities: Option<usize>) -> Result<Choice, Problem> {
        let max_new_tokens = match (self.max_tokens, self.max_completion_tokens) {
            (Some(tokens), Some(other)) if tokens != other => {
                let detail =
                    format!("`max_tokens` is {tokens} and `max_completion_tokens` is {other}; give only one of them");
                return Err(Problem::unusable(detail));
            }
            (tokens, other) => tokens.or(other),
        };
        Ok(Choice {
            max_new_tokens,
            min_new_tokens: self.min_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed.map(i64::cast_unsigned),
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            stop: self.stop.map(OneOrMany::list).unwrap_or_default(),
            log_probabilities,
            ..Choice::default()
        })
    }
}

/// A problem with the names that the options have here.
pub(super) fn renamed(problem: Problem) -> Problem {
    let detail = problem.detail.replace("`max_new_tokens`", "`max_tokens`").replace("`min_new_tokens`", "`min_tokens`");
    Problem { detail, ..problem }
}
