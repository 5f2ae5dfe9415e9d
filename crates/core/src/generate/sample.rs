//! Random draws: temperature, then top-k, then top-p, then a token. Nothing is remembered between draws.

use super::numbers::{Top, exp, largest, sum};
use super::options::Search;

/// Sums of probabilities this close to `top_p` count as equal to it: about the rounding of a sum of 50,000 floats.
const EQUAL: f64 = 1e-6;
/// How many of the most probable tokens are sorted first, in the hope that no more are needed.
const SORTED_FIRST: usize = 128;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    /// Its probability, but for a factor that all share.
    pub(super) weight: f32,
}

/// The tokens of one draw. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Urn {
    pub(super) candidates: Vec<Candidate>,
    top: Top,
}

impl Urn {
    /// Fills it with the tokens that may be drawn by adjusted logits, which become weights; with none if all are −∞ or the search
    /// draws nothing.
    pub(super) fn fill(&mut self, logits: &mut [f32], search: &Search) {
        self.candidates.clear();
        let &Search::Sample { temperature, top_k, top_p } = search else { return };
        let highest = largest(logits);
        if highest == f32::NEG_INFINITY {
            return;
        }
        let floor = self.floor(logits, top_k);
        for logit in logits.iter_mut() {
            let weight = exp((*logit - highest) / temperature);
            *logit = if *logit >= floor { weight } else { 0.0 };
        }
        let total = sum(logits);
        let lightest = lightest(total, top_p, logits.len());
        for (token, &weight) in logits.iter().enumerate() {
            if weight > 0.0 && weight >= lightest {
                self.candidates.push(Candidate { token: token as u32, weight });
            }
        }
        if top_p < 1.0 {
            self.keep_nucleus((f64::from(top_p) - EQUAL) * total);
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

    /// Keeps the heaviest tokens up to the one with which their weights reach `wanted`.
    fn keep_nucleus(&mut self, wanted: f64) {
        let all = self.candidates.len();
        let (mut sorted, mut above) = (0, 0.0);
        while sorted < all {
            let end = (sorted * 4).max(SORTED_FIRST).min(all);
            self.sort(sorted, end);
            for at in sorted..end {
                above += f64::from(self.candidates[at].weight);
                if above >= wanted {
                    self.candidates.truncate(at + 1);
                    return;
                }
            }
            sorted = end;
        }
    }

    /// Sorts the candidates from `start` to `end`, the heaviest first, with all others behind.
    fn sort(&mut self, start: usize, end: usize) {
        let order = |a: &Candidate, b: &Candidate| b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token));
        let rest = &mut self.candidates[start..];
        let count = end - start;
        if count < rest.len() {
            rest.select_nth_unstable_by(count, order);
        }
        rest[..count].sort_unstable_by(order);
    }

    /// The token that this seed draws at this step; `None` from an empty urn.
    pub(super) fn draw(&self, seed: u64, step: usize) -> Option<u32> {
        let mut left = uniform(seed, step as u64)
            * self.candidates.iter().map(|candidate| f64::from(candidate.weight)).sum::<f64>();
        for candidate in &self.candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        self.candidates.last().map(|candidate| candidate.token)
    }
}

/// The least weight of a token that may be in the nucleus: all those below it together weigh less than what lies outside.
fn lightest(total: f64, top_p: f32, tokens: usize) -> f32 {
    // Half of what would do, so that rounding cannot matter.
    (0.5 * (1.0 - f64::from(top_p)) * total / tokens as f64) as f32
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
