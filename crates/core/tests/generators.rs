//! Whole texts, against transformers' `generate` on the committed tiny models.

use grice_core::generate::{Bounds, Courses, DecodeOptions, EarlyStopping, Event, Search, Start};
use grice_cpu::CpuGeneratorPlan;
use grice_model::GeneratorEngine;
use grice_testkit::generators::{GENERATORS, SearchCase, checkpoint, reference};
use std::collections::BTreeMap;
use std::sync::Arc;

fn options(case: &SearchCase, stop_tokens: &[u32]) -> DecodeOptions {
    let asked = &case.options;
    let search = match asked.num_beams {
        Some(width) => {
            Search::Beam { width, length_penalty: asked.length_penalty.unwrap_or(1.0), early: EarlyStopping::Heuristic }
        }
        None => Search::Greedy,
    };
    DecodeOptions {
        search,
        max_new_tokens: asked.max_new_tokens,
        min_length: asked.min_length.unwrap_or(0),
        repetition_penalty: asked.repetition_penalty.unwrap_or(1.0),
        no_repeat_ngram: asked.no_repeat_ngram_size.unwrap_or(0),
        stop_tokens: stop_tokens.to_vec(),
        ..DecodeOptions::default()
    }
}

/// All texts of a model at once, with prompts in pieces and guessed tokens, are what transformers makes of each alone.
#[test]
fn texts_are_those_of_transformers() {
    for name in GENERATORS {
        let checkpoint = checkpoint(name);
        let plan = CpuGeneratorPlan::new(checkpoint.generator).unwrap();
        let searches = reference(name).searches;
        for (pages, pass_tokens, draft) in [(400, 512, 0), (40, 16, 0), (400, 64, 5)] {
            let bounds = Bounds { pages, pass_tokens, longest: plan.longest(), longest_source: plan.longest_source() };
            let (mut courses, mut engine) = (Courses::new(bounds), plan.engine(2, pages).unwrap());
            let mut expected = BTreeMap::new();
            for case in &searches {
                let mut options = options(case, &checkpoint.defaults.end_tokens);
                if options.search == Search::Greedy {
                    options.draft = draft;
                }
                let source = case.source.as_ref().map(|source| source.as_slice().into());
                let start = Start { prompt: case.prompt.as_slice().into(), source, vocabulary: plan.vocabulary() };
                expected.insert(courses.add(Arc::new(options), start, None).unwrap(), case);
            }
            while let Some(work) = courses.next() {
                if !work.sources.is_empty() {
                    engine.read(&work.sources).unwrap();
                }
                courses.take(engine.step(&work.pass).unwrap(), |event| match event {
                    Event::Tokens(..) => {}
                    Event::Failed(_, error) => panic!("{name}: {error}"),
                    Event::Done(id, generated) => {
                        let case = expected.remove(&id).unwrap();
                        let what = format!("{name}, {} tokens, {:?}", case.prompt.len(), case.options.num_beams);
                        assert_eq!(generated[0].tokens, case.tokens, "{what}");
                    }
                });
            }
            assert!(expected.is_empty(), "{name}");
            assert_eq!((courses.counters().pages_used, courses.counters().pages_reserved), (0, 0));
        }
    }
}
