//! Models that `compressed-tensors` wrote, against transformers, and 4-bit weights against themselves in other portions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuGeneratorPlan;
use grice_kernels::Isa;
use grice_model::{Body, Checkpoint, Generator, GeneratorEngine, Linear, Matrix, Pass, Past, Precision, Values};
use grice_testkit::generators::{CompressedCase, DiskFolder, compressed, compressed_cases};
use std::sync::Arc;

const PAGES: usize = 4;

fn open(name: &str) -> Generator {
    Checkpoint::open(&DiskFolder(compressed(name))).unwrap_or_else(|error| panic!("{name}: {error}")).generator
}

/// Logits of all tokens of a prompt, in pieces of so many.
fn logits(plan: &CpuGeneratorPlan, threads: usize, prompt: &[u32], piece: usize) -> Vec<f32> {
    let mut engine = plan.engine(threads, PAGES).unwrap();
    let (mut kept, mut all) = (0, Vec::new());
    for ids in prompt.chunks(piece) {
        let past = Past { tokens: ids.len(), kept, pages: [2, 0].into(), source: None, asked: ids.len() };
        all.extend_from_slice(engine.step(&Pass { ids: ids.to_vec(), pasts: vec![past], copies: Vec::new() }).unwrap());
        kept += ids.len();
    }
    all
}

#[track_caller]
fn check(name: &str, plan: &CpuGeneratorPlan, tolerance: f32) {
    for CompressedCase { prompt, logits: expected, .. } in compressed_cases(name) {
        let all = logits(plan, 1, &prompt, prompt.len());
        let largest = expected.iter().fold(1f32, |largest, logit| largest.max(logit.abs()));
        let what = format!("{name}, {} tokens", prompt.len());
        grice_testkit::assert_close(&what, &all[all.len() - expected.len()..], &expected, tolerance * largest);
    }
}

/// The model with its integers as numbers.
fn in_single_precision(mut generator: Generator) -> Generator {
    let plain = |linear: &mut Linear| {
        let (rows, columns) = (linear.inputs(), linear.outputs());
        let values = Values::F32(linear.weights.to_f32());
        linear.weights = Arc::new(Matrix::new(rows, columns, values).unwrap());
    };
    for block in generator.decoder.layers.iter_mut().flatten() {
        match &mut block.body {
            Body::Attention(attention) => {
                [&mut attention.query, &mut attention.key, &mut attention.value, &mut attention.output]
                    .into_iter()
                    .for_each(plain);
            }
            Body::FeedForward(part) => part.gate.iter_mut().chain([&mut part.up, &mut part.down]).for_each(plain),
        }
    }
    generator
}

/// The weights are exactly those of transformers: only the order of sums differs.
#[test]
fn weights_are_those_of_transformers() {
    for (name, precision) in [("int8", Precision::Int8), ("int4", Precision::Int4)] {
        let generator = open(name);
        assert_eq!(generator.precision(), precision);
        assert!(generator.decoder.linears().all(|linear| linear.weights.precision() == precision));
        check(name, &CpuGeneratorPlan::new(in_single_precision(generator)).unwrap(), 2e-4);
    }
}

/// Root of the mean square.
fn size(numbers: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = numbers.fold((0.0, 0), |(sum, count), number| (sum + number * number, count + 1));
    (sum / count as f32).sqrt()
}

/// How far logits are from those of weights in single precision.
fn error(found: &[f32], exact: &[f32]) -> f32 {
    size(found.iter().zip(exact).map(|(found, exact)| found - exact))
}

/// grice rounds activations to 255 steps and transformers to 256, so single logits differ; the error must not be larger than that of
/// transformers, which differs from case to case.
#[test]
fn rounded_activations_are_as_exact_as_in_transformers() {
    let plan = CpuGeneratorPlan::new(open("int8")).unwrap();
    let (mut ours, mut theirs) = (0.0, 0.0);
    for CompressedCase { prompt, logits: exact, logits_rounded } in compressed_cases("int8") {
        let all = logits(&plan, 1, &prompt, prompt.len());
        ours += error(&all[all.len() - exact.len()..], &exact);
        theirs += error(&logits_rounded.unwrap(), &exact);
    }
    assert!(ours > 0.0 && ours < 1.25 * theirs, "{ours}, {theirs} in transformers");
}

/// Rounding activations to 8 bits moves logits by a few percent of their size.
#[test]
fn four_bits_are_close_to_transformers() {
    for generator in [open("int4"), open("int4").to_precision(Precision::Int8).unwrap()] {
        let plan = CpuGeneratorPlan::new(generator).unwrap();
        for CompressedCase { prompt, logits: exact, .. } in compressed_cases("int4") {
            let all = logits(&plan, 1, &prompt, prompt.len());
            let moved = error(&all[all.len() - exact.len()..], &exact) / size(exact.iter().copied());
            assert!(moved > 0.0 && moved < 0.04, "{moved} of {} tokens", prompt.len());
        }
    }
}

/// In 4 bits: the same bits for a prompt in pieces, with threads and with each instruction set.
#[test]
fn four_bits_are_the_same_everywhere() {
    let bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for CompressedCase { prompt, .. } in compressed_cases("int4") {
        let mut known = None;
        for isa in Isa::available() {
            let plan = CpuGeneratorPlan::with_isa(open("int4"), isa).unwrap();
            for (threads, piece) in [(1, prompt.len()), (2, 1), (2, 3), (1, 33)] {
                let found = bits(logits(&plan, threads, &prompt, piece));
                let known = known.get_or_insert_with(|| found.clone());
                assert!(known == &found, "{} tokens in pieces of {piece} on {}", prompt.len(), isa.name());
            }
        }
    }
}

/// What is beside 4-bit weights can be rounded to 8 bits; they themselves can become nothing else.
#[test]
fn the_vocabulary_beside_four_bits_can_be_rounded() {
    let rounded = open("int4").to_precision(Precision::Int8).unwrap();
    assert!(rounded.decoder.linears().eq(open("int4").decoder.linears()));
    assert!(rounded.vocabulary.own().is_none_or(|own| own.weights.precision() == Precision::Int8));
    assert_eq!(rounded.decoder.embedding.words.precision(), Precision::Int8);
    for precision in [Precision::Fp32, Precision::Fp16] {
        let error = open("int4").to_precision(precision).unwrap_err().to_string();
        assert!(error.contains("the weights are stored as int4"), "{error}");
    }
}
