//! Courses over a toy engine that keeps tokens in pages: what runs together, who pays memory, and that nothing of it changes the text.

use grice_core::generate::{Bounds, CourseId, Courses, DecodeOptions, Event, Generated, Refused, Search, Start, Work};
use grice_model::{PAGE_TOKENS, Page, pages_of};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const VOCABULARY: usize = 11;
const END: u32 = 0;

/// Pages of tokens. Logits follow from all tokens that a sequence's pages hold, so a page that is lost, shared wrongly or overwritten shows.
struct Toy {
    pages: Vec<[u32; PAGE_TOKENS]>,
}

impl Toy {
    fn new(pages: usize) -> Toy {
        Toy { pages: vec![[u32::MAX; PAGE_TOKENS]; pages] }
    }

    fn tokens(&self, pages: &[Page], count: usize) -> Vec<u32> {
        (0..count).map(|at| self.pages[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS]).collect()
    }

    fn write(&mut self, pages: &[Page], at: usize, token: u32) {
        self.pages[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS] = token;
    }

    fn run(&mut self, work: &Work) -> Vec<f32> {
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

fn start(source: Option<&[u32]>, prompt: &[u32]) -> Start {
    Start { prompt: prompt.into(), source: source.map(Into::into), vocabulary: VOCABULARY }
}

fn bounds(pages: usize) -> Bounds {
    Bounds { pages, pass_tokens: 40, longest: None, longest_source: None }
}

/// One course at a time, in an engine of its own.
fn alone(options: &DecodeOptions, start: &Start) -> Vec<Generated> {
    let mut courses = Courses::new(Bounds { pass_tokens: usize::MAX, ..bounds(500) });
    courses.add(Arc::new(options.clone()), start.clone(), None).unwrap();
    let (mut toy, mut done) = (Toy::new(500), Vec::new());
    while let Some(work) = courses.next() {
        courses.take(&mut toy.run(&work), |event| match event {
            Event::Done(_, generated) => done = generated,
            Event::Tokens(..) => {}
            Event::Failed(_, error) => panic!("{error}"),
        });
    }
    assert_eq!((courses.pool().used(), courses.pool().reserved()), (0, 0));
    done
}

fn search() -> impl Strategy<Value = Search> {
    prop_oneof![
        Just(Search::Greedy),
        Just(Search::Sample { temperature: 0.8, top_k: 0, top_p: 0.9 }),
        (2..6usize).prop_map(|width| Search::Beam { width, length_penalty: 1.0, early: Default::default() }),
    ]
}

prop_compose! {
    fn course()(search in search(), seed in 0..9u64, new in 1..50usize, draft in 0..4usize,
                prompt in prop::collection::vec(1..VOCABULARY as u32, 1..90),
                source in prop::option::of(prop::collection::vec(1..VOCABULARY as u32, 1..70))) -> (DecodeOptions, Start) {
        let draft = if matches!(search, Search::Beam { .. }) { 0 } else { draft };
        let options = DecodeOptions {
            search, seed: Some(seed), max_new_tokens: new, draft, stop_tokens: vec![END], repetition_penalty: 1.2, ..Default::default()
        };
        (options, start(source.as_deref(), &prompt))
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Join(DecodeOptions, Start),
    Pass,
    Cancel(prop::sample::Index),
    Lose,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => course().prop_map(|(options, start)| Happening::Join(options, start)),
        12 => Just(Happening::Pass),
        1 => any::<prop::sample::Index>().prop_map(Happening::Cancel),
        1 => Just(Happening::Lose),
    ]
}

/// What courses led to, and what they should have led to.
struct Watched {
    courses: Courses,
    toy: Toy,
    open: BTreeMap<CourseId, (DecodeOptions, Start, Vec<u32>)>,
}

impl Watched {
    fn pass(&mut self) -> bool {
        let Some(work) = self.courses.next() else { return false };
        let mut logits = self.toy.run(&work);
        let open = &mut self.open;
        self.courses.take(&mut logits, |event| match event {
            Event::Tokens(id, tokens) => open.get_mut(&id).unwrap().2.extend_from_slice(tokens),
            Event::Done(id, generated) => {
                let (options, start, streamed) = open.remove(&id).unwrap();
                assert_eq!(generated, alone(&options, &start), "{options:?}");
                assert_eq!(streamed, generated[0].tokens, "{options:?}");
            }
            Event::Failed(_, error) => panic!("{error}"),
        });
        assert!(self.courses.pool().used() <= self.courses.pool().reserved());
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Courses join, leave and lose the engine at any time: each text is the one that it has alone, each token comes once, and all
    /// memory comes back.
    #[test]
    fn texts_do_not_depend_on_company(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut watched = Watched { courses: Courses::new(bounds(60)), toy: Toy::new(60), open: BTreeMap::new() };
        for happening in happenings {
            match happening {
                Happening::Join(options, start) => match watched.courses.add(Arc::new(options.clone()), start.clone(), None) {
                    Ok(id) => drop(watched.open.insert(id, (options, start, Vec::new()))),
                    Err(error) => prop_assert!(matches!(error, Refused::Large { .. }), "{}", error),
                },
                Happening::Pass => drop(watched.pass()),
                Happening::Cancel(index) => {
                    let ids: Vec<CourseId> = watched.open.keys().copied().collect();
                    if !ids.is_empty() {
                        let id = ids[index.index(ids.len())];
                        watched.courses.cancel(id);
                        watched.open.remove(&id);
                    }
                }
                Happening::Lose => {
                    watched.toy = Toy::new(60);
                    watched.courses.refill();
                }
            }
        }
        while watched.pass() {}
        prop_assert!(watched.open.is_empty() && watched.courses.is_empty());
        prop_assert_eq!((watched.courses.pool().used(), watched.courses.pool().reserved()), (0, 0));
    }
}

/// Long prompts do not hold up texts that have begun: each pass takes those one token further.
#[test]
fn prompts_do_not_starve_texts() {
    let mut courses = Courses::new(bounds(400));
    let mut toy = Toy::new(400);
    let options = |new| Arc::new(DecodeOptions { max_new_tokens: new, ..Default::default() });
    let text = courses.add(options(60), start(None, &[3, 4]), None).unwrap();
    let (mut made, mut prompts_done) = (0, 0);
    for pass in 0..60 {
        if pass % 4 == 1 {
            courses.add(options(1), start(None, &[5; 100]), None).unwrap();
        }
        let work = courses.next().unwrap();
        assert!(work.pass.ids.len() <= 40, "a pass of {} tokens", work.pass.ids.len());
        courses.take(&mut toy.run(&work), |event| match event {
            Event::Tokens(id, tokens) if id == text => made += tokens.len(),
            Event::Done(id, _) => prompts_done += usize::from(id != text),
            _ => {}
        });
    }
    assert_eq!(made, 60);
    assert!(prompts_done >= 12, "{prompts_done} prompts");
}

#[test]
fn what_never_fits_is_refused() {
    let mut courses = Courses::new(Bounds { longest: Some(100), longest_source: Some(50), ..bounds(6) });
    let options = |new| Arc::new(DecodeOptions { max_new_tokens: new, ..Default::default() });
    let long = courses.add(options(30), start(None, &[1; 71]), None).unwrap_err();
    let text = "the prompt of 71 tokens and `max_new_tokens` of 30 are more than the 100 tokens of the model";
    assert_eq!(long.to_string(), text);
    let source = courses.add(options(1), start(Some(&[1; 51]), &[1]), None).unwrap_err();
    assert!(source.to_string().contains("51 tokens is longer than the 50 tokens"), "{source}");
    let beams = DecodeOptions {
        search: Search::Beam { width: 4, length_penalty: 1.0, early: Default::default() },
        max_new_tokens: 40,
        ..Default::default()
    };
    let large = courses.add(Arc::new(beams), start(None, &[1; 20]), None).unwrap_err();
    assert_eq!(large, Refused::Large { needed: 4 * pages_of(60), pages: 6 });
    assert!(courses.is_empty());
}
