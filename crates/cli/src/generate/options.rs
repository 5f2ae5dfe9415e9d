//! What options and the model's files say of how tokens are chosen.

use crate::args::How;
use crate::error::{CliError, Result};
use grice_core::Writer;
use grice_core::generate::{DecodeOptions, Search};
use std::hash::{BuildHasher, Hasher};

/// The most tokens to write if neither an option nor the model says.
const NEW_TOKENS: usize = 80;

/// The model's own options, changed by those that are given.
pub(super) fn of(how: &How, writer: &Writer) -> Result<DecodeOptions> {
    let own = writer.options();
    let new = how.max_new_tokens.map(usize::from).or(writer.defaults().max_new_tokens).unwrap_or(NEW_TOKENS);
    let search = search(how, own.search);
    let options = DecodeOptions {
        search,
        max_new_tokens: new,
        min_new_tokens: how.min_new_tokens.unwrap_or(own.min_new_tokens),
        repetition_penalty: how.repetition_penalty.unwrap_or(own.repetition_penalty),
        no_repeat_ngram: how.no_repeat_ngram.unwrap_or(own.no_repeat_ngram),
        stop_strings: how.stop.clone(),
        draft: how.draft.unwrap_or(0),
        seed: matches!(search, Search::Sample { .. }).then(|| how.seed.unwrap_or_else(random)),
        ..own
    };
    options.check().map_err(|error| CliError::GenerateOption(error.to_string()))?;
    Ok(options)
}

fn search(how: &How, own: Search) -> Search {
    if let Some(width) = how.beams {
        let length_penalty = how.length_penalty.unwrap_or(1.0);
        return Search::Beam { width: width.get(), length_penalty, early: Default::default() };
    }
    let draws = how.temperature.is_some() || how.top_k.is_some() || how.top_p.is_some() || how.seed.is_some();
    let (temperature, top_k, top_p) = match own {
        Search::Sample { temperature, top_k, top_p } => (temperature, top_k, top_p),
        _ if draws => (1.0, 0, 1.0),
        _ => return own,
    };
    Search::Sample {
        temperature: how.temperature.unwrap_or(temperature),
        top_k: how.top_k.unwrap_or(top_k),
        top_p: how.top_p.unwrap_or(top_p),
    }
}

/// A random seed: the system draws the keys of a new hash map.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
