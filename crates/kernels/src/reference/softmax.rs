//! Softmax over the last axis.

/// `e^x / Σ e^x` over each row of `columns`, in f64.
pub fn softmax(x: &[f32], columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(columns.max(1)) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = row.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
        let sum: f64 = powers.iter().sum();
        out.extend(powers.iter().map(|power| (power / sum) as f32));
    }
    out
}
