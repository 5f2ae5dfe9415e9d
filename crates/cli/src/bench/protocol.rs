//! What `bench` and the process that measures one model tell each other, one JSON object per line.

use crate::profile::OpCost;
use crate::workers::Workers;
use serde::{Deserialize, Serialize};

/// The first line of the process, when the model is loaded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) name: String,
    /// Its name: models that write may have one that no manifest has.
    pub(super) precision: String,
    pub(super) kernels: String,
    pub(super) workers: Workers,
    pub(super) load_ms: f64,
    /// Where the system tells.
    pub(super) memory: Option<Loaded>,
    /// Keys and values of one token of a text.
    pub(super) kv_token_bytes: Option<usize>,
}

/// The memory of a process that loaded a model, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Resident before.
    pub(crate) baseline_bytes: u64,
    /// The most while loading.
    pub(crate) load_peak_bytes: u64,
    /// Resident after.
    pub(crate) loaded_bytes: u64,
}

/// A request: batches of so many sequences, texts or turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) rows: usize,
    pub(super) runs: Runs,
    /// Whether the time of each step is measured too, in one more run.
    pub(super) steps: bool,
}

/// How often a batch runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Runs {
    Exactly(usize),
    /// As often as fits in so many milliseconds, at least once.
    Within(u64),
}

/// The answer to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Milliseconds of each run.
    pub(super) latency_ms: Vec<f64>,
    /// Of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) texts: Option<TextTimes>,
    /// The share of the time in which the GPU was busy.
    pub(super) gpu_busy: Option<f64>,
    /// Resident memory after the runs.
    pub(super) resident_bytes: Option<u64>,
    /// The most memory while they ran.
    pub(super) peak_bytes: Option<u64>,
    /// The time of each kind of step.
    pub(super) steps: Vec<OpCost>,
}

/// Times of the texts of all runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TextTimes {
    /// Milliseconds from the start to the first token of each text.
    pub(super) first_ms: Vec<f64>,
    /// Milliseconds between two tokens of a text.
    pub(super) between_ms: Vec<f64>,
    /// Seconds of each run until all texts had their first token.
    pub(super) prompts_s: Vec<f64>,
    /// Seconds of each run after that.
    pub(super) rest_s: Vec<f64>,
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Told {
    Ready(Ready),
    Sample(Sample),
    /// Why it cannot go on.
    Error(String),
}
