//! What a piece of the graph between anchors computes, found by running it.

use super::anchors::Anchor;
use super::ladder::Ladder;
use super::probe::Probe;
use super::region::{Region, Regions};
use super::sample::{Sample, TOKENS};
use super::unfused::Fused;
use crate::lengths::Lengths;
use crate::program::Unfused;
use grice_kernels::LayerNorm;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;

/// Between a piece run by tract and the step it is taken for: both in single precision, on inputs of order one.
const TOLERANCE: f32 = 2e-4;

/// Runs pieces and remembers the answers by what the pieces do.
pub(super) struct Glue<'a, 'p> {
    pub(super) regions: &'a Regions<'a, 'p>,
    pub(super) probe: &'a Probe<'a, 'p>,
    pub(super) ladder: Ladder<'a>,
    /// Answers by question and signature.
    known: RefCell<HashMap<(&'static str, String), bool>>,
    /// Values that no input changes, by signature: every layer normalises the same relative positions.
    constants: RefCell<HashMap<(String, usize), Tensor>>,
    /// Anchors whose values have one token for each sequence: what follows the queries of a last layer that asks for token 0.
    single: RefCell<HashSet<&'p str>>,
}

/// The inputs of a piece.
pub(super) type Feeds<'p> = HashMap<&'p str, Tensor>;

impl<'a, 'p> Glue<'a, 'p> {
    pub(super) fn new(regions: &'a Regions<'a, 'p>, probe: &'a Probe<'a, 'p>, lengths: &'a Lengths) -> Self {
        let (known, constants, single) = Default::default();
        Glue { regions, probe, ladder: Ladder::new(lengths), known, constants, single }
    }

    /// Tokens of a sequence in an anchor's value, in sequences of [`TOKENS`].
    pub(super) fn tokens_of(&self, anchor: &str) -> usize {
        self.tokens_in(anchor, TOKENS)
    }

    /// Tokens of a sequence in an anchor's value, in sequences of so many.
    pub(super) fn tokens_in(&self, anchor: &str, tokens: usize) -> usize {
        if self.single.borrow().contains(anchor) { 1 } else { tokens }
    }

    /// Notes that an anchor's value has one token for each sequence.
    pub(super) fn mark_single(&self, anchor: &'p str) {
        self.single.borrow_mut().insert(anchor);
    }

    /// Whether the piece makes the value out of `from` alone and hands it on unchanged, where no token is masked.
    pub(super) fn is_same(&self, region: &Region<'p>, from: &'p str, columns: usize) -> bool {
        if region.value == from {
            return true;
        }
        self.reads_only(region, &[from])
            && self.ask("same", region, |sample| {
                let tokens = self.tokens_in(from, sample.tokens);
                let shape = [sample.rows, tokens, columns];
                let mut feeds = self.feeds(region, sample, columns)?;
                let hidden = scaled(random(&shape, 1), sample.spread());
                feeds.insert(from, tensor(&shape, &hidden)?);
                let handed_on = self.probe.run(region, &feeds)?;
                Ok(handed_on.shape() == shape && close_unmasked(&handed_on, &hidden, sample, tokens, columns)?)
            })
    }

    /// Whether the piece is the sum of the two values; of token 0 of one where the other has only that.
    pub(super) fn is_sum(&self, region: &Region<'p>, parts: [&'p str; 2], columns: usize) -> bool {
        self.reads_only(region, &parts)
            && self.ask("sum", region, |sample| {
                let mut feeds = self.feeds(region, sample, columns)?;
                let tokens = parts.map(|part| self.tokens_in(part, sample.tokens));
                let fewest = tokens[0].min(tokens[1]);
                let mut sums = vec![0.0; sample.rows * fewest * columns];
                for (seed, (part, tokens)) in parts.iter().zip(tokens).enumerate() {
                    let shape = [sample.rows, tokens, columns];
                    let values = scaled(random(&shape, 2 + seed as u64), sample.spread());
                    let rows = values.chunks(tokens * columns).flat_map(|row| &row[..fewest * columns]);
                    sums.iter_mut().zip(rows).for_each(|(sum, value)| *sum += value);
                    feeds.insert(part, tensor(&shape, &values)?);
                }
                close_unmasked(&self.probe.run(region, &feeds)?, &sums, sample, fewest, columns)
            })
    }

    /// Whether the piece picks token 0 of each sequence: `[rows, tokens, columns]` → `[rows, columns]` or `[rows, 1, columns]`.
    pub(super) fn is_first_token(&self, region: &Region<'p>, from: &'p str, columns: usize, keeps_axis: bool) -> bool {
        let question = if keeps_axis { "first token" } else { "first row" };
        self.reads_only(region, &[from])
            && self.ask(question, region, |sample| {
                let tokens = self.tokens_in(from, sample.tokens);
                let shape = [sample.rows, tokens, columns];
                let mut feeds = self.feeds(region, sample, columns)?;
                let hidden = scaled(random(&shape, 4), sample.spread());
                feeds.insert(from, tensor(&shape, &hidden)?);
                let picked = self.probe.run(region, &feeds)?;
                let first: Vec<f32> =
                    hidden.chunks(tokens * columns).flat_map(|row| &row[..columns]).copied().collect();
                let expected: &[usize] = if keeps_axis { &[sample.rows, 1, columns] } else { &[sample.rows, columns] };
                Ok(picked.shape() == expected && close(&picked, &first)?)
            })
    }

    /// Whether elements matter of `parts` (all of them) and of nothing else but the mask.
    pub(super) fn reads_only(&self, region: &Region<'p>, parts: &[&'p str]) -> bool {
        let mut found: Vec<&str> = region.data().filter(|source| *source != MASK).collect();
        let mut parts = parts.to_vec();
        found.sort_unstable();
        parts.sort_unstable();
        found == parts
    }

    /// Something of the right shape for every source: no token masked, all else zero.
    pub(super) fn standard_feeds(&self, region: &Region<'p>, rows: usize, tokens: usize, columns: usize) -> Feeds<'p> {
        let mut feeds = HashMap::new();
        for &source in &region.sources {
            let zeros = match self.regions.anchors.get(source) {
                Some(anchor) => {
                    let columns = match anchor {
                        Anchor::Linear { weights, .. } => weights.shape().map_or(columns, |(_, outputs)| outputs),
                        Anchor::Embedding { table, .. } => table.shape().map_or(columns, |(_, outputs)| outputs),
                        Anchor::Norm { norm, .. } => norm.gamma.len(),
                    };
                    let tokens = if self.single.borrow().contains(source) { 1 } else { tokens };
                    Tensor::zero::<f32>(&[rows, tokens, columns])
                }
                None if source == MASK => tensor_of_ones(&[rows, tokens]),
                None => Tensor::zero::<i64>(&[rows, tokens]),
            };
            if let Ok(zeros) = zeros {
                feeds.insert(source, zeros);
            }
        }
        feeds
    }

    /// As [`Self::standard_feeds`], masked as the sample is.
    pub(super) fn feeds(&self, region: &Region<'p>, sample: Sample, columns: usize) -> TractResult<Feeds<'p>> {
        let mut feeds = self.standard_feeds(region, sample.rows, sample.tokens, columns);
        if let Some(mask) = feeds.get_mut(MASK) {
            *mask = Tensor::from_shape(&[sample.rows, sample.tokens], &sample.mask())?;
        }
        Ok(feeds)
    }

    /// A text that two pieces share exactly if they do the same to sources of the same shapes.
    pub(super) fn signature(&self, region: &Region<'p>) -> String {
        let tokens: Vec<usize> = region.sources.iter().map(|source| self.tokens_of(source)).collect();
        format!("{tokens:?}{}", self.regions.signature(region))
    }

    /// The answer to a question about a piece; one that cannot be run has the answer no. What tells by a few tokens must hold for all
    /// lengths.
    fn ask(&self, question: &'static str, region: &Region<'p>, answer: impl Fn(Sample) -> TractResult<bool>) -> bool {
        let key = (question, self.signature(region));
        if let Some(&known) = self.known.borrow().get(&key) {
            return known;
        }
        let told = answer(Sample::SMALL).unwrap_or(false) && {
            let text = format!("{question} {}", key.1);
            self.ladder.check(&text, region.value, self.regions.is_token_wise(region), answer).is_ok()
        };
        self.known.borrow_mut().insert(key, told);
        told
    }

    /// The value of a piece that depends on no input's elements, for sequences of `tokens` tokens.
    pub(super) fn constant_value(&self, name: &'p str, tokens: usize, columns: usize) -> Fused<Tensor> {
        if let Some(tensor) = self.regions.graph.constant(self.regions.graph.resolve(name)) {
            let values = super::constants::floats(tensor).zip(super::constants::dims(tensor));
            let value = values.and_then(|(values, dims)| Tensor::from_shape(&dims, &values).ok());
            return value.ok_or_else(|| Unfused::new(format!("the constant `{name}` cannot be read")));
        }
        let key = (self.regions.signature(&self.regions.back_from(name)), tokens);
        if let Some(known) = self.constants.borrow().get(&key) {
            return Ok(known.clone());
        }
        let cannot = |error: TractError| Unfused::new(format!("`{name}` cannot be computed: {error:#}"));
        let region = self.regions.back_to_norms(name);
        let mut feeds = self.standard_feeds(&region, 1, tokens, columns);
        for &source in &region.sources {
            if let Some(Anchor::Norm { input, norm }) = self.regions.anchors.get(source)
                && !self.regions.varies(source)
            {
                // tract's norm may sum in another order on another machine.
                let mut values = self.constant_value(input, tokens, columns)?;
                normalize(&mut values, norm).map_err(cannot)?;
                feeds.insert(source, values);
            }
        }
        let value = self.probe.run(&region, &feeds).map_err(cannot)?;
        self.constants.borrow_mut().insert(key, value.clone());
        Ok(value)
    }
}

/// The rows of a tensor through a layer norm.
fn normalize(values: &mut Tensor, norm: &LayerNorm) -> TractResult<()> {
    let mut values = values.try_as_plain_ram_mut()?;
    Ok(crate::fold::normalize(values.as_slice_mut::<f32>()?, norm)?)
}

pub(super) const MASK: &str = "attention_mask";
pub(super) const IDS: &str = "input_ids";
pub(super) const TYPES: &str = "token_type_ids";

/// Of order one, never twice the same, and the same in every run: a linear congruential generator (Knuth's MMIX constants).
pub(super) fn random(shape: &[usize], seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..shape.iter().product()).map(|_| next() + next()).collect()
}

pub(super) fn tensor(shape: &[usize], values: &[f32]) -> TractResult<Tensor> {
    Tensor::from_shape(shape, values)
}

/// Values of another magnitude.
pub(super) fn scaled(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    values.iter_mut().for_each(|value| *value *= factor);
    values
}

/// Whether tokens that are not masked are close.
fn close_unmasked(
    found: &Tensor,
    expected: &[f32],
    sample: Sample,
    tokens: usize,
    columns: usize,
) -> TractResult<bool> {
    let found = elements(found)?;
    let pairs = sample.unmasked(&found, tokens, columns).into_iter().zip(sample.unmasked(expected, tokens, columns));
    Ok(found.len() == expected.len() && pairs.into_iter().all(|(found, expected)| all_close(found, expected)))
}

fn tensor_of_ones(shape: &[usize]) -> TractResult<Tensor> {
    Tensor::from_shape(shape, &vec![1i64; shape.iter().product()])
}

/// The elements of a single-precision tensor.
pub(super) fn elements(tensor: &Tensor) -> TractResult<Vec<f32>> {
    Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

pub(super) fn close(found: &Tensor, expected: &[f32]) -> TractResult<bool> {
    Ok(all_close(&elements(found)?, expected))
}

pub(super) fn all_close(found: &[f32], expected: &[f32]) -> bool {
    let pairs = found.iter().zip(expected);
    found.len() == expected.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() <= TOLERANCE * b.abs().max(1.0))
}
