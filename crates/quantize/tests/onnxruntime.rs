//! The engine gives the same results for our files as ONNX Runtime (`training/make_quantized_reference.py`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, Network, Precision};
use grice_quantize::{Activations, Method, Mode, Ranges, Source};
use grice_testkit::fixtures::{Fixture, answers_at, fixtures_folder, read};
use grice_testkit::{FP32_TOLERANCE, assert_close, conformance};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn quantized(fixture: &Fixture, mode: Mode) -> Vec<u8> {
    let source = Source::read(&fixture.onnx(), mode).unwrap();
    let mut ranges = Ranges::new();
    if mode == Mode::Static {
        let samples: Vec<Vec<u32>> = fixture.references().iter().flat_map(|case| case.sequences()).collect();
        ranges = Activations::observe(&source, &samples, || {}).unwrap().ranges(Method::MinMax);
    }
    source.write(&BTreeSet::new(), &ranges).unwrap()
}

fn recorded_at(fixture: &Fixture, mode: &str) -> PathBuf {
    fixtures_folder().join("quantized").join(format!("{}-{mode}.json", fixture.name))
}

/// The recorded logits are those of this very file.
fn check_digest(fixture: &Fixture, mode: &str, onnx: &[u8]) {
    let recorded: serde_json::Value = serde_json::from_slice(&read(&recorded_at(fixture, mode))).unwrap();
    let found: String = Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(recorded["sha256"], found, "{} {mode}: run training/make_quantized_reference.py", fixture.name);
}

#[test]
fn dynamic_files_answer_alike() {
    for fixture in Fixture::all() {
        let onnx = quantized(&fixture, Mode::Dynamic);
        check_digest(&fixture, "dynamic", &onnx);
        let expected = answers_at(&recorded_at(&fixture, "dynamic"));
        let build = |network: Network| CpuEngine::new(network, Precision::Int8, 1).unwrap();
        conformance::check_int8(&format!("{} dynamic", fixture.name), &onnx, &fixture.references(), &expected, build);
    }
}

/// No digest here: ranges are computed in fp32, and another processor rounds otherwise.
#[test]
fn static_files_answer_alike() {
    for fixture in Fixture::all() {
        let onnx = quantized(&fixture, Mode::Static);
        let expected = answers_at(&recorded_at(&fixture, "static"));
        let build = |network: Network| CpuEngine::new(network, Precision::Int8, 1).unwrap();
        conformance::check_int8(&format!("{} static", fixture.name), &onnx, &fixture.references(), &expected, build);
    }
}

/// As written, a static file leaves nothing to choose: ranges and weights are in it. What is left is the value here and there that
/// an fp32 sum in another order moves across a rounding boundary; without such luck the difference is that of fp32.
#[test]
fn static_files_as_written_answer_nearly_the_same() {
    for fixture in Fixture::all() {
        let network = Network::import_graph(quantized(&fixture, Mode::Static), 4).unwrap();
        let mut engine = CpuEngine::new(network, Precision::Int8, 1).unwrap();
        let expected = answers_at(&recorded_at(&fixture, "static"));
        let (mut logits, mut same) = (0, 0);
        for (case, expected) in fixture.references().iter().zip(&expected) {
            for (sequence, expected) in case.sequences().iter().zip(expected) {
                let found = engine.forward(&Batch::pack(&[sequence]).unwrap()).unwrap();
                same += found.row(0).iter().zip(expected).filter(|(a, b)| (*a - *b).abs() <= FP32_TOLERANCE).count();
                logits += expected.len();
            }
        }
        println!("{}: {same} of {logits} logits are the same", fixture.name);
        assert!(same * 4 >= logits * 3, "{}: only {same} of {logits} logits are the same", fixture.name);
    }
}

/// The arithmetic is fp32 on both sides, and so is the tolerance.
#[test]
fn fp16_files_answer_alike() {
    for fixture in Fixture::all() {
        let onnx = quantized(&fixture, Mode::Fp16);
        check_digest(&fixture, "fp16", &onnx);
        let network = Network::import(&onnx, 4).unwrap();
        let mut engine = CpuEngine::new(network, Precision::Fp16, 1).unwrap();
        let answers = answers_at(&recorded_at(&fixture, "fp16"));
        for (case, expected) in fixture.references().iter().zip(&answers) {
            let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
            for (row, expected) in expected.iter().enumerate() {
                assert_close(&format!("{} fp16 row {row}", fixture.name), logits.row(row), expected, FP32_TOLERANCE);
            }
        }
    }
}

/// The shape of a quantized file is one that the engine has kernels for, not merely one that it can run.
#[test]
fn every_mode_fuses() {
    for fixture in Fixture::all() {
        for mode in [Mode::Dynamic, Mode::Static, Mode::Fp16] {
            let network = Network::import(quantized(&fixture, mode), 4).unwrap();
            if let Err(unfused) = network.program() {
                panic!("{} {mode:?}: {}", fixture.name, unfused.reason);
            }
        }
    }
}

/// Every graph that the importer has a rewrite for can be calibrated too, and what was seen does not depend on the method.
#[test]
fn every_fp32_fixture_can_be_calibrated_by_every_method() {
    let sdpa = Fixture::graphs().into_iter().filter(|fixture| fixture.name == "tiny-sdpa");
    for fixture in Fixture::all().into_iter().chain(sdpa) {
        let source = Source::read(&fixture.onnx(), Mode::Static).unwrap();
        let samples: Vec<Vec<u32>> = fixture.references().iter().flat_map(|case| case.sequences()).collect();
        let mut told = 0;
        let seen = Activations::observe(&source, &samples, || told += 1).unwrap();
        assert_eq!((seen.samples(), told), (samples.len(), samples.len()));
        let widest = seen.ranges(Method::MinMax);
        assert_eq!(widest.keys().cloned().collect::<BTreeSet<_>>(), source.activations().into_iter().collect());
        for method in [Method::MinMax, Method::Entropy, Method::Percentile] {
            let ranges = seen.ranges(method);
            for (name, range) in &ranges {
                assert!(range.low >= widest[name].low && range.high <= widest[name].high && range.high > range.low);
            }
            let onnx = source.write(&BTreeSet::new(), &ranges).unwrap();
            let network =
                Network::import(&onnx, 4).unwrap_or_else(|error| panic!("{} {method:?}: {error}", fixture.name));
            assert_eq!(network.embedding_rows(), source.vocabulary());
        }
    }
}
