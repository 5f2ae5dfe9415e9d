//! Whether a model out of a file is one that could have been lowered: hashes tell damage, and this what was never right.

use crate::gemm::{Weights, row_of_words};
use crate::model::{AttentionPlan, DensePlan, EmbeddingPlan, HEAD_DIM_MAX, LayerPlan, Model, NormPlan, REACH_MAX};
use crate::record::Buffer;

/// More columns than any encoder has.
const COLUMNS_MAX: usize = 1 << 20;

/// Checks that sizes agree and that every weight is there and as long as they say. `words[i]`: how many words weight `i` has;
/// `labels`: how many numbers the head makes of a row.
pub(super) fn check_model(model: &Model, labels: usize, words: &[u64]) -> Result<(), String> {
    let checker = Checker { words, hidden: model.hidden };
    let is_sound = || -> Option<()> {
        let hidden = model.hidden;
        ensure((1..=COLUMNS_MAX).contains(&hidden) && !model.layers.is_empty())?;
        checker.embedding(&model.embedding)?;
        let (last, others) = model.layers.split_last()?;
        ensure(last.query.is_some() && others.iter().all(|layer| layer.query.is_none()))?;
        model.layers.iter().try_for_each(|layer| checker.layer(layer))?;
        checker.head(&model.head, labels)?;
        let inner = model.layers.iter().map(|layer| layer.up.n).max()?;
        ensure(model.wide == inner.max(3 * hidden))
    };
    is_sound().ok_or_else(|| "it is damaged: its layers do not fit each other".to_owned())
}

struct Checker<'a> {
    words: &'a [u64],
    hidden: usize,
}

/// Each answers `None` for what cannot be.
impl Checker<'_> {
    fn layer(&self, layer: &LayerPlan) -> Option<()> {
        let hidden = self.hidden;
        let inner = layer.up.n;
        ensure((1..=COLUMNS_MAX).contains(&inner))?;
        let projected = if layer.query.is_some() { 2 } else { 3 };
        self.weights(&layer.projections, [hidden, projected * hidden])?;
        layer.query.iter().try_for_each(|query| self.weights(query, [hidden, hidden]))?;
        self.weights(&layer.output, [hidden, hidden])?;
        self.weights(&layer.up, [hidden, inner])?;
        self.weights(&layer.down, [inner, hidden])?;
        self.norm(&layer.attention_norm)?;
        self.norm(&layer.norm)?;
        self.attention(&layer.attention)
    }

    fn embedding(&self, embedding: &EmbeddingPlan) -> Option<()> {
        let rows = if embedding.constant { 3 } else { 2 };
        let columns = embedding.columns;
        match &embedding.projection {
            None => ensure(columns == self.hidden)?,
            Some(projection) => {
                ensure((1..=self.hidden).contains(&columns))?;
                self.weights(projection, [columns, self.hidden])?;
            }
        }
        self.holds(embedding.parameters, rows * columns as u64)?;
        let Some(positions) = embedding.positions else { return Some(()) };
        ensure((1..=REACH_MAX as usize).contains(&positions.rows))?;
        self.holds(positions.table, positions.rows as u64 * columns as u64)
    }

    fn head(&self, head: &[DensePlan], labels: usize) -> Option<()> {
        let mut columns = self.hidden;
        for dense in head {
            ensure((1..=COLUMNS_MAX).contains(&dense.weights.n))?;
            self.weights(&dense.weights, [columns, dense.weights.n])?;
            columns = dense.weights.n;
        }
        ensure(!head.is_empty() && columns == labels)
    }

    fn norm(&self, norm: &NormPlan) -> Option<()> {
        self.holds(norm.parameters, 2 * self.hidden as u64)
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

    fn attention(&self, attention: &AttentionPlan) -> Option<()> {
        let AttentionPlan { heads, head_dim, .. } = *attention;
        ensure((1..=HEAD_DIM_MAX).contains(&head_dim) && heads.checked_mul(head_dim) == Some(self.hidden))?;
        let Some(relative) = &attention.relative else { return Some(()) };
        let tables = self.words_of(relative.tables)?;
        let sides = u64::from(relative.keys) + u64::from(relative.queries);
        let numbers = if relative.half { 2 * tables } else { tables };
        let slots = numbers.checked_div(sides * self.hidden as u64).unwrap_or(0);
        ensure((slots > 0 || sides == 0) && relative.reach as i64 <= REACH_MAX)?;
        let start = if relative.keys { slots * self.hidden as u64 } else { 0 };
        ensure(relative.queries_start as u64 == start)?;
        self.holds(relative.slots, 2 * relative.reach as u64 + 1)
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
