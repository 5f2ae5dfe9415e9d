//! Models that write, in a headless browser: the texts that transformers writes with the tiny models of every family, greedy and by beams.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::panic)]

use grice_core::generate::{Bounds, Courses, DecodeOptions, EarlyStopping, Event, Search, Start};
use grice_core::{Ask, News, Workshop, WorkshopOptions};
use grice_cpu::CpuGeneratorPlan;
use grice_model::{Checkpoint, Folder, GeneratorEngine, Source};
use grice_testkit::Isa;
use grice_testkit::generators::{CompressedCase, GeneratorReference, SearchCase};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// Files in memory: a browser has no folder to read.
struct Held(Vec<(&'static str, &'static [u8])>);

impl Folder for Held {
    fn file(&self, name: &str) -> std::io::Result<Option<Box<dyn Source + '_>>> {
        let found = self.0.iter().find(|(held, _)| *held == name);
        Ok(found.map(|(_, bytes)| -> Box<dyn Source> { Box::new(*bytes) }))
    }
}

macro_rules! held {
    ($folder:literal, $($file:literal),*) => {
        Held(vec![$(($file, include_bytes!(concat!("../../testkit/fixtures/", $folder, "/", $file)).as_slice())),*])
    };
}

fn generators() -> [(&'static str, Held); 5] {
    macro_rules! whole {
        ($name:literal) => {
            (
                $name,
                held!(
                    $name,
                    "config.json",
                    "generation_config.json",
                    "model.safetensors",
                    "tokenizer.json",
                    "reference.json"
                ),
            )
        };
    }
    let parts = held!(
        "generators/qwen2",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "tokenizer.json",
        "reference.json"
    );
    [
        whole!("generators/t5"),
        whole!("generators/t5-gated"),
        whole!("generators/gpt2"),
        whole!("generators/llama"),
        ("generators/qwen2", parts),
    ]
}

fn options(case: &SearchCase, stop_tokens: &[u32]) -> DecodeOptions {
    let asked = &case.options;
    let beam = |width| Search::Beam {
        width,
        length_penalty: asked.length_penalty.unwrap_or(1.0),
        early: EarlyStopping::Heuristic,
    };
    DecodeOptions {
        search: asked.num_beams.map_or(Search::Greedy, beam),
        max_new_tokens: asked.max_new_tokens,
        min_length: asked.min_length.unwrap_or(0),
        repetition_penalty: asked.repetition_penalty.unwrap_or(1.0),
        no_repeat_ngram: asked.no_repeat_ngram_size.unwrap_or(0),
        stop_tokens: stop_tokens.to_vec(),
        ..DecodeOptions::default()
    }
}

#[wasm_bindgen_test]
fn texts_are_those_of_transformers() {
    for (name, files) in generators() {
        let checkpoint = Checkpoint::open(&files).unwrap();
        let plan = CpuGeneratorPlan::new(checkpoint.generator).unwrap();
        assert!(["simd128", "relaxed-simd"].contains(&plan.kernels()), "{name}: {}", plan.kernels());
        let reference: GeneratorReference = serde_json::from_slice(files.0.last().unwrap().1).unwrap();
        for (pages, pass_tokens, draft) in [(400, 64, 0), (40, 16, 5)] {
            let bounds = Bounds { pages, pass_tokens, longest: plan.longest(), longest_source: plan.longest_source() };
            let (mut courses, mut engine) = (Courses::new(bounds), plan.engine(1, pages).unwrap());
            let mut expected = BTreeMap::new();
            for case in &reference.searches {
                let mut options = options(case, &checkpoint.defaults.end_tokens);
                if options.search == Search::Greedy {
                    options.draft = draft;
                }
                let source = case.source.as_ref().map(|source| source.as_slice().into());
                let start = Start { prompt: case.prompt.as_slice().into(), source, vocabulary: plan.vocabulary() };
                expected.insert(courses.add(Arc::new(options), start, None).unwrap(), case);
            }
            assert!(expected.len() > 3, "{name}");
            while let Some(work) = courses.next() {
                if !work.sources.is_empty() {
                    engine.read(&work.sources).unwrap();
                }
                courses.take(engine.step(&work.pass).unwrap(), |event| match event {
                    Event::Tokens(..) => {}
                    Event::Failed(_, error) => panic!("{name}: {error}"),
                    Event::Done(id, generated) => {
                        let case = expected.remove(&id).unwrap();
                        assert_eq!(generated[0].tokens, case.tokens, "{name}: {:?}", case.options.num_beams);
                    }
                });
            }
            assert!(expected.is_empty(), "{name}");
            assert_eq!((courses.counters().pages_used, courses.counters().pages_reserved), (0, 0));
        }
    }
}

/// In 8 and 4 bits plain Rust, which native tests compare with transformers, and the kernels that ship give the same bits.
#[wasm_bindgen_test]
fn logits_of_compressed_models_are_those_of_plain_rust() {
    for (name, files) in [
        ("int8", held!("compressed/int8", "config.json", "model.safetensors", "reference.json")),
        ("int4", held!("compressed/int4", "config.json", "model.safetensors", "reference.json")),
    ] {
        let reference: CompressedReference = serde_json::from_slice(files.0.last().unwrap().1).unwrap();
        assert!(Isa::best() != Isa::scalar() && !reference.cases.is_empty());
        let logits = |isa, prompt: &[u32]| {
            let generator = Checkpoint::open(&files).unwrap().generator;
            logits_of(&mut CpuGeneratorPlan::with_isa(generator, isa).unwrap().engine(1, 8).unwrap(), prompt)
        };
        for CompressedCase { prompt, .. } in &reference.cases {
            assert_eq!(logits(Isa::best(), prompt), logits(Isa::scalar(), prompt), "{name}: {} tokens", prompt.len());
        }
    }
}

#[derive(serde::Deserialize)]
struct CompressedReference {
    cases: Vec<CompressedCase>,
}

fn logits_of(engine: &mut grice_cpu::CpuGenerator, prompt: &[u32]) -> Vec<f32> {
    use grice_model::{Pass, Past, pages_of};
    let pages: Vec<u32> = (0..pages_of(prompt.len()) as u32).collect();
    let past = Past { tokens: prompt.len(), kept: 0, pages: pages.as_slice().into(), source: None, asked: 1 };
    engine.step(&Pass { ids: prompt.to_vec(), pasts: vec![past], copies: Vec::new() }).unwrap().to_vec()
}

#[wasm_bindgen_test]
fn a_text_is_written_from_the_bytes_of_an_archive() {
    for (name, files) in generators() {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in &files.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        let mut workshop = Workshop::new(WorkshopOptions::default());
        workshop.load_writer(builder.into_inner().unwrap()).unwrap();
        let ask = r#"{"text": {"prompt": "w20 w21 w22", "options": {"max_new_tokens": 6}}}"#;
        let ask: Ask = serde_json::from_str(ask).unwrap();
        workshop.push(ask, Duration::ZERO).unwrap();
        let mut told = Vec::new();
        while workshop.step(&|| Duration::ZERO).unwrap() {
            told.extend(workshop.told());
        }
        assert!(
            matches!(told.last().map(|told| &told.news), Some(News::Text(text)) if text.generated_tokens > 0),
            "{name}"
        );
        assert_eq!(workshop.info().unwrap().reserved_tokens, 0);
    }
}
