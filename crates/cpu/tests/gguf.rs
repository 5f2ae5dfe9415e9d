//! Models from GGUF files: the logits that transformers computes of the numbers in them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuGeneratorPlan;
use grice_kernels::Isa;
use grice_model::{Generator, GeneratorEngine, NewSource, Pass, Past, Precision, SourcePast, pages_of};
use grice_testkit::generators::DiskFolder;
use grice_testkit::gguf::{GGUF_MODELS, GgufCase, gguf, gguf_cases, gguf_model};
use std::sync::Arc;

fn pages(tokens: usize, first: u32) -> Arc<[u32]> {
    (first..first + pages_of(tokens) as u32).collect()
}

/// Logits after the prompt.
fn logits(generator: Generator, case: &GgufCase, isa: Isa) -> Vec<f32> {
    let plan = CpuGeneratorPlan::with_isa(generator, isa).unwrap();
    let mut engine = plan.engine(1, 16).unwrap();
    let source = case.source.as_ref().map(|ids| {
        let pages = pages(ids.len(), 8);
        engine.read(&[NewSource { ids: ids.as_slice().into(), pages: pages.clone() }]).unwrap();
        SourcePast { tokens: ids.len(), pages }
    });
    let tokens = case.prompt.len();
    let past = Past { tokens, kept: 0, pages: pages(tokens, 0), source, asked: 1 };
    engine.step(&Pass { ids: case.prompt.clone(), pasts: vec![past], copies: Vec::new() }).unwrap().to_vec()
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(1.0, |largest, number| largest.max(number.abs()))
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Sums have another order than PyTorch's; nothing else differs.
#[test]
fn exact_logits_are_those_of_transformers() {
    for (name, kinds) in GGUF_MODELS {
        for kind in kinds {
            for case in gguf_cases(name, kind) {
                let generator = gguf_model(name, kind, Some(Precision::Fp32)).checkpoint.generator;
                let found = logits(generator, &case, Isa::best());
                let what = format!("{name}, {kind}, {} tokens", case.prompt.len());
                grice_testkit::assert_close(&what, &found, &case.logits, 2e-4 * largest(&case.logits));
            }
        }
    }
}

/// How far logits are from others, as a share of these.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|number| number * number).sum::<f32>();
    let off = squares(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (off / squares(&mut expected.iter().copied())).sqrt()
}

/// Without a precision rounded weights stay in few bits, and activations are rounded to bytes, too: in models of 32 columns that costs some
/// hundredths. Rows in the wrong order would be as far off as other logits are, 1 and more.
#[test]
fn packed_logits_are_near() {
    for (name, kinds) in GGUF_MODELS {
        for kind in kinds.iter().filter(|kind| kind.starts_with('q')) {
            for case in gguf_cases(name, kind) {
                let generator = gguf_model(name, kind, None).checkpoint.generator;
                let expected = if *kind == "q4_0" { Precision::Int4 } else { Precision::Int8 };
                assert_eq!(generator.precision(), expected, "{name}, {kind}");
                let found = distance(&logits(generator, &case, Isa::best()), &case.logits);
                println!("{name}, {kind}, {} tokens: {found}", case.prompt.len());
                assert!(found < 0.15, "{name}, {kind}, {} tokens: {found}", case.prompt.len());
            }
        }
    }
}

/// In all instruction sets the same bits.
#[test]
fn packed_logits_are_the_same_everywhere() {
    for (name, kind) in [("llama", "q4_0"), ("llama", "q4_1"), ("gpt2", "q4_0"), ("t5", "q4_0")] {
        for case in gguf_cases(name, kind) {
            let of = |isa| bits(&logits(gguf_model(name, kind, None).checkpoint.generator, &case, isa));
            let first = of(Isa::best());
            Isa::available().into_iter().for_each(|isa| assert!(of(isa) == first, "{name}, {kind} on {}", isa.name()));
        }
    }
}

/// The rows of queries and keys that llama.cpp orders in another way are the same afterwards, with fewer key heads than heads.
#[test]
fn a_file_is_the_folder_that_it_came_from() {
    let folder = || grice_model::Checkpoint::open(&DiskFolder(gguf("models/llama"))).unwrap().generator;
    for case in gguf_cases("llama", "f32") {
        let of = |generator| bits(&logits(generator, &case, Isa::best()));
        let file = |precision| gguf_model("llama", "f32", precision).checkpoint.generator;
        assert_eq!(of(folder()), of(file(None)));
        assert_eq!(of(folder()), of(file(Some(Precision::Fp32))));
        for precision in [Precision::Int8, Precision::Fp16] {
            assert_eq!(of(folder().to_precision(precision).unwrap()), of(file(Some(precision))), "{precision}");
        }
    }
}
