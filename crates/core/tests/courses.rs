//! Courses over a toy engine that keeps tokens in pages: what runs together, who pays memory, and that nothing of it changes the text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "schedule/toy.rs"]
mod toy;

use grice_core::generate::{Bounds, CourseId, Courses, DecodeOptions, Event, Refused, Search, Start};
use grice_model::pages_of;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use toy::{Toy, alone, course, start};

fn bounds(pages: usize) -> Bounds {
    Bounds { pages, pass_tokens: 40, longest: None, longest_source: None }
}

#[derive(Clone, Debug)]
enum Happening {
    Join(Box<(DecodeOptions, Start)>),
    Pass,
    Cancel(prop::sample::Index),
    Lose,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => course().prop_map(|course| Happening::Join(Box::new(course))),
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
        assert!(self.courses.counters().pages_used <= self.courses.counters().pages_reserved);
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
                Happening::Join(course) => {
                    let (options, start) = *course;
                    match watched.courses.add(Arc::new(options.clone()), start.clone(), None) {
                        Ok(id) => drop(watched.open.insert(id, (options, start, Vec::new()))),
                        Err(error) => prop_assert!(matches!(error, Refused::Large { .. }), "{}", error),
                    }
                }
                Happening::Pass => _ = watched.pass(),
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
        prop_assert_eq!((watched.courses.counters().pages_used, watched.courses.counters().pages_reserved), (0, 0));
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
