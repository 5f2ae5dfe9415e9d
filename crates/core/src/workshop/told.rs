//! What a workshop tells of its jobs.

use crate::generate::Generated;
use crate::task::{Draft, Kind, Outcome, TraceStep};
use crate::{Error, Verdict};
use grice_model::{Maxim, PerMaxim};
use serde::Serialize;

/// A job's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JobId(pub u32);

/// News of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Which job.
    pub job: JobId,
    /// What happened.
    pub news: News,
}

/// What happened to a job. After one of the last three nothing follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum News {
    /// A text begins; it replaces what was written before.
    Draft(DraftNews),
    /// More of the text. All pieces together are the text; none is taken back.
    Piece(String),
    /// A step of a pipeline has ended.
    Step(TraceStep),
    /// The end of a pipeline.
    Repaired(Box<Repair>),
    /// The end of a text.
    Text(Text),
    /// The job cannot be done.
    Failed(Fault),
}

/// A text that begins.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DraftNews {
    /// What it repairs; left out for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional, type = "keyof PerMaxim<unknown>"))]
    pub maxim: Option<Maxim>,
    /// Which try it is, from 0.
    pub attempt: u32,
}

/// What came of a repair or an answer.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// The response after all repairs; as it came if none was good enough.
    pub repaired: String,
    /// The answer as the model wrote it, if it began with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub generated: Option<String>,
    /// Whether a maxim is violated and no repair was good enough, so that the response stayed as it was.
    pub is_fallback: bool,
    /// The verdict on the response as it came, or as it was written.
    pub before: Verdict,
    /// The verdict on the response after all repairs.
    pub after: Verdict,
    /// How many repairs were tried.
    pub rounds: u32,
    /// All steps, in order.
    pub trace: Vec<TraceStep>,
}

/// A text that was written.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Text {
    /// The text, without the prompt.
    pub text: String,
    /// `stop`: a stop token or stop text; `length`: the most new tokens.
    #[cfg_attr(feature = "typescript", ts(type = "\"stop\" | \"length\""))]
    pub finish_reason: &'static str,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the text.
    pub generated_tokens: usize,
}

/// Why a job cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// [`Error::code`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

/// The models of a workshop.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkshopInfo {
    /// Name of the bundle; empty without a `grice.json`.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// What it can write: repairs of maxims, and `answer`.
    pub recipes: Vec<&'static str>,
    /// The precision of the weights: `fp32`, `fp16`, `int8` or `int4`.
    #[cfg_attr(feature = "typescript", ts(type = "Precision | \"int4\""))]
    pub precision: &'static str,
    /// The kernels: an instruction set.
    pub kernels: &'static str,
    /// Tokens of all texts, prompts included, for which there is memory at once.
    pub memory_tokens: usize,
    /// Those that running texts may come to need.
    pub reserved_tokens: usize,
    /// The detector, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub detector: Option<DetectorBrief>,
}

/// The detector of a workshop.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DetectorBrief {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// The thresholds in use.
    pub thresholds: PerMaxim<f32>,
}

impl DraftNews {
    pub(super) fn of(draft: &Draft) -> DraftNews {
        let maxim = match draft.kind {
            Kind::Answer => None,
            Kind::Repair(maxim) => Some(maxim),
        };
        DraftNews { maxim, attempt: draft.attempt }
    }
}

impl From<Outcome> for Repair {
    fn from(outcome: Outcome) -> Repair {
        let Outcome { response, generated, is_fallback, before, after, rounds, trace } = outcome;
        Repair { repaired: response, generated, is_fallback, before, after, rounds, trace }
    }
}

impl Text {
    pub(super) fn of(text: String, prompt_tokens: usize, generated: &Generated) -> Text {
        let (finish_reason, generated_tokens) = (generated.reason.name(), generated.tokens.len());
        Text { text, finish_reason, prompt_tokens, generated_tokens }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault { code: error.code(), message: error.to_string() }
    }
}
