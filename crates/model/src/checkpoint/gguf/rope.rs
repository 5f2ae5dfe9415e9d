//! Rotary scaling: by one factor, or LLaMA 3's, which GGUF files hold as a divisor of each frequency.

use super::fields::Fields;
use super::files::Files;
use crate::gguf::Kind;
use serde_json::{Value, json};
use std::f64::consts::TAU;

/// What every LLaMA 3 has: the longest sequence before, and what counts as low and high within it.
const POSITIONS: f64 = 8192.0;
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
/// Divisors are stored in single precision.
const TOLERANCE: f64 = 1e-4;

/// The field `rope_scaling` of a configuration, if frequencies are scaled.
pub(super) fn scaling(
    files: &Files<'_>,
    fields: &Fields<'_>,
    base: f32,
    head_dim: usize,
) -> Result<Option<Value>, String> {
    let name = "rope_freqs.weight";
    match (divisors(files, name, head_dim)?, by_one_factor(fields)?) {
        (None, scaling) => Ok(scaling),
        (Some(divisors), None) => {
            let what = "holds divisors of frequencies that are not LLaMA 3's, which is not supported";
            scaling_of(&divisors, base).map(Some).ok_or_else(|| format!("{} {what}", files.named(name)))
        }
        (Some(_), Some(_)) => {
            let what = "scales frequencies beside the field `rope.scaling`, which is not supported";
            Err(format!("{} {what}", files.named(name)))
        }
    }
}

fn by_one_factor(fields: &Fields<'_>) -> Result<Option<Value>, String> {
    let (kind, factor) = ("rope.scaling.type", "rope.scaling.factor");
    let older = fields.number_if("rope.scale_linear")?;
    let divisor = fields.number_if(factor)?.or(older).filter(|divisor| *divisor != 0.0);
    match (fields.text_if(kind)?, divisor) {
        (Some("none"), _) | (None | Some("linear"), None) => Ok(None),
        (None | Some("linear"), Some(divisor)) if divisor > 0.0 => {
            Ok(Some(json!({"rope_type": "linear", "factor": divisor})))
        }
        (None | Some("linear"), Some(_)) => Err(fields.wrong(factor, "it must be above 0")),
        (Some(other), _) => Err(fields.wrong(kind, &format!("`{other}` is not supported"))),
    }
}

/// What frequencies are divided by, if not all by 1.
fn divisors(files: &Files<'_>, name: &str, head_dim: usize) -> Result<Option<Vec<f32>>, String> {
    let Some(tensor) = files.tensor(name) else { return Ok(None) };
    if tensor.kind != Kind::F32 || tensor.shape != [head_dim / 2] {
        let found = format!("has the type {:?} and the shape {:?}", tensor.kind, tensor.shape);
        return Err(format!("{} {found}; expected F32 and [{}]", files.named(name), head_dim / 2));
    }
    let mut divisors = Vec::new();
    tensor.kind.decode(&files.bytes(name)?, &mut divisors);
    Ok(Some(divisors).filter(|divisors| divisors.iter().any(|divisor| *divisor != 1.0)))
}

/// The field that divides frequencies like this; `None` if none does.
fn scaling_of(divisors: &[f32], base: f32) -> Option<Value> {
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
