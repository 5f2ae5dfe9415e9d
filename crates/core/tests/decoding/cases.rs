//! Single cases: what other runtimes got wrong, and what is refused.

use crate::engine::{Engine, begin, generate, start};
use crate::toy::{Toy, VOCABULARY};
use grice_core::generate::{DecodeError, DecodeOptions, Decoding, EarlyStopping, Finish, Progress, Search, WIDTH_MAX};
use grice_core::text::Speller;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

const DRAWN: Search = Search::Sample { temperature: 1.0, top_k: 0, top_p: 1.0 };
const BEAM: Search = Search::Beam { width: 3, length_penalty: 0.0, early: EarlyStopping::Heuristic };

fn toy() -> Toy {
    Toy { seed: 5, order: 1, counts: false, stop_tokens: vec![3], stop_bias: 2.0, source: Vec::new() }
}

/// Each token as a letter or a digit.
fn speller() -> Speller {
    Speller::new(|ids| ids.iter().map(|&id| char::from_digit(id % 36, 36).unwrap_or('?')).collect())
}

/// A model that answers the same logits whatever it is told.
fn advance_with(decoding: &mut Decoding, logits: &[f32]) -> Result<Progress, DecodeError> {
    let rows: usize = decoding.wants().map(|want| want.asked()).sum();
    decoding.advance(&mut logits.repeat(rows))
}

/// Logits that favour one token.
fn favour(token: usize) -> Vec<f32> {
    (0..VOCABULARY).map(|other| if other == token { 9.0 } else { 0.0 }).collect()
}

#[test]
fn a_word_said_again_and_again_is_drafted_to_the_limit() {
    let options = DecodeOptions { max_new_tokens: 48, draft: 5, ..DecodeOptions::default() };
    let mut decoding = begin(&toy(), &[7, 7, 7], &options);
    let mut runs = 1;
    while advance_with(&mut decoding, &favour(7)) == Ok(Progress::More) {
        runs += 1;
    }
    assert_eq!(decoding.new_tokens(), [7; 48]);
    assert!(runs < 30, "{runs} runs");
}

#[test]
fn a_stop_token_in_a_draft_ends_the_sequence_there() {
    let options = DecodeOptions { draft: 5, stop_tokens: vec![3], ..DecodeOptions::default() };
    let mut decoding = begin(&toy(), &[4, 3, 5, 6], &options);
    assert_eq!(decoding.wants().map(|want| want.asked()).collect::<Vec<_>>(), [1]);
    assert_eq!(advance_with(&mut decoding, &favour(4)), Ok(Progress::More));
    let mut logits: Vec<f32> = Vec::new();
    let asked = decoding.wants().next().unwrap().asked();
    assert!(asked > 2);
    (0..asked).for_each(|_| logits.extend(favour(3)));
    assert!(matches!(decoding.advance(&mut logits), Ok(Progress::Done(_))));
    assert_eq!(decoding.new_tokens(), [4, 3]);
    assert_eq!(decoding.generated()[0].reason, Finish::StopToken);
}

#[test]
fn drafts_stay_within_the_limit() {
    let options = DecodeOptions { max_new_tokens: 2, draft: 5, ..DecodeOptions::default() };
    let mut decoding = begin(&toy(), &[7, 7, 7], &options);
    assert_eq!(advance_with(&mut decoding, &favour(7)), Ok(Progress::More));
    assert_eq!(decoding.wants().next().unwrap().tokens, [7], "only one token is left, and it needs no guess");
    assert!(matches!(advance_with(&mut decoding, &favour(7)), Ok(Progress::Done(_))));
    assert_eq!(decoding.new_tokens(), [7, 7]);
}

#[test]
fn a_refused_guess_is_dropped() {
    let options = DecodeOptions { draft: 3, ..DecodeOptions::default() };
    let mut decoding = begin(&toy(), &[4, 5, 6, 9, 4], &options);
    advance_with(&mut decoding, &favour(5)).unwrap();
    let want = decoding.wants().next().unwrap();
    assert_eq!((want.tokens, want.kept), (&[5, 6, 9, 4][..], 5));
    let mut logits = [favour(6), favour(20), favour(21), favour(22)].concat();
    decoding.advance(&mut logits).unwrap();
    let want = decoding.wants().next().unwrap();
    assert_eq!((want.tokens[0], want.kept), (20, 7));
    assert_eq!(decoding.new_tokens(), [5, 6, 20]);
}

#[test]
fn no_temperature_is_greedy() {
    let cold = Search::Sample { temperature: 0.0, top_k: 3, top_p: 0.5 };
    let sequence = |search| generate(&toy(), &[9, 4], &DecodeOptions { search, ..DecodeOptions::default() });
    assert_eq!(sequence(cold), sequence(Search::Greedy));
    let narrow = Search::Beam { width: 1, length_penalty: 2.0, early: EarlyStopping::Never };
    assert_eq!(sequence(narrow), sequence(Search::Greedy));
}

#[test]
fn a_seed_tells_all_draws() {
    let sequence = |seed| {
        let options = DecodeOptions { search: DRAWN, max_new_tokens: 12, ..DecodeOptions::default() };
        generate(&toy(), &[9], &options.seeded(seed))
    };
    assert_eq!(sequence(1), sequence(1));
    let others = (2..30).filter(|&seed| sequence(seed) != sequence(1)).count();
    assert!(others > 25, "{others}");
}

#[test]
fn a_stop_string_ends_a_sequence_whichever_way_it_is_searched() {
    let toy = Toy { stop_tokens: Vec::new(), ..toy() };
    for (search, draft, stop) in
        [(Search::Greedy, 0, 2..4), (Search::Greedy, 4, 2..4), (BEAM, 0, 0..1), (DRAWN, 3, 2..4)]
    {
        let plain = DecodeOptions { search, draft, ..DecodeOptions::default() }.seeded(3);
        let text = speller().text(&generate(&toy, &[9], &plain)[0].tokens);
        let returns = plain.width();
        let options = DecodeOptions { stop_strings: vec![text[stop.clone()].to_owned()], returns, ..plain };
        let begun = Decoding::with_text(Arc::new(options), start(&toy, &[9]), speller());
        let found = Engine::default().finish(&toy, &mut begun.unwrap());
        assert!(found.iter().any(|sequence| sequence.reason == Finish::StopString));
        for sequence in found.iter().filter(|sequence| sequence.reason == Finish::StopString) {
            assert!(speller().text(&sequence.tokens).ends_with(&text[stop.clone()]));
        }
    }
}

#[test]
fn a_sequence_resumes_in_the_middle_of_a_stop_string() {
    let options = Arc::new(DecodeOptions { stop_strings: vec!["789".to_owned()], ..DecodeOptions::default() });
    let mut decoding = Decoding::resume(options, start(&toy(), &[4]), &[7, 8], Some(speller())).unwrap();
    assert_eq!(decoding.wants().next().unwrap().tokens, [4, 7, 8]);
    assert!(matches!(advance_with(&mut decoding, &favour(9)), Ok(Progress::Done(_))));
    assert_eq!(decoding.generated()[0].reason, Finish::StopString);
    assert!(decoding.is_finished() && decoding.wants().next().is_none());
}

#[test]
fn broken_logits_are_errors() {
    for search in [Search::Greedy, DRAWN, BEAM] {
        let options = DecodeOptions { search, ..DecodeOptions::default() }.seeded(1);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut logits = favour(2);
            logits[17] = broken;
            let error = advance_with(&mut begin(&toy(), &[4], &options), &logits).unwrap_err();
            assert_eq!(error, DecodeError::NotFinite { row: 0, token: 17 });
            assert_eq!(
                error.to_string(),
                "the model answered a logit that is not a finite number, at token 17 of row 0"
            );
        }
        let error = begin(&toy(), &[4], &options).advance(&mut [0.0; 7]).unwrap_err();
        assert_eq!(error, DecodeError::Shape { expected: VOCABULARY, found: 7 });
        let banned = DecodeOptions { banned: (0..VOCABULARY as u32).collect(), ..options };
        let error = advance_with(&mut begin(&toy(), &[4], &banned), &favour(2)).unwrap_err();
        assert_eq!(error, DecodeError::NothingAllowed);
    }
}

#[test]
fn a_step_after_the_end_is_an_error() {
    let mut decoding = begin(&toy(), &[4], &DecodeOptions { max_new_tokens: 1, ..DecodeOptions::default() });
    assert!(matches!(advance_with(&mut decoding, &favour(4)), Ok(Progress::Done(_))));
    assert_eq!(decoding.advance(&mut favour(4)), Err(DecodeError::Finished));
}

#[test]
fn tokens_beyond_the_vocabulary_do_no_harm() {
    let options = DecodeOptions {
        repetition_penalty: 1.5,
        no_repeat_ngram: 1,
        banned: vec![u32::MAX],
        stop_tokens: vec![u32::MAX - 1],
        min_new_tokens: 4,
        draft: 1024,
        log_probabilities: Some(usize::MAX),
        ..DecodeOptions::default()
    };
    let mut decoding = begin(&toy(), &[u32::MAX, 4, 900], &options);
    assert_eq!(advance_with(&mut decoding, &favour(4)), Ok(Progress::More));
    assert_eq!(decoding.log_probabilities()[0].alternatives.len(), VOCABULARY);
}

#[test]
fn options_that_break_a_rule_are_named() {
    let base = DecodeOptions::default;
    let sample = |temperature, top_p| Search::Sample { temperature, top_k: 0, top_p };
    let beam = |width, length_penalty| Search::Beam { width, length_penalty, early: EarlyStopping::AtWidth };
    let searches = [
        (sample(f32::NAN, 1.0), "temperature"),
        (sample(f32::INFINITY, 1.0), "temperature"),
        (sample(-0.5, 1.0), "temperature"),
        (sample(1.0, 1.1), "top_p"),
        (sample(1.0, -0.1), "top_p"),
        (sample(1.0, f32::NAN), "top_p"),
        (beam(0, 1.0), "width"),
        (beam(WIDTH_MAX + 1, 1.0), "width"),
        (beam(2, f32::NAN), "length_penalty"),
        (beam(2, f32::NEG_INFINITY), "length_penalty"),
    ];
    let searches = searches.map(|(search, field)| (DecodeOptions { search, ..base() }, field));
    let others = [
        (DecodeOptions { max_new_tokens: 0, ..base() }, "max_new_tokens"),
        (DecodeOptions { draft: 1025, ..base() }, "draft"),
        (DecodeOptions { min_new_tokens: 21, ..base() }, "min_new_tokens"),
        (DecodeOptions { repetition_penalty: 0.0, ..base() }, "repetition_penalty"),
        (DecodeOptions { repetition_penalty: f32::NAN, ..base() }, "repetition_penalty"),
        (DecodeOptions { repetition_penalty: f32::INFINITY, ..base() }, "repetition_penalty"),
        (DecodeOptions { stop_strings: vec![String::new()], ..base() }, "stop_strings"),
        (DecodeOptions { draft: 2, search: beam(2, 1.0), ..base() }, "draft"),
        (DecodeOptions { returns: 0, ..base() }, "returns"),
        (DecodeOptions { returns: 2, ..base() }, "returns"),
        (DecodeOptions { returns: 3, search: beam(2, 1.0), ..base() }, "returns"),
    ];
    for (options, field) in searches.into_iter().chain(others) {
        let error = options.check().unwrap_err();
        assert_eq!(error.field, field);
        assert_eq!(Decoding::new(Arc::new(options), start(&toy(), &[4])).unwrap_err(), error);
        assert!(error.to_string().starts_with(&format!("`{field}` is ")), "{error}");
    }
}

#[test]
fn starts_that_break_a_rule_are_named() {
    let field = |options: DecodeOptions, prompt: &[u32], tokens: &[u32]| {
        Decoding::resume(Arc::new(options), start(&toy(), prompt), tokens, None).unwrap_err().field
    };
    let base = DecodeOptions::default;
    assert_eq!(field(base(), &[], &[]), "prompt");
    assert_eq!(field(DecodeOptions { stop_strings: vec!["a".to_owned()], ..base() }, &[4], &[]), "stop_strings");
    assert_eq!(field(DecodeOptions { search: DRAWN, ..base() }, &[4], &[]), "seed");
    assert_eq!(field(DecodeOptions { min_length: 30, ..base() }, &[4], &[]), "min_length");
    assert_eq!(field(base(), &[4], &[5; 21]), "tokens");
    assert_eq!(field(DecodeOptions { search: BEAM, ..base() }, &[4], &[5]), "tokens");
}

#[test]
fn every_option_counts_in_the_hash() {
    let hash = |options: &DecodeOptions| {
        let mut hasher = DefaultHasher::new();
        options.hash(&mut hasher);
        hasher.finish()
    };
    let base = DecodeOptions::default;
    let beam = |early| DecodeOptions { search: Search::Beam { width: 2, length_penalty: 1.0, early }, ..base() };
    let others = [
        base(),
        DecodeOptions { search: DRAWN, ..base() },
        DecodeOptions { search: Search::Sample { temperature: 1.0, top_k: 1, top_p: 1.0 }, ..base() },
        DecodeOptions { search: Search::Sample { temperature: 1.0, top_k: 0, top_p: 0.5 }, ..base() },
        beam(EarlyStopping::AtWidth),
        beam(EarlyStopping::Never),
        DecodeOptions { max_new_tokens: 1, ..base() },
        DecodeOptions { min_length: 1, ..base() },
        DecodeOptions { min_new_tokens: 1, ..base() },
        DecodeOptions { repetition_penalty: 1.5, ..base() },
        DecodeOptions { no_repeat_ngram: 1, ..base() },
        DecodeOptions { stop_tokens: vec![1], ..base() },
        DecodeOptions { stop_strings: vec!["1".to_owned()], ..base() },
        DecodeOptions { banned: vec![1], ..base() },
        DecodeOptions { seed: Some(1), ..base() },
        DecodeOptions { log_probabilities: Some(1), ..base() },
        DecodeOptions { draft: 1, ..base() },
        DecodeOptions { returns: 2, ..base() },
    ];
    let hashes: std::collections::BTreeSet<u64> = others.iter().map(hash).collect();
    assert_eq!(hashes.len(), others.len());
    assert_eq!(
        hash(&DecodeOptions { repetition_penalty: -0.0, ..base() }),
        hash(&DecodeOptions { repetition_penalty: 0.0, ..base() })
    );
}
