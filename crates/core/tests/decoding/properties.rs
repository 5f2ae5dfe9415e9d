//! What holds for all options: drafts, interruptions and lost engines change nothing.

use crate::engine::{Engine, begin, generate, start};
use crate::toy::Toy;
use crate::twin::{beams, cases, search, singles};
use grice_core::generate::{DecodeOptions, Decoding, Generated, Progress};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::sync::Arc;

/// The same cases each time: two of a billion beams differ by less than rounding.
fn fixed() -> ProptestConfig {
    ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(20), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn beams_find_what_a_plain_search_finds((toy, prompt, options) in cases(), (beam, returns) in beams()) {
        let toy = Toy { counts: true, ..toy };
        let options = DecodeOptions { search: beam, returns, ..options };
        let (found, right) = (generate(&toy, &prompt, &options), search(&toy, &prompt, &options));
        let tokens = found.iter().map(|sequence| &sequence.tokens);
        prop_assert!(tokens.eq(right.iter().map(|(tokens, _)| tokens)), "{found:?} instead of {right:?}");
        for (sequence, (_, score)) in found.iter().zip(right) {
            prop_assert!((f64::from(sequence.score) - score).abs() < 1e-4 * score.abs().max(1.0));
        }
    }

    #[test]
    fn drafts_change_nothing(
        (toy, prompt, options) in cases(),
        search in singles(),
        draft in 1..7_usize,
        log_probabilities in prop::option::of(0..4_usize),
        seed in any::<u64>(),
    ) {
        let plain = DecodeOptions { search, log_probabilities, ..options }.seeded(seed);
        let drafted = DecodeOptions { draft, ..plain.clone() };
        prop_assert_eq!(generate(&toy, &prompt, &plain), generate(&toy, &prompt, &drafted));
    }

    #[test]
    fn a_sequence_goes_on_from_any_token(
        (toy, prompt, options) in cases(),
        search in singles(),
        draft in 0..4_usize,
        seed in any::<u64>(),
    ) {
        let options = DecodeOptions { search, draft, ..options }.seeded(seed);
        let whole = generate(&toy, &prompt, &options);
        for made in 0..=whole[0].tokens.len() {
            let options = Arc::new(options.clone());
            let mut decoding = Decoding::resume(options, start(&toy, &prompt), &whole[0].tokens[..made], None).unwrap();
            prop_assert_eq!(decoding.new_tokens(), &whole[0].tokens[..made]);
            if made < whole[0].tokens.len() {
                Engine::default().finish(&toy, &mut decoding);
            }
            prop_assert_eq!(decoding.generated(), &whole);
        }
    }

    #[test]
    fn a_lost_engine_costs_no_token((toy, prompt, options) in cases(), (beam, returns) in beams(), single in singles(), draft in 0..4_usize) {
        for options in [
            DecodeOptions { search: beam, returns, log_probabilities: Some(2), ..options.clone() },
            DecodeOptions { search: single, draft, log_probabilities: Some(1), ..options }.seeded(4),
        ] {
            let whole = generate(&toy, &prompt, &options);
            for lost in 0..options.max_new_tokens {
                prop_assert_eq!(&lose(&toy, &prompt, &options, lost), &whole);
            }
        }
    }

    #[test]
    fn what_is_streamed_is_what_is_returned((toy, prompt, options) in cases(), search in singles(), draft in 0..6_usize) {
        let options = DecodeOptions { search, draft, log_probabilities: Some(3), ..options }.seeded(1);
        let (mut engine, mut decoding) = (Engine::default(), begin(&toy, &prompt, &options));
        let mut streamed = Vec::new();
        let done = loop {
            let progress = engine.step(&toy, &mut decoding).unwrap();
            prop_assert!(decoding.new_tokens().len() > streamed.len());
            prop_assert_eq!(decoding.new_tokens().len(), decoding.log_probabilities().len());
            streamed.extend_from_slice(&decoding.log_probabilities()[streamed.len()..]);
            if let Progress::Done(done) = progress {
                break done;
            }
        };
        prop_assert_eq!(&streamed, &done[0].log_probabilities);
        prop_assert!(streamed.iter().map(|entry| entry.token).eq(done[0].tokens.iter().copied()));
        for entry in &streamed {
            prop_assert!(entry.alternatives.contains(&(entry.token, entry.log_probability)));
            prop_assert!(entry.alternatives.len() == 3 || entry.alternatives.len() == 4);
        }
    }
}

/// What is generated if the engine is lost after so many steps, and the state goes on as a clone.
fn lose(toy: &Toy, prompt: &[u32], options: &DecodeOptions, lost: usize) -> Vec<Generated> {
    let (mut engine, mut decoding) = (Engine::default(), begin(toy, prompt, options));
    for _ in 0..lost {
        if let Progress::Done(generated) = engine.step(toy, &mut decoding).unwrap() {
            return generated;
        }
    }
    let mut decoding = decoding.clone();
    decoding.refill();
    assert!(decoding.wants().all(|want| want.kept == 0 && want.asked() == 1));
    Engine::default().finish(toy, &mut decoding)
}
