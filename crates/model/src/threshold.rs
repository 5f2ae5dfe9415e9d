//! The one rule for thresholds, wherever they come from: a number from 0 to 1, both included. A maxim is violated when its
//! probability is above its threshold.

/// What a threshold must be, in words for messages.
pub const THRESHOLD_EXPECTED: &str = "a number from 0 to 1";

/// Whether a number can be a threshold.
pub fn is_threshold(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

/// Whether a probability is a violation. Nothing violates a threshold of 1, and all but a probability of 0 a threshold of 0.
pub fn is_violated(probability: f32, threshold: f32) -> bool {
    probability > threshold
}
