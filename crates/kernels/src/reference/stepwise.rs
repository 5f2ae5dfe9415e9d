//! To the bit: the one order in which norms, softmax and stepwise products are computed on every instruction set.
//!
//! Everything is f32, and every operation is rounded by itself. The functions beside these say what is computed; these say how.

use crate::reference::RelativeRows;
use crate::vector::{self, LANES_MAX};
use crate::{AttentionShape, LayerNorm, Queries, Rows, ScoreBias};
use std::f32::consts::LOG2_E;

/// The sum of `x` in 16 lanes: number i is added to lane i mod 16, one after another, from 0 on; then the lanes in halves, i and i + 8, i and
/// i + 4, i and i + 2, and the last two.
pub fn sum_stepwise(x: impl IntoIterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; LANES_MAX];
    for (i, x) in x.into_iter().enumerate() {
        lanes[i % LANES_MAX] += x;
    }
    let mut count = LANES_MAX;
    while count > 1 {
        count /= 2;
        for i in 0..count {
            lanes[i] += lanes[i + count];
        }
    }
    lanes[0]
}

/// [`layer_norm`](super::layer_norm) with sums by [`sum_stepwise`], the variance's over the squares of differences from the mean.
pub fn layer_norm_stepwise(x: &[f32], norm: &LayerNorm) -> Vec<f32> {
    let columns = norm.gamma.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(columns.max(1)) {
        let mean = if norm.centred { sum_stepwise(row.iter().copied()) / columns as f32 } else { 0.0 };
        let variance = sum_stepwise(row.iter().map(|x| (x - mean) * (x - mean))) / columns as f32;
        let inverse = 1.0 / (variance + norm.epsilon).sqrt();
        let parameters = norm.gamma.iter().zip(&norm.beta);
        out.extend(row.iter().zip(parameters).map(|(x, (gamma, beta))| (x - mean) * inverse * gamma + beta));
    }
    out
}

/// [`matmul`](super::matmul) with each number one sum from 0 over `k` in order, to which the bias is added at the end.
pub fn matmul_stepwise(x: &[f32], w: &[f32], bias: &[f32], rows: usize, k: usize, n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * n);
    for row in 0..rows {
        for column in 0..n {
            out.push((0..k).fold(0.0, |sum, i| sum + x[row * k + i] * w[i * n + column]) + bias[column]);
        }
    }
    out
}

/// [`attention`](super::attention): scores are sums from 0 over a head's numbers in order, by content, then by position to content, then by
/// content to position, added in this order and multiplied by `scale · log₂ e`, to which `bias · log₂ e` is added; shares are powers of 2 of the distance to the largest,
/// whose sum is [`sum_stepwise`] over the keys filled up to a multiple of 16 with the power of minus infinity; an output is the sum from 0 over the keys
/// in order of share times value, multiplied by one over the sum of shares. With a window there is no filling up, and the shares of keys
/// outside it are 0.
#[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
pub fn attention_stepwise(
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
    let width = shape.heads * shape.head_dim;
    for (sequence, tokens) in cu_seqlens.windows(2).enumerate() {
        let (start, length) = (tokens[0] as usize, (tokens[1] - tokens[0]) as usize);
        let (asking, first_row) = if queries == Queries::All { (length, start) } else { (1, sequence) };
        for i in 0..asking {
            for head in 0..shape.heads {
                let (column, key_column) =
                    (head * shape.head_dim, head / (shape.heads / shape.key_heads) * shape.head_dim);
                let asked = row_of(q, first_row + i, column, shape.head_dim);
                let by_distance = |table: Option<&[f32]>, x: &[f32], j: usize| {
                    let rows = Rows { data: table?, stride: width, offset: 0 };
                    let slot = relative?.slots.slot(i as i64 - j as i64);
                    Some(product(x, row_of(&rows, slot, column, shape.head_dim)))
                };
                let scores = (0..length).map(|j| {
                    let key = row_of(k, start + j, key_column, shape.head_dim);
                    let mut score = product(asked, key);
                    score += by_distance(relative.and_then(|relative| relative.queries), key, j).unwrap_or(0.0);
                    score += by_distance(relative.and_then(|relative| relative.keys), asked, j).unwrap_or(0.0);
                    score *= shape.scale * LOG2_E;
                    let bias = bias.map(|bias| bias.at(head, j as i64 - i as i64) * LOG2_E);
                    bias.map_or(score, |bias| score + bias)
                });
                let values = (0..length).map(|j| row_of(v, start + j, key_column, shape.head_dim));
                let is_seen = |j: usize| shape.window.is_none_or(|window| i.abs_diff(j) <= window);
                let past = if shape.window.is_none() { length.next_multiple_of(LANES_MAX) - length } else { 0 };
                out.extend(mix(&scores.collect::<Vec<_>>(), is_seen, past, values, shape.head_dim));
            }
        }
    }
    out
}

/// The values by the softmax of the scores that are seen, filled up by `past` of minus infinity.
fn mix<'a>(
    scores: &[f32],
    is_seen: impl Fn(usize) -> bool,
    past: usize,
    values: impl Iterator<Item = &'a [f32]>,
    head_dim: usize,
) -> Vec<f32> {
    let seen = scores.iter().enumerate().filter(|(j, _)| is_seen(*j));
    let largest = seen.map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
    let share = |score: f32| vector::exp2_of_negative_in_steps(score - largest);
    let shares = scores.iter().enumerate().map(|(j, score)| if is_seen(j) { share(*score) } else { 0.0 });
    let shares: Vec<f32> = shares.chain(std::iter::repeat_n(share(f32::NEG_INFINITY), past)).collect();
    let inverse = 1.0 / sum_stepwise(shares.iter().copied());
    let mut mix = vec![0.0; head_dim];
    for (share, values) in shares.iter().zip(values) {
        for (mix, value) in mix.iter_mut().zip(values) {
            *mix += share * value;
        }
    }
    mix.iter().map(|mix| mix * inverse).collect()
}

fn row_of<'a>(rows: &Rows<'a>, index: usize, column: usize, columns: usize) -> &'a [f32] {
    &rows.data[rows.offset + index * rows.stride + column..][..columns]
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}
