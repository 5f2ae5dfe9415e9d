//! Layer normalisation over the last axis.

use crate::LayerNorm;

/// The rows of `x`, each of `gamma`'s length, as `(x - mean) / sqrt(variance + epsilon) · gamma + beta`; in f64. Not centred the mean counts
/// as 0.
pub fn layer_norm(x: &[f32], norm: &LayerNorm) -> Vec<f32> {
    let columns = norm.gamma.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(columns.max(1)) {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / columns as f64;
        let mean = if norm.centred { mean } else { 0.0 };
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / columns as f64;
        let deviation = (variance + f64::from(norm.epsilon)).sqrt();
        for (column, &x) in row.iter().enumerate() {
            let normal = (f64::from(x) - mean) / deviation;
            out.push((normal * f64::from(norm.gamma[column]) + f64::from(norm.beta[column])) as f32);
        }
    }
    out
}
