//! Whether a model out of a file is one that could have been lowered: hashes tell damage, and this what was never right.

use crate::gemm::{Weights, row_of_words};
use crate::model::{AttentionPlan, EmbeddingPlan, HEAD_DIM_MAX, Model, NormPlan, REACH_MAX, RotaryPlan};
use crate::recording::Buffer;

/// Checks that sizes agree and that every weight is there and as long as they say. `words[i]`: how many words weight `i` has;
/// `labels`: how many numbers the head makes of a row.
pub(super) fn check_model(model: &Model, labels: usize, words: &[u64]) -> Result<(), String> {
    model.steps.check().map_err(|unsound| format!("it is damaged: {unsound}"))?;
    let (checker, steps) = (Checker { words }, &model.steps);
    let is_sound = || -> Option<()> {
        ensure(steps.answer.columns == labels)?;
        checker.embedding(&model.embedding, steps.embedding)?;
        let lengths = [model.linears.len(), model.norms.len(), model.attentions.len()];
        ensure(lengths == [steps.linears.len(), steps.norms.len(), steps.attentions.len()])?;
        model.linears.iter().zip(&steps.linears).try_for_each(|(weights, size)| checker.weights(weights, *size))?;
        model.norms.iter().zip(&steps.norms).try_for_each(|(norm, columns)| checker.norm(norm, *columns))?;
        let mut attentions = model.attentions.iter().zip(&steps.attentions);
        attentions.try_for_each(|(attention, size)| checker.attention(attention, *size))
    };
    is_sound().ok_or_else(|| "it is damaged: its layers do not fit each other".to_owned())
}

struct Checker<'a> {
    words: &'a [u64],
}

/// Each answers `None` for what cannot be.
impl Checker<'_> {
    fn embedding(&self, embedding: &EmbeddingPlan, columns: usize) -> Option<()> {
        let rows = if embedding.constant { 3 } else { 2 };
        ensure(embedding.columns == columns)?;
        self.holds(embedding.parameters, rows * columns as u64)?;
        let Some(positions) = embedding.positions else { return Some(()) };
        ensure((1..=REACH_MAX as usize).contains(&positions.rows))?;
        self.holds(positions.table, positions.rows as u64 * columns as u64)
    }

    fn norm(&self, norm: &NormPlan, columns: usize) -> Option<()> {
        self.holds(norm.parameters, 2 * columns as u64)
    }

    fn weights(&self, weights: &Weights, size: [usize; 2]) -> Option<()> {
        ensure([weights.k, weights.n] == size)?;
        let mut end = 0;
        for part in &weights.parts {
            ensure(
                part.range.start == end && end.is_multiple_of(4) && (end + 1..=weights.n).contains(&part.range.end),
            )?;
            end = part.range.end;
            let (rows, row_bytes) = row_of_words(weights.precision, weights.k);
            let padded = part.range.len().next_multiple_of(4) as u64;
            self.holds(part.weights, rows as u64 * padded * row_bytes / 4)?;
            self.holds(part.columns, 2 * padded)?;
        }
        ensure(end == weights.n)
    }

    fn attention(&self, attention: &AttentionPlan, size: [usize; 3]) -> Option<()> {
        let AttentionPlan { heads, key_heads, head_dim, .. } = *attention;
        ensure([heads, key_heads, head_dim] == size && head_dim <= HEAD_DIM_MAX)?;
        attention.rotary.map_or(Some(()), |rotary| self.rotary(&rotary, head_dim))?;
        if let Some(bias) = attention.bias {
            ensure(bias.reach as i64 <= REACH_MAX && attention.relative.is_none())?;
            self.holds(bias.values, heads as u64 * (2 * bias.reach as u64 + 1))?;
        }
        let width = (heads * head_dim) as u64;
        let Some(relative) = &attention.relative else { return Some(()) };
        let tables = self.words_of(relative.tables)?;
        let sides = u64::from(relative.keys) + u64::from(relative.queries);
        let numbers = if relative.half { 2 * tables } else { tables };
        let slots = numbers.checked_div(sides * width).unwrap_or(0);
        ensure((slots > 0 || sides == 0) && relative.reach as i64 <= REACH_MAX)?;
        let start = if relative.keys { slots * width } else { 0 };
        ensure(relative.queries_start as u64 == start)?;
        self.holds(relative.slots, 2 * relative.reach as u64 + 1)
    }

    fn rotary(&self, rotary: &RotaryPlan, head_dim: usize) -> Option<()> {
        let RotaryPlan { table, columns, positions } = *rotary;
        ensure(columns > 0 && columns.is_multiple_of(2) && columns <= head_dim && positions > 0)?;
        self.holds(table, (positions as u64).checked_mul(columns as u64)?)
    }

    fn holds(&self, buffer: Buffer, words: u64) -> Option<()> {
        ensure(self.words_of(buffer)? == words)
    }

    fn words_of(&self, buffer: Buffer) -> Option<u64> {
        let Buffer::Weight(number) = buffer else { return None };
        self.words.get(number).copied()
    }
}

fn ensure(is_so: bool) -> Option<()> {
    is_so.then_some(())
}
