//! Random draws: temperature, then top-k, then top-p, then a token. Nothing is remembered between draws.

use super::numbers::{Ranked, Top, exp, largest, sum, visit};

/// Sums of probabilities this close to `top_p` count as equal to it: about the rounding of a sum of 50,000 floats.
const EQUAL: f64 = 1e-6;
/// Weights that are summed before they are looked at one by one.
const BLOCK: usize = 1024;
/// Weights that share a sign, an exponent and five bits of the fraction are sorted together.
const SHIFT: u32 = 18;
/// Weights are at most 1.
const BINS: usize = (1.0_f32.to_bits() >> SHIFT) as usize + 1;

/// Makes weights of logits. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Weigher {
    top: Top,
    /// The most probable tokens, in order, and their weights, where there is a top-k.
    tokens: Vec<u32>,
    weights: Vec<f32>,
    nucleus: Nucleus,
}

/// Weights of tokens: probabilities but for a factor that all share; 0 for those that may not be drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed<'w> {
    /// Whose weights they are; `None`: those of the whole vocabulary.
    pub(super) tokens: Option<&'w [u32]>,
    pub(super) weights: &'w [f32],
}

impl Weigher {
    /// Weighs the tokens by their adjusted logits, which are overwritten.
    pub(super) fn weigh<'w>(
        &'w mut self,
        logits: &'w mut [f32],
        temperature: f32,
        top_k: usize,
        top_p: f32,
    ) -> Weighed<'w> {
        self.tokens.clear();
        self.weights.clear();
        let highest = largest(logits);
        if highest == f32::NEG_INFINITY {
            return Weighed { tokens: Some(&self.tokens), weights: &self.weights };
        }
        let is_cut = top_k > 0 && top_k < logits.len();
        if is_cut {
            self.keep_top(logits, top_k);
        }
        let Weigher { tokens, weights, nucleus, .. } = self;
        let weights = if is_cut { weights.as_mut_slice() } else { logits };
        weights.iter_mut().for_each(|logit| *logit = exp((*logit - highest) / temperature));
        if top_p < 1.0 {
            nucleus.keep(weights, top_p);
        }
        Weighed { tokens: is_cut.then_some(tokens.as_slice()), weights }
    }

    /// Keeps the most probable tokens, and those equal to the last of them.
    fn keep_top(&mut self, logits: &[f32], top_k: usize) {
        self.top.begin(top_k);
        self.top.show(logits, 0.0, 0);
        let floor = self.top.last();
        visit(
            logits,
            |logit| logit >= floor,
            |start, chunk| {
                let kept = chunk.iter().zip(start as u32..).filter(|(logit, _)| **logit >= floor);
                kept.for_each(|(&logit, token)| {
                    self.tokens.push(token);
                    self.weights.push(logit);
                });
            },
        );
    }
}

/// Finds the nucleus without sorting all weights. Its memory is used again.
#[derive(Clone, Debug, Default)]
struct Nucleus {
    /// Sums of weights by their leading bits.
    bins: Vec<f64>,
    /// The weights of one bin.
    bin: Vec<Ranked>,
}

impl Nucleus {
    /// Keeps the heaviest tokens up to the one with which their probabilities reach `top_p`; the others weigh nothing then.
    fn keep(&mut self, weights: &mut [f32], top_p: f32) {
        let total = sum(weights);
        let wanted = (f64::from(top_p) - EQUAL) * total;
        // All those below it together weigh less than what lies outside; half of it, so that rounding cannot matter.
        let lightest = (0.5 * (1.0 - f64::from(top_p)) * total / weights.len() as f64) as f32;
        self.sum_bins(weights, lightest);
        let mut above = 0.0;
        let reached = self.bins.iter().rposition(|bin| {
            above += bin;
            above >= wanted && *bin > 0.0
        });
        let Some(reached) = reached else { return };
        let Some(last) = self.last_inside(weights, reached, above - self.bins[reached], wanted) else { return };
        let (before, after) = weights.split_at_mut(last.at);
        before.iter_mut().for_each(|weight| *weight = if *weight < last.value { 0.0 } else { *weight });
        after.iter_mut().skip(1).for_each(|weight| *weight = if *weight <= last.value { 0.0 } else { *weight });
    }

    /// Sums the weights by their leading bits, but for most of those that are lighter.
    fn sum_bins(&mut self, weights: &[f32], lightest: f32) {
        self.bins.clear();
        self.bins.resize(BINS, 0.0);
        let add = |_, chunk: &[f32]| chunk.iter().for_each(|&weight| self.bins[bin_of(weight)] += f64::from(weight));
        visit(weights, |weight| weight >= lightest, add);
    }

    /// The last of the nucleus, which ends in this bin; `above` is what the heavier bins weigh.
    fn last_inside(&mut self, weights: &[f32], bin: usize, mut above: f64, wanted: f64) -> Option<Ranked> {
        self.bin.clear();
        visit(
            weights,
            |weight| bin_of(weight) == bin,
            |start, chunk| {
                let ranked = chunk.iter().zip(start..).map(|(&value, at)| Ranked { value, at });
                self.bin.extend(ranked.filter(|ranked| bin_of(ranked.value) == bin));
            },
        );
        self.bin.sort_unstable_by(Ranked::order);
        let reaches = |ranked: &&Ranked| {
            above += f64::from(ranked.value);
            above >= wanted
        };
        // Without one, the sum in another order fell short of itself by rounding.
        self.bin.iter().find(reaches).or(self.bin.last()).copied()
    }
}

fn bin_of(weight: f32) -> usize {
    ((weight.to_bits() >> SHIFT) as usize).min(BINS - 1)
}

impl Weighed<'_> {
    /// The token that this seed draws at this step; `None` if all weights are 0.
    pub(super) fn draw(&self, seed: u64, step: usize) -> Option<u32> {
        let place = pick(self.weights, uniform(seed, step as u64))?;
        self.tokens.map_or(Some(place as u32), |tokens| tokens.get(place).copied())
    }
}

/// The place of the weight at this share of their sum.
fn pick(weights: &[f32], share: f64) -> Option<usize> {
    let total: f64 = weights.chunks(BLOCK).map(sum).sum();
    let mut left = share * total;
    for (block, values) in weights.chunks(BLOCK).enumerate() {
        let weight = sum(values);
        if left >= weight {
            left -= weight;
            continue;
        }
        for (&value, at) in values.iter().zip(block * BLOCK..) {
            left -= f64::from(value);
            if left < 0.0 {
                return Some(at);
            }
        }
    }
    // Rounding left a grain of the last token's weight.
    weights.iter().rposition(|&weight| weight > 0.0)
}

/// A number from 0 up to 1 that depends on seed and step alone: the mixer of SplitMix64 (Steele, Lea, Flood 2014) over a counter.
pub(super) fn uniform(seed: u64, step: u64) -> f64 {
    let counter = mix(seed).wrapping_add(step.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (mix(counter) >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
