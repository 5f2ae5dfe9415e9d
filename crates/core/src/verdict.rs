//! The answer: which maxims a response violates.

use grice_model::PerMaxim;
use serde::{Deserialize, Serialize};

/// What was found in one response.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Probability that each maxim is violated, between 0 and 1.
    pub probabilities: PerMaxim<f32>,
    /// Whether each probability is above its threshold.
    pub violations: PerMaxim<bool>,
    /// Whether no maxim is violated.
    pub cooperative: bool,
    /// Whether the turn was longer than the model reads, so that part of it was left out.
    pub truncated: bool,
}
