//! Greedy search and beams beside `transformers.generate`.

use crate::engine::{generate, start};
use crate::toy::{Found, reference};
use grice_core::generate::{DecodeOptions, Decoding};
use std::sync::Arc;

/// Scores are sums of up to 40 log-probabilities, added in another order.
const TOLERANCE: f32 = 1e-4;

#[test]
fn searches_find_the_sequences_that_transformers_finds() {
    let reference = reference::<DecodeOptions>();
    assert!(reference.found.len() >= 100, "of transformers {}", reference.transformers);
    for (index, case) in reference.found.iter().enumerate() {
        check(index, case);
    }
}

fn check(index: usize, case: &Found<DecodeOptions>) {
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
    let cases = reference::<DecodeOptions>().found;
    let count = |test: fn(&Found<DecodeOptions>) -> bool| cases.iter().filter(|case| test(case)).count();
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
    for case in reference::<DecodeOptions>().found.iter().filter(|case| case.options.width() == 1) {
        for draft in [1, 5] {
            let options = DecodeOptions { draft, ..case.options.clone() };
            let mut decoding = Decoding::new(Arc::new(options), start(&case.toy, &case.prompt)).unwrap();
            let generated = crate::engine::Engine::default().finish(&case.toy, &mut decoding);
            assert_eq!(generated[0].tokens, case.found[0].tokens);
        }
    }
}
