//! LLaMA 3's rotary scaling, which GGUF files hold as a divisor of each frequency.

use serde_json::{Value, json};
use std::f64::consts::TAU;

/// What every LLaMA 3 has: the longest sequence before, and what counts as low and high within it.
const POSITIONS: f64 = 8192.0;
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
/// Divisors are stored in single precision.
const TOLERANCE: f64 = 1e-4;

/// The field `rope_scaling` that divides frequencies like this; `None` if none does.
pub(super) fn scaling_of(divisors: &[f32], base: f32) -> Option<Value> {
    let factor = f64::from(divisors.iter().fold(0.0, |most: f32, divisor| most.max(*divisor)));
    let is_alike = |(pair, found): (usize, &f32)| {
        let frequency = f64::from(base).powf(-(pair as f64) / divisors.len() as f64);
        let expected = divisor_of(frequency, factor);
        (f64::from(*found) - expected).abs() <= TOLERANCE * expected
    };
    divisors.iter().enumerate().all(is_alike).then(|| {
        json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
            "original_max_position_embeddings": POSITIONS,
        })
    })
}

fn divisor_of(frequency: f64, factor: f64) -> f64 {
    let turns = POSITIONS * frequency / TAU;
    if turns > HIGH {
        1.0
    } else if turns < LOW {
        factor
    } else {
        let share = (turns - LOW) / (HIGH - LOW);
        1.0 / ((1.0 - share) / factor + share)
    }
}
