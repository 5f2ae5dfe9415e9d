//! What a pipeline did, and what came of it.

use crate::Verdict;
use grice_model::{Maxim, PerMaxim};
use serde::Serialize;
use std::time::Duration;

/// What came of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The response after all repairs.
    pub response: String,
    /// The answer as the model wrote it, if the pipeline began with one.
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

/// One step of a pipeline.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceStep {
    /// What was done.
    pub step: StepKind,
    /// What was to be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional, type = "keyof PerMaxim<unknown>"))]
    pub maxim: Option<Maxim>,
    /// What was judged, written or found.
    pub text: String,
    /// The probability that each maxim is violated, of a step that judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub probabilities: Option<PerMaxim<f32>>,
    /// Whether the text was used, of a step that changes the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub taken: Option<bool>,
    /// Why it was not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub reason: Option<String>,
    /// Milliseconds that it took; the time of its batch if other turns ran with it.
    #[serde(serialize_with = "write_ms", rename = "ms")]
    #[cfg_attr(feature = "typescript", ts(rename = "ms", type = "number"))]
    pub took: Duration,
}

/// Kinds of steps.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// A model wrote an answer.
    Generate,
    /// The detector judged a text.
    Detect,
    /// A model rewrote the response.
    Repair,
    /// A response was looked up in a corpus.
    Retrieve,
}

impl StepKind {
    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            StepKind::Generate => "generate",
            StepKind::Detect => "detect",
            StepKind::Repair => "repair",
            StepKind::Retrieve => "retrieve",
        }
    }
}

fn write_ms<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e5).round() / 1e2)
}
