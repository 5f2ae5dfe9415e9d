//! A plain beam search, and strategies of options for it and for single sequences.

use crate::toy::{Toy, VOCABULARY};
use grice_core::generate::{DecodeOptions, EarlyStopping, Search};
use proptest::prelude::*;

/// A sequence without its prompt, and its score.
pub(crate) type Scored = (Vec<u32>, f64);

/// Beam search without a thought of speed: everything is sorted, in double precision.
pub(crate) fn search(toy: &Toy, prompt: &[u32], options: &DecodeOptions) -> Vec<Scored> {
    let Search::Beam { width, length_penalty, early } = options.search else { panic!() };
    let divide = |sum: f64, tokens: usize| sum / (tokens as f64).powf(f64::from(length_penalty));
    let (mut open, mut ended): (Vec<Scored>, Vec<Scored>) = (vec![(Vec::new(), 0.0)], Vec::new());
    for made in 1.. {
        let mut all: Vec<Scored> = open.iter().flat_map(|line| continuations(toy, prompt, line, options)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(width * (options.stop_tokens.len().max(1) + 1));
        let ends = |tokens: &[u32]| made == options.max_new_tokens || options.stop_tokens.contains(&tokens[made - 1]);
        let top = all.iter().take(width).filter(|(tokens, _)| ends(tokens));
        ended.extend(top.map(|(tokens, sum)| (tokens.clone(), divide(*sum, made))));
        ended.sort_by(|a, b| b.1.total_cmp(&a.1));
        ended.truncate(width);
        open = all.into_iter().filter(|(tokens, _)| !ends(tokens)).take(width).collect();
        let Some((_, best)) = open.first() else { break };
        let hope = match early {
            EarlyStopping::Never if length_penalty > 0.0 => divide(*best, options.max_new_tokens),
            _ => divide(*best, made),
        };
        if ended.len() == width && (early == EarlyStopping::AtWidth || hope <= ended[width - 1].1) {
            break;
        }
    }
    ended.truncate(options.returns);
    ended
}

/// A line with each token that may follow.
fn continuations(toy: &Toy, prompt: &[u32], line: &Scored, options: &DecodeOptions) -> Vec<Scored> {
    let history = [prompt, &line.0].concat();
    let logits = toy.logits(&history);
    let log = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
    let follow = |token: u32| [&line.0[..], &[token]].concat();
    let mut scored = Vec::new();
    for token in 0..VOCABULARY as u32 {
        if is_allowed(&history, line.0.len(), token, options) {
            let score = f64::from(logits[token as usize]) - log;
            let penalty = if history.contains(&token) { f64::from(options.repetition_penalty) } else { 1.0 };
            scored.push((follow(token), line.1 + score * penalty));
        }
    }
    scored
}

fn is_allowed(history: &[u32], made: usize, token: u32, options: &DecodeOptions) -> bool {
    let is_early = history.len() < options.min_length || made < options.min_new_tokens;
    let sequence = [history, &[token]].concat();
    let n = options.no_repeat_ngram;
    let is_repeated = n > 0 && sequence.len() > n && {
        let last = &sequence[sequence.len() - n..];
        history.windows(n).any(|window| window == last)
    };
    !(is_repeated || options.banned.contains(&token) || is_early && options.stop_tokens.contains(&token))
}

/// A toy, its prompt, and options without a search.
pub(crate) fn cases() -> impl Strategy<Value = (Toy, Vec<u32>, DecodeOptions)> {
    let tokens = |count| prop::collection::vec(2..VOCABULARY as u32, count);
    let toys = (any::<u64>(), 1..3_usize, any::<bool>(), tokens(0..8), prop_oneof![Just(0.0_f32), Just(5.0)]);
    let lengths = (1..24_usize, 0..20_usize, 0..10_usize);
    let kinds = (prop_oneof![Just(1.0_f32), Just(1.5), Just(0.8)], 0..4_usize, tokens(0..4), tokens(0..4));
    (toys, tokens(1..8), lengths, kinds).prop_map(|(toy, prompt, lengths, kinds)| {
        let (max_new_tokens, min_length, min_new_tokens) = lengths;
        let (repetition_penalty, no_repeat_ngram, stop_tokens, banned) = kinds;
        let (seed, order, counts, source, stop_bias) = toy;
        let toy = Toy { seed, order, counts, source, stop_bias, stop_tokens: stop_tokens.clone() };
        let options = DecodeOptions {
            max_new_tokens,
            min_length: min_length.min(prompt.len() + max_new_tokens),
            min_new_tokens: min_new_tokens.min(max_new_tokens),
            repetition_penalty,
            no_repeat_ngram,
            stop_tokens,
            banned,
            ..DecodeOptions::default()
        };
        (toy, prompt, options)
    })
}

/// Beams of every kind.
pub(crate) fn beams() -> impl Strategy<Value = (Search, usize)> {
    let early = prop_oneof![Just(EarlyStopping::AtWidth), Just(EarlyStopping::Heuristic), Just(EarlyStopping::Never)];
    let penalty = prop_oneof![Just(-1.0_f32), Just(0.0), Just(1.0), Just(2.0)];
    (2..9_usize, penalty, early, 1..9_usize).prop_map(|(width, length_penalty, early, returns)| {
        (Search::Beam { width, length_penalty, early }, returns.min(width))
    })
}

/// Greedy search, and draws of every kind.
pub(crate) fn singles() -> impl Strategy<Value = Search> {
    let draws = (0.1_f32..3.0, prop_oneof![Just(0_usize), 1..20_usize], prop_oneof![Just(1.0_f32), 0.0_f32..1.0]);
    let draws = draws.prop_map(|(temperature, top_k, top_p)| Search::Sample { temperature, top_k, top_p });
    prop_oneof![Just(Search::Greedy), draws]
}
