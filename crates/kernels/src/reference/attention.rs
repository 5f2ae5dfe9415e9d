//! Attention over packed sequences.

use crate::{AttentionShape, Queries, Rows, ScoreBias, SlotMap};

/// What [`crate::Relative`] is made from.
#[derive(Clone, Copy, Debug)]
pub struct RelativeRows<'a> {
    /// `[slots, heads · head_dim]`, content to position.
    pub keys: Option<&'a [f32]>,
    /// `[slots, heads · head_dim]`, position to content.
    pub queries: Option<&'a [f32]>,
    /// Which slot a distance has.
    pub slots: &'a SlotMap,
}

/// What [`Kernels::attention`](crate::Kernels::attention) writes, in f64: a row for each of `queries`, `heads · head_dim` columns.
#[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
pub fn attention(
    q: &Rows<'_>,
    k: &Rows<'_>,
    v: &Rows<'_>,
    cu_seqlens: &[u32],
    queries: Queries,
    shape: &AttentionShape,
    relative: Option<&RelativeRows<'_>>,
    bias: Option<&ScoreBias>,
) -> Vec<f32> {
    let mut out = Vec::new();
    for (sequence, tokens) in cu_seqlens.windows(2).enumerate() {
        let (start, length) = (tokens[0] as usize, (tokens[1] - tokens[0]) as usize);
        let (asking, first_row) = match queries {
            Queries::All => (length, start),
            Queries::First => (1, sequence),
        };
        for i in 0..asking {
            for head in 0..shape.heads {
                let (column, key_column) =
                    (head * shape.head_dim, head / (shape.heads / shape.key_heads) * shape.head_dim);
                let row = |rows: &Rows<'_>, index: usize, column: usize| -> Vec<f64> {
                    let at = rows.offset + index * rows.stride + column;
                    rows.data[at..at + shape.head_dim].iter().map(|&x| f64::from(x)).collect()
                };
                let slot = |table: Option<&[f32]>, j: usize| {
                    let slot = relative?.slots.slot(i as i64 - j as i64);
                    Some(row(&Rows { data: table?, stride: shape.heads * shape.head_dim, offset: 0 }, slot, column))
                };
                let asked = row(q, first_row + i, column);
                let scores: Vec<f64> = (0..length)
                    .map(|j| {
                        if shape.window.is_some_and(|window| i.abs_diff(j) > window) {
                            return f64::NEG_INFINITY;
                        }
                        let key = row(k, start + j, key_column);
                        let mut score = product(&asked, &key);
                        score += slot(relative.and_then(|r| r.keys), j).map_or(0.0, |slot| product(&asked, &slot));
                        score += slot(relative.and_then(|r| r.queries), j).map_or(0.0, |slot| product(&key, &slot));
                        let bias = bias.map_or(0.0, |bias| bias.at(head, j as i64 - i as i64));
                        score * f64::from(shape.scale) + f64::from(bias)
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let mut mix = vec![0.0; shape.head_dim];
                for (j, power) in powers.iter().enumerate() {
                    for (mix, value) in mix.iter_mut().zip(row(v, start + j, key_column)) {
                        *mix += power / sum * value;
                    }
                }
                out.extend(mix.iter().map(|&x| x as f32));
            }
        }
    }
    out
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
