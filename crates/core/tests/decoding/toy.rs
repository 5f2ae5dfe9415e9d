//! Toy language models: their logits are a hash of the last tokens. `training/make_decoding_reference.py` computes the same bits.

use serde::Deserialize;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Logits a row.
pub(crate) const VOCABULARY: usize = 48;
/// A token that no toy chooses.
pub(crate) const PAD: u32 = 1;

/// A toy, and the source that its encoder read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Toy {
    pub(crate) seed: u64,
    /// How many of the last tokens count.
    pub(crate) order: usize,
    /// Whether the number of tokens counts too.
    pub(crate) counts: bool,
    pub(crate) stop_tokens: Vec<u32>,
    pub(crate) stop_bias: f32,
    #[serde(skip)]
    pub(crate) source: Vec<u32>,
}

impl Toy {
    /// The logits of the token that follows.
    pub(crate) fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let last = &tokens[tokens.len().saturating_sub(self.order)..];
        let count = self.counts.then_some(tokens.len() as u32);
        let state = self.source.iter().chain(last).copied().chain(count);
        let state = state.fold(mix(self.seed), |state, token| mix(state ^ (u64::from(token) + 1)));
        let values = (0..VOCABULARY as u64).map(|token| mix(state.wrapping_add(token.wrapping_mul(GOLDEN))) >> 40);
        let mut logits: Vec<f32> = values.map(|value| value as f32 / 1_048_576.0 - 8.0).collect();
        self.stop_tokens.iter().for_each(|&token| logits[token as usize] += self.stop_bias);
        logits[PAD as usize] -= 64.0;
        logits
    }
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
