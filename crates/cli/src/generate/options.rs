//! What options and the model's files say of how tokens are chosen.

use crate::args::How;
use crate::error::{CliError, Result};
use grice_core::Writer;
use grice_core::generate::{Choice, DecodeOptions};
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroUsize;

/// The model's own options, changed by those that are given.
pub(super) fn of(how: &How, writer: &Writer) -> Result<DecodeOptions> {
    let choice = Choice {
        max_new_tokens: how.max_new_tokens.map(NonZeroUsize::get),
        min_new_tokens: how.min_new_tokens,
        temperature: how.temperature,
        top_k: how.top_k,
        top_p: how.top_p,
        seed: how.seed,
        beams: how.beams.map(NonZeroUsize::get),
        length_penalty: how.length_penalty,
        repetition_penalty: how.repetition_penalty,
        no_repeat_ngram: how.no_repeat_ngram,
        stop: how.stop.clone(),
        draft: how.draft,
        ..Choice::default()
    };
    writer.options_for(&choice, random).map_err(|error| CliError::GenerateOption(error.to_string()))
}

/// A random seed: the system draws the keys of a new hash map.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
