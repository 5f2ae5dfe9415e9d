//! Repairs, answers and texts a step at a time, against the same models run to their end.
#![allow(clippy::unwrap_used, clippy::panic)]

use grice_core::generate::Event;
use grice_core::session::Refusal;
use grice_core::task::Pipeline;
use grice_core::{
    Ask, Bundle, Detector, Error, JobId, Memory, News, Options, PipelineRunner, Repair, Told, Turn, Workshop,
    WorkshopOptions, Writer,
};
use grice_testkit::fixtures::fixtures_folder;
use grice_testkit::generators::{copy_with_recipes, recipes};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A model with recipes, as a folder and as a `.tar`.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn new(name: &str) -> Tiny {
        let folder = tempfile::tempdir().unwrap();
        copy_with_recipes(name, folder.path(), &recipes());
        Tiny(folder)
    }

    fn workshop(&self) -> Workshop {
        self.workshop_with(WorkshopOptions::default())
    }

    fn workshop_with(&self, options: WorkshopOptions) -> Workshop {
        let mut workshop = Workshop::new(options);
        workshop.load_detector(tar_of(&fixtures_folder().join("tiny-bert"), "")).unwrap();
        workshop.load_writer(tar_of(self.0.path(), "")).unwrap();
        workshop
    }

    fn runner(&self) -> PipelineRunner {
        let detector = Bundle::open(fixtures_folder().join("tiny-bert")).unwrap();
        let detector = Detector::load(&detector, &Options::default()).unwrap();
        let writer = Writer::open(self.0.path(), None).unwrap();
        PipelineRunner::new(detector, writer, 1, Memory::Tokens(8000), || Duration::ZERO).unwrap()
    }
}

/// The files of a folder, in `top` inside the archive.
fn tar_of(folder: &Path, top: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(if top.is_empty() { "." } else { top }, folder).unwrap();
    builder.into_inner().unwrap()
}

fn ask(json: Value) -> Ask {
    serde_json::from_value(json).unwrap()
}

fn repair(place: usize) -> (Turn, Ask) {
    let turn = Turn::new(format!("w{} w21", 20 + place), format!("w{} w{} w31", 30 + place, 40 + place));
    let json =
        json!({ "repair": { "turn": { "context": format!("w{} w21", 20 + place), "response": turn.response } } });
    (turn, ask(json))
}

/// A repair of all maxims, one after the other.
fn named(place: usize) -> Ask {
    let turn = json!({ "context": "w20 w21", "response": format!("w{} w31 w32", 30 + place) });
    ask(json!({ "repair": { "turn": turn, "violations": ["quantity", "quality", "manner"], "rounds": 6 } }))
}

/// Runs everything that is left. What was told, by job.
fn run(workshop: &mut Workshop) -> BTreeMap<JobId, Vec<News>> {
    let mut all: BTreeMap<JobId, Vec<News>> = BTreeMap::new();
    loop {
        let ran = workshop.step(&|| Duration::ZERO).unwrap();
        for Told { job, news } in workshop.told() {
            all.entry(job).or_default().push(news);
        }
        if !ran {
            return all;
        }
    }
}

fn end_of(news: &[News]) -> &Repair {
    match news.last() {
        Some(News::Repaired(repair)) => repair,
        other => panic!("no end: {other:?}"),
    }
}

/// The texts of all drafts, from their pieces.
fn drafts(news: &[News]) -> Vec<String> {
    let mut drafts = Vec::new();
    for each in news {
        match each {
            News::Draft(_) => drafts.push(String::new()),
            News::Piece(piece) => drafts.last_mut().unwrap().push_str(piece),
            _ => {}
        }
    }
    drafts
}

#[test]
fn pipelines_side_by_side_are_those_of_the_runner() {
    for name in ["llama", "t5", "gpt2"] {
        let tiny = Tiny::new(name);
        let (mut workshop, mut runner) = (tiny.workshop(), tiny.runner());
        let skills = runner.skills();
        let (mut jobs, mut pieces) = (Vec::new(), 0);
        for place in 0..12 {
            let (turn, repair) = repair(place);
            jobs.push((
                workshop.push(repair, Duration::ZERO).unwrap(),
                Pipeline::repair(turn.clone(), None, skills, 3),
            ));
            let answer = ask(json!({ "answer": { "context": format!("w{} w21", 20 + place), "rounds": 2 } }));
            jobs.push((workshop.push(answer, Duration::ZERO).unwrap(), Pipeline::answer(turn, skills, 2)));
        }
        let told = run(&mut workshop);
        for (id, pipeline) in jobs {
            let (news, expected) = (&told[&id], Repair::from(runner.run(pipeline).unwrap()));
            let found = end_of(news);
            assert_eq!((&found.repaired, found.is_fallback), (&expected.repaired, expected.is_fallback), "{name}");
            let texts = |repair: &Repair| repair.trace.iter().map(|step| step.text.clone()).collect::<Vec<_>>();
            assert_eq!(texts(found), texts(&expected), "{name}");
            // Every step was told when it ended, and the pieces of a draft are its text.
            let steps: Vec<_> =
                news.iter().filter_map(|news| if let News::Step(step) = news { Some(step) } else { None }).collect();
            assert_eq!(steps, found.trace.iter().collect::<Vec<_>>());
            let written = |step: &&grice_core::task::TraceStep| matches!(step.step.name(), "repair" | "generate");
            let written: Vec<&str> = found.trace.iter().filter(written).map(|step| step.text.as_str()).collect();
            assert_eq!(drafts(news).iter().map(|text| text.trim()).collect::<Vec<_>>(), written, "{name}");
            pieces += news.iter().filter(|news| matches!(news, News::Piece(_))).count();
        }
        assert!(pieces > 50, "{name}: {pieces}");
        assert_eq!(workshop.info().unwrap().reserved_tokens, 0);
    }
}

#[test]
fn texts_are_those_of_the_writer() {
    for name in ["llama", "t5", "gpt2", "qwen2", "t5-gated"] {
        let tiny = Tiny::new(name);
        let writer = Writer::open(tiny.0.path(), None).unwrap();
        let mut workshop = Workshop::new(WorkshopOptions::default());
        workshop.load_writer(tar_of(tiny.0.path(), "model")).unwrap();
        let asks = [
            json!({ "max_new_tokens": 12 }),
            json!({ "max_new_tokens": 12, "draft": 4 }),
            json!({ "max_new_tokens": 9, "beams": 3 }),
            json!({ "max_new_tokens": 12, "temperature": 1.5, "seed": 7 }),
        ];
        let jobs: Vec<JobId> = asks
            .iter()
            .map(|options| {
                let ask = ask(json!({ "text": { "prompt": "w20 w21 w22", "options": options } }));
                workshop.push(ask, Duration::ZERO).unwrap()
            })
            .collect();
        let told = run(&mut workshop);
        for (id, options) in jobs.iter().zip(&asks) {
            let options = writer.options_for(&serde_json::from_value(options.clone()).unwrap(), || 0).unwrap();
            let (mut engine, mut courses) = writer.engine(1, Memory::Tokens(1000)).unwrap();
            courses.add(Arc::new(options), writer.start("w20 w21 w22").unwrap(), None).unwrap();
            let mut expected = None;
            let hear = |event: Event<'_>| {
                if let Event::Done(_, texts) = event {
                    expected = texts.into_iter().next();
                }
            };
            writer.run(&mut engine, &mut courses, hear).unwrap();
            let (expected, news) = (expected.unwrap(), &told[id]);
            let Some(News::Text(text)) = news.last() else { panic!("{name}: {news:?}") };
            assert_eq!(text.text, writer.written(&expected, &[]), "{name}");
            assert_eq!(text.generated_tokens, expected.tokens.len());
            assert_eq!(text.finish_reason, expected.reason.name());
            let pieces: String = news
                .iter()
                .filter_map(|news| if let News::Piece(piece) = news { Some(piece.as_str()) } else { None })
                .collect();
            assert_eq!(pieces, text.text, "{name}");
        }
    }
}

/// Whatever runs beside it, and whenever a job is cancelled: its memory is free, nothing more is told of it, and others end as they would alone.
#[test]
fn a_cancelled_job_leaves_nothing_behind() {
    let tiny = Tiny::new("llama");
    let mut workshop = tiny.workshop();
    workshop.push(named(3), Duration::ZERO).unwrap();
    let alone = run(&mut workshop).into_values().next().unwrap();
    let steps_most = 60;
    let mut ended_early = 0;
    for cancelled_at in 0..steps_most {
        let gone = workshop.push(named(5), Duration::ZERO).unwrap();
        let text = ask(json!({ "text": { "prompt": "w20 w21", "options": { "max_new_tokens": 20 } } }));
        let gone_too = workshop.push(text, Duration::ZERO).unwrap();
        let kept = workshop.push(named(3), Duration::ZERO).unwrap();
        let mut told = Vec::new();
        for _ in 0..cancelled_at {
            workshop.step(&|| Duration::ZERO).unwrap();
            told.extend(workshop.told());
        }
        ended_early += usize::from(!told.iter().any(|told| told.job == gone && matches!(told.news, News::Repaired(_))));
        workshop.cancel(gone);
        workshop.cancel(gone_too);
        let after = run(&mut workshop);
        assert!(!after.contains_key(&gone) && !after.contains_key(&gone_too), "{cancelled_at}: {after:?}");
        told.retain(|told| told.job == kept);
        let told: Vec<News> = told.into_iter().map(|told| told.news).chain(after.into_values().flatten()).collect();
        assert_eq!(drafts(&told), drafts(&alone), "{cancelled_at}");
        assert_eq!(end_of(&told).repaired, end_of(&alone).repaired, "{cancelled_at}");
        assert_eq!(workshop.info().unwrap().reserved_tokens, 0, "{cancelled_at}");
    }
    assert!((5..steps_most).contains(&ended_early), "{ended_early}: cancelled before and after the end");
}

#[test]
fn more_texts_than_memory_wait_for_each_other() {
    let tiny = Tiny::new("llama");
    let writer = Writer::open(tiny.0.path(), None).unwrap();
    // Two pages: room for one text of up to 64 tokens, or two of 32.
    let memory_max = Some(writer.token_bytes() * 64);
    let mut small = tiny.workshop_with(WorkshopOptions { memory_max, ..WorkshopOptions::default() });
    let mut large = tiny.workshop();
    for workshop in [&mut small, &mut large] {
        (0..20).for_each(|place| _ = workshop.push(repair(place).1, Duration::ZERO).unwrap());
    }
    assert_eq!(small.info().unwrap().memory_tokens, 64);
    let (small, large) = (run(&mut small), run(&mut large));
    let ends = |told: &BTreeMap<JobId, Vec<News>>| told.values().map(|news| drafts(news)).collect::<Vec<_>>();
    assert_eq!(ends(&small), ends(&large));
}

#[test]
fn what_cannot_be_done_is_said() {
    let tiny = Tiny::new("llama");
    let mut workshop = tiny.workshop();
    let mut refused = |json: Value, code: &str, words: &str| {
        let refusal = workshop.push(ask(json), Duration::ZERO).unwrap_err();
        assert!(refusal.code() == code && refusal.to_string().contains(words), "{refusal}");
    };
    refused(json!({ "repair": { "turn": { "response": " " } } }), "bad_input", "`response` is empty");
    refused(json!({ "repair": { "turn": { "response": "a" }, "rounds": 21 } }), "bad_input", "`rounds` is 21");
    refused(json!({ "answer": { "context": "\n" } }), "bad_input", "`context` is empty");
    refused(json!({ "answer": { "context": "a\u{0}" } }), "bad_input", "NUL");
    refused(json!({ "text": { "prompt": "" } }), "bad_input", "`prompt`");
    refused(json!({ "text": { "prompt": "w20", "options": { "top_p": 2.0 } } }), "bad_input", "`top_p` is 2");
    refused(json!({ "text": { "prompt": "w20", "options": { "max_new_tokens": 999_999 } } }), "bad_input", "999999");
    assert!(serde_json::from_value::<Ask>(json!({ "repair": { "response": "a" } })).is_err());
    assert!(run(&mut workshop).is_empty());

    // Without a model that is needed.
    let mut none = Workshop::new(WorkshopOptions::default());
    assert!(none.info().is_none());
    let refusal = none.push(repair(0).1, Duration::ZERO).unwrap_err();
    assert!(matches!(&refusal, Refusal::Error(Error::Asked(told)) if told.contains("no detector")), "{refusal}");
    // Files that are none.
    let error = none.load_writer(b"no archive".to_vec()).unwrap_err();
    assert_eq!(error.code(), "bad_model");
    let error = none.load_writer(tar_of(&fixtures_folder().join("tiny-bert"), "")).unwrap_err();
    assert!(error.code() == "bad_model" && error.to_string().contains("grice.json"), "{error}");
}

#[test]
fn a_turn_on_which_the_detector_fails_ends_only_its_own_job() {
    let tiny = Tiny::new("gpt2");
    let mut workshop = tiny.workshop();
    // Visible characters of which the tokenizer reads nothing.
    let turn = json!({ "response": "\u{fffd}\u{fffd}" });
    let bad = workshop.push(ask(json!({ "repair": { "turn": turn } })), Duration::ZERO).unwrap();
    let good = workshop.push(repair(1).1, Duration::ZERO).unwrap();
    let told = run(&mut workshop);
    assert!(matches!(told[&bad].as_slice(), [News::Failed(fault)] if fault.code == "bad_input"), "{:?}", told[&bad]);
    end_of(&told[&good]);
}
