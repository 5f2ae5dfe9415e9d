//! An engine that keeps tokens in pages, and a text written without pages, passes or company.

use grice_core::generate::{DecodeOptions, Decoding, Generated, Progress, Search, Start, Work};
use proptest::prelude::*;
use std::sync::Arc;

pub(crate) const VOCABULARY: usize = 11;
const END: u32 = 0;
const PAGE_TOKENS: usize = 32;

/// Pages of tokens. Logits follow from all tokens that a sequence's pages hold, so a page that is lost, shared wrongly or overwritten shows.
pub(crate) struct Toy {
    pages: Vec<[u32; PAGE_TOKENS]>,
}

impl Toy {
    pub(crate) fn new(pages: usize) -> Toy {
        Toy { pages: vec![[u32::MAX; PAGE_TOKENS]; pages] }
    }

    fn tokens(&self, pages: &[u32], count: usize) -> Vec<u32> {
        (0..count).map(|at| self.pages[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS]).collect()
    }

    fn write(&mut self, pages: &[u32], at: usize, token: u32) {
        self.pages[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS] = token;
    }

    pub(crate) fn run(&mut self, work: &Work) -> Vec<f32> {
        for source in &work.sources {
            source.ids.iter().enumerate().for_each(|(at, &id)| self.write(&source.pages, at, id));
        }
        for &(from, to) in &work.pass.copies {
            self.pages[to as usize] = self.pages[from as usize];
        }
        let (mut logits, mut first) = (Vec::new(), 0);
        for past in &work.pass.pasts {
            for (at, &id) in work.pass.ids[first..first + past.tokens].iter().enumerate() {
                self.write(&past.pages, past.kept + at, id);
            }
            first += past.tokens;
        }
        for past in &work.pass.pasts {
            let source = past.source.as_ref().map_or_else(Vec::new, |source| self.tokens(&source.pages, source.tokens));
            for end in past.end() - past.asked + 1..=past.end() {
                logits.extend(row(&source, &self.tokens(&past.pages, end)));
            }
        }
        logits
    }
}

fn row(source: &[u32], tokens: &[u32]) -> impl Iterator<Item = f32> {
    let hash = |seed: u64, token: u32| (seed ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    let seed = source.iter().chain(&[77]).chain(tokens).fold(5, |seed, &token| hash(seed, token));
    (0..VOCABULARY as u32).map(move |token| (hash(seed, token) >> 40) as f32 / (1 << 21) as f32)
}

pub(crate) fn start(source: Option<&[u32]>, prompt: &[u32]) -> Start {
    Start { prompt: prompt.into(), source: source.map(Into::into), vocabulary: VOCABULARY }
}

/// What is written for these options by somebody who computes every row from all of its tokens.
pub(crate) fn alone(options: &DecodeOptions, start: &Start) -> Vec<Generated> {
    let mut decoding = Decoding::new(Arc::new(options.clone()), start.clone()).unwrap();
    let source = start.source.as_deref().unwrap_or_default();
    let mut lines: Vec<Vec<u32>> = Vec::new();
    loop {
        let (mut next, mut logits) = (Vec::new(), Vec::new());
        for want in decoding.wants() {
            let mut tokens = lines.get(want.parent).map_or_else(Vec::new, |line: &Vec<u32>| line[..want.kept].to_vec());
            tokens.extend_from_slice(want.tokens);
            let ends = tokens.len() - want.asked() + 1..=tokens.len();
            ends.for_each(|end| logits.extend(row(source, &tokens[..end])));
            next.push(tokens);
        }
        lines = next;
        if let Progress::Done(texts) = decoding.advance(&mut logits).unwrap() {
            return texts;
        }
    }
}

fn search() -> impl Strategy<Value = Search> {
    prop_oneof![
        Just(Search::Greedy),
        Just(Search::Sample { temperature: 0.8, top_k: 0, top_p: 0.9 }),
        (2..6usize).prop_map(|width| Search::Beam { width, length_penalty: 1.0, early: Default::default() }),
    ]
}

prop_compose! {
    pub(crate) fn course()(search in search(), seed in 0..9u64, new in 1..50usize, draft in 0..4usize,
                prompt in prop::collection::vec(1..VOCABULARY as u32, 1..90),
                source in prop::option::of(prop::collection::vec(1..VOCABULARY as u32, 1..70))) -> (DecodeOptions, Start) {
        let draft = if matches!(search, Search::Beam { .. }) { 0 } else { draft };
        let options = DecodeOptions {
            search, seed: Some(seed), max_new_tokens: new, draft, stop_tokens: vec![END], repetition_penalty: 1.2, ..Default::default()
        };
        (options, start(source.as_deref(), &prompt))
    }
}
