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
    /// The share of the response, 0 to 1, that the model's tokenizer does not know: of its characters, spaces apart, those that
    /// reached the model as unknown tokens only. Left out if it is 0. Above one half, the verdict says little.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "typescript", ts(as = "Option<f32>", optional))]
    pub unknown_share: f32,
}

/// What the reading of a turn has to say about its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Whether some of the turn was left out to fit.
    pub truncated: bool,
    /// As [`Verdict::unknown_share`].
    pub unknown_share: f32,
}

/// The share of unknown text above which a verdict comes with a warning.
const UNKNOWN_SHARE_MAX: f32 = 0.5;

impl Verdict {
    /// Whether the tokenizer knows less than half of the response, so that the verdict says little.
    pub fn is_mostly_unknown(&self) -> bool {
        self.unknown_share > UNKNOWN_SHARE_MAX
    }
}

/// What serde asks of a share that it may leave out.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(share: &f32) -> bool {
    *share == 0.0
}
