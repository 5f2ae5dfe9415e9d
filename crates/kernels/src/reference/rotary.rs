//! Rotary positions.

use crate::Rotary;

/// What [`Kernels::rotate`](crate::Kernels::rotate) makes of `x`, in f64.
pub fn rotate(
    x: &[f32],
    stride: usize,
    offset: usize,
    heads: usize,
    head_dim: usize,
    cu_seqlens: &[u32],
    rotary: &Rotary,
) -> Vec<f32> {
    let mut out = x.to_vec();
    let half = rotary.columns / 2;
    for tokens in cu_seqlens.windows(2) {
        for token in tokens[0]..tokens[1] {
            for head in 0..heads {
                for pair in 0..half {
                    let angle = f64::from(rotary.angle((token - tokens[0]) as usize, pair));
                    let first = token as usize * stride + offset + head * head_dim + pair;
                    let [a, b] = [first, first + half].map(|at| f64::from(x[at]));
                    out[first] = (a * angle.cos() - b * angle.sin()) as f32;
                    out[first + half] = (b * angle.cos() + a * angle.sin()) as f32;
                }
            }
        }
    }
    out
}
