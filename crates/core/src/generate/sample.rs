//! Random draws: temperature, then top-k, then top-p, then a token. Nothing is remembered between draws.

use super::numbers::{LANES, Ranked, Top, any, exp, largest, sum, visit};
use super::options::Search;

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
    /// Sums of weights by their leading bits.
    bins: Vec<f64>,
    /// The weights of one bin.
    bin: Vec<Ranked>,
}

impl Weigher {
    /// Adjusted logits → weights: probabilities but for a factor that all share, and 0 for tokens that may not be drawn. All are 0 if
    /// all logits are −∞.
    pub(super) fn weigh(&mut self, logits: &mut [f32], search: &Search) {
        let &Search::Sample { temperature, top_k, top_p } = search else { return };
        let highest = largest(logits);
        if highest == f32::NEG_INFINITY {
            return logits.fill(0.0);
        }
        let floor = self.floor(logits, top_k);
        let weight = |logit| {
            // Computed for all: a branch would keep it from being done for several at once.
            let weight = exp((logit - highest) / temperature);
            if logit >= floor { weight } else { 0.0 }
        };
        let (chunks, rest) = logits.as_chunks_mut::<LANES>();
        for chunk in chunks {
            let is_kept = any(chunk, |logit| logit >= floor);
            *chunk = if is_kept { chunk.map(weight) } else { [0.0; LANES] };
        }
        rest.iter_mut().for_each(|logit| *logit = weight(*logit));
        if top_p < 1.0 {
            self.keep_nucleus(logits, top_p);
        }
    }

    /// The logit of the last of the `top_k` most probable tokens.
    fn floor(&mut self, logits: &[f32], top_k: usize) -> f32 {
        if top_k == 0 || top_k >= logits.len() {
            return f32::NEG_INFINITY;
        }
        self.top.begin(top_k);
        self.top.show(logits, 0.0, 0);
        self.top.last()
    }

    /// Keeps the heaviest tokens up to the one with which their probabilities reach `top_p`.
    fn keep_nucleus(&mut self, weights: &mut [f32], top_p: f32) {
        let total = sum(weights);
        // All those below it together weigh less than what lies outside; half of it, so that rounding cannot matter.
        let lightest = (0.5 * (1.0 - f64::from(top_p)) * total / weights.len() as f64) as f32;
        self.sum_bins(weights, lightest);
        let wanted = (f64::from(top_p) - EQUAL) * total;
        let mut above = 0.0;
        let reached = self.bins.iter().rposition(|bin| {
            above += bin;
            above >= wanted && *bin > 0.0
        });
        let Some(reached) = reached else { return };
        let last = self.last_inside(weights, reached, above - self.bins[reached], wanted);
        let (before, after) = weights.split_at_mut(last.at.min(weights.len()));
        before.iter_mut().for_each(|weight| *weight = if *weight < last.value { 0.0 } else { *weight });
        after.iter_mut().skip(1).for_each(|weight| *weight = if *weight <= last.value { 0.0 } else { *weight });
    }

    /// Sums the weights that may lie in the nucleus by their leading bits.
    fn sum_bins(&mut self, weights: &[f32], lightest: f32) {
        self.bins.clear();
        self.bins.resize(BINS, 0.0);
        let add = |_, chunk: &[f32]| chunk.iter().for_each(|&weight| self.bins[bin_of(weight)] += f64::from(weight));
        visit(weights, |weight| weight >= lightest, add);
    }

    /// The last token of the nucleus, which ends in this bin; `above` is what the heavier bins weigh.
    fn last_inside(&mut self, weights: &[f32], bin: usize, mut above: f64, wanted: f64) -> Ranked {
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
        let last = self.bin.iter().find(reaches).or(self.bin.last());
        last.copied().unwrap_or(Ranked { value: 0.0, at: weights.len() })
    }
}

fn bin_of(weight: f32) -> usize {
    ((weight.to_bits() >> SHIFT) as usize).min(BINS - 1)
}

/// The token that this seed draws at this step; `None` if all weights are 0.
pub(super) fn draw(weights: &[f32], seed: u64, step: usize) -> Option<u32> {
    let total: f64 = weights.chunks(BLOCK).map(sum).sum();
    let mut left = uniform(seed, step as u64) * total;
    for (block, values) in weights.chunks(BLOCK).enumerate() {
        let weight = sum(values);
        if left >= weight {
            left -= weight;
            continue;
        }
        for (&value, at) in values.iter().zip(block * BLOCK..) {
            left -= f64::from(value);
            if left < 0.0 {
                return Some(at as u32);
            }
        }
    }
    // Rounding left a grain of the last token's weight.
    weights.iter().rposition(|&weight| weight > 0.0).map(|at| at as u32)
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
