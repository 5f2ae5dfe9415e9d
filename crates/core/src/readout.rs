//! Logits → probabilities → verdict.

use crate::{Error, Reading, Result, Verdict};
use grice_model::{Manifest, PerMaxim, is_threshold, is_violated};

/// Reads one row of logits, in the order of the manifest's labels.
///
/// # Errors
/// [`Error::NotFinite`] naming the maxim.
pub(crate) fn read_verdict(
    manifest: &Manifest,
    thresholds: &PerMaxim<f32>,
    logits: &[f32],
    reading: Reading,
) -> Result<Verdict> {
    let mut probabilities = PerMaxim::from_fn(|_| 0.0);
    for (&maxim, &logit) in manifest.labels.iter().zip(logits) {
        if !logit.is_finite() {
            return Err(Error::NotFinite(maxim));
        }
        *probabilities.get_mut(maxim) = sigmoid(logit / manifest.temperatures.get(maxim));
    }
    let violations = PerMaxim::from_fn(|maxim| is_violated(*probabilities.get(maxim), *thresholds.get(maxim)));
    let cooperative = violations.iter().all(|(_, &violated)| !violated);
    let Reading { truncated, unknown_share } = reading;
    Ok(Verdict { probabilities, violations, cooperative, truncated, unknown_share })
}

/// The current thresholds, with the given ones replaced.
///
/// # Errors
/// [`Error::Threshold`] with the maxim of an invalid threshold.
pub fn merge_thresholds(inner: &PerMaxim<f32>, given: &PerMaxim<Option<f32>>) -> Result<PerMaxim<f32>> {
    match given.iter().find(|(_, threshold)| threshold.is_some_and(|value| !is_threshold(value))) {
        Some((maxim, _)) => Err(Error::Threshold(maxim)),
        None => Ok(PerMaxim::from_fn(|maxim| given.get(maxim).unwrap_or(*inner.get(maxim)))),
    }
}

/// Stable for large positive and negative values: never divides infinity by infinity.
fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    #[test]
    fn sigmoid_is_exact_at_zero_and_saturates_without_nan() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(f32::MAX), 1.0);
        assert_eq!(sigmoid(f32::MIN), 0.0);
        assert!((sigmoid(2.0) - 0.880_797).abs() < 1e-6);
        assert!((sigmoid(-2.0) + sigmoid(2.0) - 1.0).abs() < 1e-6);
    }
}
