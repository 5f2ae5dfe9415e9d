//! The parts of a step, each beside a plain twin, and draws beside the probabilities that transformers leaves.

use super::adjust::{Seen, adjust, ban_repeated_ngrams, penalise_new, penalise_repeats};
use super::draft::guess;
use super::numbers::{Ranked, Top, check_finite, exp, index_of_largest, ln, log_softmax};
use super::outcome::DecodeError;
use super::sample::{Weighed, Weigher, uniform};
use super::{DecodeOptions, Search};
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[path = "../../tests/decoding/toy.rs"]
mod toy;

const OUT: f32 = f32::NEG_INFINITY;

/// The tokens that may be drawn, with probabilities.
fn drawable(logits: &[f32], temperature: f32, top_k: usize, top_p: f32) -> BTreeMap<u32, f64> {
    let (mut weigher, mut logits) = (Weigher::default(), logits.to_vec());
    let Weighed { tokens, weights } = weigher.weigh(&mut logits, temperature, top_k, top_p);
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let tokens = tokens.map_or_else(|| (0..weights.len() as u32).collect(), <[u32]>::to_vec);
    let drawable = tokens.into_iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    drawable.map(|(token, weight)| (token, f64::from(*weight) / total)).collect()
}

fn draw(weights: &[f32], seed: u64, step: usize) -> Option<u32> {
    Weighed { tokens: None, weights }.draw(seed, step)
}

/// Sorts everything: which tokens make up the nucleus.
fn plain_nucleus(logits: &[f32], top_p: f32) -> BTreeSet<u32> {
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut above = 0.0;
    let is_inside = |&token: &usize| {
        let inside = above == 0.0 || above / total < f64::from(top_p) - 1e-6;
        above += weights[token];
        inside
    };
    order.into_iter().take_while(is_inside).map(|token| token as u32).collect()
}

mod numbers {
    use super::*;

    #[test]
    fn exponentials_are_right_to_two_units_in_the_last_place() {
        for step in 0..870_000 {
            let x = -(step as f32) / 10_000.0;
            let (found, right) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / right - 1.0).abs() < 2.4e-7, "e^{x} = {right}, not {found}");
        }
        assert_eq!((exp(0.0), exp(-87.5), exp(-1e30), exp(OUT)), (1.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn logarithms_are_right_to_twelve_digits() {
        for step in 0..200_000 {
            let x = 1.0 + f64::from(step) * f64::from(step) / 1e5;
            assert!((ln(x) - x.ln()).abs() < 1e-12 * x.ln().max(1.0), "ln {x}");
        }
    }

    #[test]
    fn equal_logits_give_the_lowest_id() {
        assert_eq!(index_of_largest(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        assert_eq!(index_of_largest(&[OUT; 20]), None);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let mut logits = vec![0.0; 50];
        assert_eq!(check_finite(&logits, 3), Ok(()));
        for broken in [f32::NAN, f32::INFINITY, OUT] {
            logits[41] = broken;
            assert_eq!(check_finite(&logits, 3), Err(DecodeError::NotFinite { row: 3, token: 41 }));
        }
    }

    proptest! {
        #[test]
        fn log_softmax_is_that_of_double_precision(logits in prop::collection::vec(-50.0_f32..50.0, 1..100)) {
            let mut found = logits.clone();
            log_softmax(&mut found);
            let log = logits.iter().map(|&logit| (f64::from(logit) - 50.0).exp()).sum::<f64>().ln() + 50.0;
            for (found, logit) in found.iter().zip(logits) {
                prop_assert!((f64::from(*found) - (f64::from(logit) - log)).abs() < 2e-5);
            }
        }

        #[test]
        fn the_top_is_that_of_a_sort(values in prop::collection::vec(-4_i8..40, 1..300), room in 0..40_usize, rows in 1..4_usize) {
            let values: Vec<f32> = values.iter().map(|&value| if value < 0 { OUT } else { f32::from(value) }).collect();
            let mut top = Top::default();
            top.begin(room);
            let size = values.len().div_ceil(rows);
            values.chunks(size).enumerate().for_each(|(row, values)| top.show(values, row as f32, row * size));
            let mut all: Vec<Ranked> =
                values.iter().enumerate().map(|(at, value)| Ranked { value: value + (at / size) as f32, at }).collect();
            all.retain(|ranked| ranked.value > OUT);
            all.sort_by(Ranked::order);
            all.truncate(room);
            prop_assert_eq!(top.ranked(), all);
        }
    }
}

mod adjusting {
    use super::*;

    #[test]
    fn a_repeated_token_is_penalised_once() {
        let mut scores = [-2.0, 2.0, 1.0, 0.0];
        penalise_repeats(&mut scores, &[1, 0, 1, 0, 3, 900], 1.5, &mut Seen::default());
        assert_eq!(scores, [-3.0, 2.0 / 1.5, 1.0, 0.0]);
    }

    #[test]
    fn new_tokens_are_penalised_once_and_by_their_number() {
        let mut scores = [-2.0, 2.0, 1.0, 0.0];
        penalise_new(&mut scores, &[1, 0, 1, 1, 900], 0.5, 0.25, &mut Seen::default());
        // The score, less 0.5 if the token is there, less 0.25 for each time: OpenAI's formula.
        assert_eq!(scores, [-2.75, 0.75, 1.0, 0.0]);
        // A prompt's tokens are none of them; and a token that is repeated by the prompt alone stays.
        let options = DecodeOptions { presence_penalty: 1.0, frequency_penalty: -0.5, ..DecodeOptions::default() };
        let mut scores = [0.0; 4];
        adjust(&mut scores, &[1, 1, 2, 3, 3], 3, &options, &mut Seen::default());
        assert_eq!(scores, [0.0, 0.0, -0.5, 0.0]);
    }

    #[test]
    fn ngrams_that_were_there_are_forbidden() {
        let banned = |history: &[u32], n| {
            let mut scores = [0.0; 8];
            ban_repeated_ngrams(&mut scores, history, n);
            (0..8).filter(|&token| scores[token] == OUT).collect::<Vec<_>>()
        };
        assert_eq!(banned(&[1, 2, 3, 4, 1, 2], 3), [3]);
        assert_eq!(banned(&[1, 2, 3, 1, 2, 5, 1, 2], 3), [3, 5]);
        assert_eq!(banned(&[1, 2, 3, 1, 2], 1), [1, 2, 3]);
        assert_eq!(banned(&[7, 7], 2), [7]);
        // Too short to repeat anything.
        assert_eq!(banned(&[1], 3), [0_usize; 0]);
        assert_eq!(banned(&[1, 2], 3), [0_usize; 0]);
        assert_eq!(banned(&[1, 2, 3], usize::MAX), [0_usize; 0]);
        assert_eq!(banned(&[1, 1, 1], 0), [0_usize; 0]);
    }

    #[test]
    fn every_stop_token_waits_for_both_minima() {
        let stops = |history: usize, made: usize, options: &DecodeOptions| {
            let mut scores = [0.0; 4];
            adjust(&mut scores, &vec![3; history], made, options, &mut Seen::default());
            scores == [0.0, OUT, OUT, 0.0]
        };
        let options = DecodeOptions { stop_tokens: vec![1, 2], min_length: 8, ..DecodeOptions::default() };
        assert!(stops(7, 6, &options) && !stops(8, 7, &options), "the start token counts");
        let options = DecodeOptions { stop_tokens: vec![1, 2], min_new_tokens: 3, ..DecodeOptions::default() };
        assert!(stops(90, 2, &options) && !stops(90, 3, &options), "the prompt does not count");
    }
}

mod sampling {
    use super::*;

    #[test]
    fn the_nucleus_holds_the_token_with_which_it_is_full() {
        let logits = [0.15_f32, 0.5, 0.05, 0.3].map(f32::ln);
        let kept = |top_p| drawable(&logits, 1.0, 0, top_p).into_keys().collect::<Vec<_>>();
        assert_eq!(kept(0.6), [1, 3]);
        assert_eq!(kept(0.8), [1, 3]);
        assert_eq!(kept(0.85), [0, 1, 3]);
        assert_eq!(kept(0.0), [1]);
        assert_eq!(kept(1.0), [0, 1, 2, 3]);
        assert_eq!(drawable(&[1.0; 40], 1.0, 0, 0.0).into_keys().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn tokens_equal_to_the_last_of_the_top_stay() {
        let logits = [1.0, 2.0, 1.0, 0.0, 3.0, 1.0];
        assert_eq!(drawable(&logits, 1.0, 3, 1.0).into_keys().collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
        assert_eq!(drawable(&logits, 1.0, 600, 1.0).len(), 6);
        assert_eq!(drawable(&logits, 1.0, 1, 1.0).into_keys().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn the_coldest_draw_is_the_best_token() {
        assert_eq!(drawable(&[1.0, 2.0, 1.9], f32::MIN_POSITIVE, 0, 1.0).into_keys().collect::<Vec<_>>(), [1]);
        assert!(drawable(&[OUT, OUT], 1.0, 0, 0.5).is_empty());
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut counts = [0; 3];
        (0..100_000).for_each(|step| counts[draw(&[0.1, 0.2, 0.7], 7, step).unwrap() as usize] += 1);
        for (count, share) in counts.into_iter().zip([0.1, 0.2, 0.7]) {
            assert!((f64::from(count) / 100_000.0 - share).abs() < 0.006, "{counts:?}");
        }
        assert_eq!(draw(&[0.0; 5_000], 7, 0), None);
        let moved = (0..1_000).filter(|&seed| uniform(seed, 1) == uniform(seed + 1, 0)).count();
        assert_eq!(moved, 0, "a seed is no shifted copy of its neighbour");
    }

    #[test]
    fn draws_from_a_large_vocabulary_are_those_of_a_plain_walk() {
        let weights: Vec<f32> = (0..9_000).map(|token| ((token * 7919) % 1_000) as f32 / 1_000.0).collect();
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        for step in 0..500 {
            let wanted = uniform(3, step) * total;
            let mut above = 0.0;
            let reached = weights.iter().position(|&weight| {
                above += f64::from(weight);
                above > wanted
            });
            assert_eq!(draw(&weights, 3, step as usize).map(|token| token as usize), reached);
        }
    }

    proptest! {
        #[test]
        fn the_nucleus_is_that_of_a_sort(
            logits in prop::collection::vec(prop_oneof![-9.0_f32..9.0, (-3_i8..3).prop_map(f32::from)], 1..900),
            top_p in 0.0_f32..1.0,
        ) {
            let found: BTreeSet<u32> = drawable(&logits, 1.0, 0, top_p).into_keys().collect();
            let right = plain_nucleus(&logits, top_p);
            // A sum within rounding of `top_p` may fall on either side.
            prop_assert!(found == right || !is_clear(&logits, top_p));
        }
    }

    /// Whether no sum of probabilities lies within rounding of where the nucleus ends.
    fn is_clear(logits: &[f32], top_p: f32) -> bool {
        plain_nucleus(logits, top_p - 2e-6) == plain_nucleus(logits, top_p + 2e-6)
    }

    /// What could be drawn at each step of a sequence, by transformers.
    #[derive(Deserialize)]
    struct Sampled {
        source: Vec<u32>,
        prompt: Vec<u32>,
        toy: toy::Toy,
        options: DecodeOptions,
        drawn: Vec<u32>,
        /// Tokens and their probabilities.
        steps: Vec<(Vec<u32>, Vec<f64>)>,
    }

    #[derive(Deserialize)]
    struct Reference {
        vocabulary: usize,
        pad: u32,
        sampled: Vec<Sampled>,
    }

    #[test]
    fn the_same_tokens_can_be_drawn_as_in_transformers() {
        let reference: Reference = serde_json::from_str(include_str!("../../tests/decoding/reference.json")).unwrap();
        assert_eq!((reference.vocabulary, reference.pad), (toy::VOCABULARY, toy::PAD));
        for mut case in reference.sampled {
            case.toy.source.clone_from(&case.source);
            for (made, (tokens, probabilities)) in case.steps.iter().enumerate() {
                let history = [&case.prompt[..], &case.drawn[..made]].concat();
                let mut logits = case.toy.logits(&history);
                adjust(&mut logits, &history, made, &case.options, &mut Seen::default());
                let Search::Sample { temperature, top_k, top_p } = case.options.search else { panic!() };
                let found = drawable(&logits, temperature, top_k, top_p);
                assert!(found.keys().eq(tokens), "{found:?} instead of {tokens:?} by {:?}", case.options);
                // The file keeps five digits.
                let differs = found.values().zip(probabilities).any(|(found, right)| (found - right).abs() > 1e-5);
                assert!(!differs, "{found:?} instead of {probabilities:?}");
            }
        }
    }
}

mod drafts {
    use super::*;

    fn guessed(tokens: &[u32], source: &[u32], count: usize) -> Vec<u32> {
        let mut all = tokens.to_vec();
        guess(&mut all, source, count);
        assert!(all.starts_with(tokens));
        all.split_off(tokens.len())
    }

    #[test]
    fn guesses_are_what_followed_before() {
        assert_eq!(guessed(&[0, 5, 6], &[4, 5, 6, 7, 8, 9], 2), [7, 8]);
        assert_eq!(guessed(&[0, 5, 6], &[4, 5, 6, 7], 9), [7], "the source ends");
        assert_eq!(guessed(&[1, 2, 3, 9, 1, 2], &[], 3), [3, 9, 1]);
        assert_eq!(guessed(&[1, 2, 1, 3, 1], &[], 1), [3], "the latest place");
        assert_eq!(guessed(&[5, 1, 2], &[1, 7, 5, 1, 2, 8], 1), [8], "the longest run");
        assert_eq!(guessed(&[8, 8], &[], 4), [8]);
        assert_eq!(guessed(&[1, 2, 3], &[4, 5], 4), [0_u32; 0]);
        assert_eq!(guessed(&[4], &[3, 4], 4), [0_u32; 0]);
        assert_eq!(guessed(&[4], &[4, 5], 0), [0_u32; 0]);
    }
}
