//! The answer: which maxims a response violates.

use grice_model::PerMaxim;
use serde::{Deserialize, Serialize};

/// The verdict on one response.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Probability that each maxim is violated, between 0 and 1.
    pub probabilities: PerMaxim<f32>,
    /// Whether each probability is above its threshold.
    pub violations: PerMaxim<bool>,
    /// Whether no maxim is violated.
    pub cooperative: bool,
    /// Whether the turn was longer than the model's limit, so that part of it was cut.
    pub truncated: bool,
    /// The share of the response, 0 to 1, that the model's tokenizer does not know: the share of its characters (without spaces) that
    /// reached the model only as unknown tokens. Left out if it is 0. Above one half, the verdict means little.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "typescript", ts(as = "Option<f32>", optional))]
    pub unknown_share: f32,
}

/// Notes from the tokenization of a turn that belong to its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Whether part of the turn was cut to fit.
    pub truncated: bool,
    /// As [`Verdict::unknown_share`].
    pub unknown_share: f32,
}

/// The share of unknown text above which a verdict comes with a warning.
const UNKNOWN_SHARE_MAX: f32 = 0.5;

impl Verdict {
    /// Whether the tokenizer knows less than half of the response, so that the verdict means little.
    pub fn is_mostly_unknown(&self) -> bool {
        self.unknown_share > UNKNOWN_SHARE_MAX
    }
}

/// Tells serde when to leave the share out.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(share: &f32) -> bool {
    *share == 0.0
}
