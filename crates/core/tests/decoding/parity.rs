//! Greedy search and beams beside `transformers.generate`.

use crate::engine::generate;
use crate::toy::{PAD, Toy, VOCABULARY};
use grice_core::generate::DecodeOptions;
use serde::Deserialize;

/// Scores are sums of up to 40 log-probabilities, added in another order.
const TOLERANCE: f32 = 1e-4;

/// What transformers made of toys.
#[derive(Deserialize)]
struct Reference {
    transformers: String,
    vocabulary: usize,
    pad: u32,
    found: Vec<Found>,
}

/// The sequences of a search.
#[derive(Deserialize)]
struct Found {
    source: Vec<u32>,
    prompt: Vec<u32>,
    toy: Toy,
    options: DecodeOptions,
    found: Vec<FoundSequence>,
}

/// A sequence without its prompt.
#[derive(Deserialize)]
struct FoundSequence {
    tokens: Vec<u32>,
    /// Only beams have one.
    score: Option<f32>,
}

fn reference() -> Reference {
    let mut reference: Reference = serde_json::from_str(include_str!("reference.json")).unwrap();
    assert_eq!((reference.vocabulary, reference.pad), (VOCABULARY, PAD));
    reference.found.iter_mut().for_each(|case| case.toy.source.clone_from(&case.source));
    reference
}

#[test]
fn searches_find_the_sequences_that_transformers_finds() {
    let reference = reference();
    assert!(reference.found.len() >= 100, "of transformers {}", reference.transformers);
    for (index, case) in reference.found.iter().enumerate() {
        check(index, case);
    }
}

fn check(index: usize, case: &Found) {
    let generated = generate(&case.toy, &case.prompt, &case.options);
    let tokens: Vec<_> = generated.iter().map(|sequence| &sequence.tokens).collect();
    let expected: Vec<_> = case.found.iter().map(|sequence| &sequence.tokens).collect();
    assert_eq!(tokens, expected, "case {index}: {:?}", case.options);
    for (sequence, expected) in generated.iter().zip(&case.found) {
        let Some(score) = expected.score else { continue };
        assert!((sequence.score - score).abs() < TOLERANCE, "case {index}: {} instead of {score}", sequence.score);
    }
}

#[test]
fn the_reference_holds_every_kind_of_case() {
    let cases = reference().found;
    let count = |test: fn(&Found) -> bool| cases.iter().filter(|case| test(case)).count();
    assert!(count(|case| case.source.is_empty()) >= 50);
    assert!(count(|case| !case.source.is_empty()) >= 50);
    assert!(count(|case| case.options.stop_tokens.len() > 1) >= 20);
    assert!(count(|case| case.options.width() > 4) >= 10);
    assert!(count(|case| case.options.min_length > 0) >= 20);
    assert!(count(|case| case.options.no_repeat_ngram > 0) >= 40);
    assert!(count(|case| !case.options.banned.is_empty()) >= 20);
    assert!(count(|case| case.options.returns > 1) >= 20);
}

#[test]
fn drafts_leave_every_sequence_as_it_is() {
    for case in reference().found.iter().filter(|case| case.options.width() == 1) {
        for draft in [1, 5] {
            let options = DecodeOptions { draft, ..case.options.clone() };
            assert_eq!(generate(&case.toy, &case.prompt, &options)[0].tokens, case.found[0].tokens);
        }
    }
}
