//! Logits → probabilities → verdict.

use crate::{Error, Result, Verdict};
use grice_model::{Manifest, PerMaxim};

/// Reads one row of logits, in the order of the manifest's labels.
///
/// # Errors
/// [`Error::NotFinite`] naming the maxim.
pub(crate) fn read_verdict(
    manifest: &Manifest,
    thresholds: &PerMaxim<f32>,
    logits: &[f32],
    truncated: bool,
) -> Result<Verdict> {
    let mut probabilities = PerMaxim::from_fn(|_| 0.0);
    for (&maxim, &logit) in manifest.labels.iter().zip(logits) {
        if !logit.is_finite() {
            return Err(Error::NotFinite(maxim));
        }
        *probabilities.get_mut(maxim) = sigmoid(logit / manifest.temperatures.get(maxim));
    }
    let violations = PerMaxim::from_fn(|maxim| probabilities.get(maxim) > thresholds.get(maxim));
    let cooperative = violations.iter().all(|(_, &violated)| !violated);
    Ok(Verdict { probabilities, violations, cooperative, truncated })
}

/// Stable on both sides: never overflows to infinity over infinity.
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
