//! Attention over pages.

use super::stepwise::sum_stepwise;
use crate::vector::exp2_of_negative_in_steps;
use crate::{AttentionShape, PAGE_TOKENS, PagedSequence, Rows, ScoreBias, Seen, page_len};

/// Where a head's key of a token begins in the pool, and its value. The key's numbers are [`PAGE_TOKENS`] apart, the value's side by side.
fn places(sequence: &PagedSequence<'_>, shape: &AttentionShape, key_head: usize, token: usize) -> (usize, usize) {
    let (page, slot) = (sequence.pages[token / PAGE_TOKENS] as usize, token % PAGE_TOKENS);
    let head = page_len(shape) / shape.key_heads;
    let start = page * page_len(shape) + key_head * head;
    (start + slot, start + shape.head_dim * PAGE_TOKENS + slot * shape.head_dim.next_multiple_of(16))
}

/// What [`Kernels::keep`](crate::Kernels::keep) does.
pub fn keep(k: &Rows<'_>, v: &Rows<'_>, sequences: &[PagedSequence<'_>], shape: &AttentionShape, pool: &mut [f32]) {
    for sequence in sequences {
        for (index, row) in sequence.queries.clone().enumerate() {
            for head in 0..shape.key_heads {
                let (key, value) = places(sequence, shape, head, sequence.kept + index);
                for i in 0..shape.head_dim {
                    let column = head * shape.head_dim + i;
                    pool[key + i * PAGE_TOKENS] = k.data[k.offset + row * k.stride + column];
                    pool[value + i] = v.data[v.offset + row * v.stride + column];
                }
            }
        }
    }
}

/// A query, and the keys and values that it sees, in the order of tokens.
struct Asked {
    query: Vec<f32>,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    /// The numbers that are added to the scores.
    bias: Vec<f32>,
    /// The first key's place in the sequence.
    first: usize,
}

/// What [`Kernels::attend_pages`](crate::Kernels::attend_pages) writes, in f64. Rows that no sequence has are zeros.
pub fn attend_pages(
    q: &Rows<'_>,
    pool: &[f32],
    sequences: &[PagedSequence<'_>],
    seen: Seen,
    shape: &AttentionShape,
    bias: Option<&ScoreBias>,
) -> Vec<f32> {
    each(q, pool, sequences, seen, shape, bias, |asked| {
        let product =
            |key: &[f32]| -> f64 { key.iter().zip(&asked.query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let scores = asked.keys.iter().zip(&asked.bias);
        let scores: Vec<f64> =
            scores.map(|(key, bias)| product(key) * f64::from(shape.scale) + f64::from(*bias)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let mix = |i: usize| -> f64 {
            powers.iter().zip(&asked.values).map(|(power, value)| power / sum * f64::from(value[i])).sum()
        };
        (0..shape.head_dim).map(|i| mix(i) as f32).collect()
    })
}

/// [`attend_pages`] in the steps of [`Rounding::Stepwise`](crate::Rounding::Stepwise), to the bit: a score is the sum from 0 over a head's
/// numbers in order, times `scale · log₂ e`, and then plus `bias · log₂ e`; shares are powers of 2 of the distance to the largest score; their
/// sum is [`sum_stepwise`] over all tokens from the sequence's first on, those that are not seen having shares of 0; an output is the sum from
/// 0 over the seen keys in order of share times value, times one over the sum of shares.
pub fn attend_pages_stepwise(
    q: &Rows<'_>,
    pool: &[f32],
    sequences: &[PagedSequence<'_>],
    seen: Seen,
    shape: &AttentionShape,
    bias: Option<&ScoreBias>,
) -> Vec<f32> {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    each(q, pool, sequences, seen, shape, bias, |asked| {
        let product = |key: &[f32]| key.iter().zip(&asked.query).fold(0.0, |sum, (a, b)| sum + a * b);
        let scores = asked.keys.iter().zip(&asked.bias).map(|(key, number)| {
            let score = product(key) * (shape.scale * LOG2_E);
            if bias.is_some() { score + number * LOG2_E } else { score }
        });
        let scores: Vec<f32> = scores.collect();
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shares: Vec<f32> = scores.iter().map(|score| exp2_of_negative_in_steps(score - largest)).collect();
        let inverse = 1.0 / sum_stepwise(std::iter::repeat_n(0.0, asked.first).chain(shares.iter().copied()));
        let mix = |i: usize| shares.iter().zip(&asked.values).fold(0.0, |sum, (share, value)| sum + share * value[i]);
        (0..shape.head_dim).map(|i| mix(i) * inverse).collect()
    })
}

fn each(
    q: &Rows<'_>,
    pool: &[f32],
    sequences: &[PagedSequence<'_>],
    seen: Seen,
    shape: &AttentionShape,
    bias: Option<&ScoreBias>,
    attend: impl Fn(&Asked) -> Vec<f32>,
) -> Vec<f32> {
    let (size, width) = (shape.head_dim, shape.heads * shape.head_dim);
    let rows = sequences.iter().map(|sequence| sequence.queries.end).max().unwrap_or(0);
    let mut out = vec![0.0; rows * width];
    for sequence in sequences {
        for (index, row) in sequence.queries.clone().enumerate() {
            let position = sequence.kept + index;
            let keys = match seen {
                Seen::Kept => 0..sequence.kept,
                Seen::Earlier => (position + 1).saturating_sub(shape.window.unwrap_or(usize::MAX))..position + 1,
            };
            for head in 0..shape.heads {
                let places = |token| places(sequence, shape, head / (shape.heads / shape.key_heads), token);
                let asked = Asked {
                    query: q.data[q.offset + row * q.stride + head * size..][..size].to_vec(),
                    keys: keys.clone().map(|token| key_at(pool, places(token).0, size)).collect(),
                    values: keys.clone().map(|token| pool[places(token).1..][..size].to_vec()).collect(),
                    bias: keys.clone().map(|token| bias_at(bias, head, token as i64 - position as i64)).collect(),
                    first: keys.start,
                };
                out[row * width + head * size..][..size].copy_from_slice(&attend(&asked));
            }
        }
    }
    out
}

fn key_at(pool: &[f32], start: usize, size: usize) -> Vec<f32> {
    pool[start..].iter().step_by(PAGE_TOKENS).take(size).copied().collect()
}

fn bias_at(bias: Option<&ScoreBias>, head: usize, distance: i64) -> f32 {
    bias.map_or(0.0, |bias| bias.at(head, distance))
}
