//! The built-in model: it is intact, and equals ONNX Runtime and the Python tokenizer.
#![cfg(feature = "embedded-model")]
#![allow(clippy::unwrap_used)]

use grice_core::{Batch, Bundle, Detector, Engine, Lengths, Network, Options, Turn};
use grice_cpu::CpuEngine;
use grice_testkit::fixtures::{fixtures_folder, read};
use grice_testkit::{FP32_TOLERANCE, assert_close};
use std::path::Path;

/// Rounding activations to int8 moves these logits, which reach ±9, by up to 0.3; the effect on verdicts matters.
const PROBABILITY_TOLERANCE: f32 = 0.05;

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    turn: Turn,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// From its folder, with the ONNX file that the binary leaves out.
fn on_disk() -> Bundle {
    Bundle::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini")).unwrap()
}

/// Opened from its folder, where digests are checked, it is the same bundle.
#[test]
fn its_digests_are_right() {
    let (on_disk, embedded) = (on_disk(), Bundle::embedded().unwrap());
    assert!(!on_disk.manifest().digests.is_empty());
    let precision = on_disk.manifest().default_precision();
    on_disk.model(precision).unwrap();
    // Compared with its hashes here, as the embedded copy is not.
    on_disk.network(precision).unwrap();
    let program = on_disk.program_path(precision).unwrap();
    assert_eq!(on_disk.file(&program).unwrap(), embedded.file(&program).unwrap());
    assert_eq!(on_disk.tokenizer().unwrap(), embedded.tokenizer().unwrap());
    assert_eq!(on_disk.config().unwrap(), embedded.config().unwrap());
}

#[test]
fn it_stays_below_sixteen_megabytes() {
    let bundle = Bundle::embedded().unwrap();
    let program = bundle.program_bytes(bundle.manifest().default_precision()).unwrap().unwrap();
    let bytes = program as usize + bundle.tokenizer().unwrap().len();
    assert!(bytes < 16_000_000, "{bytes}");
}

#[test]
fn ids_and_logits_are_those_of_the_python_libraries() {
    let cases: Vec<Case> =
        serde_json::from_slice(&read(&fixtures_folder().join("detector-mini-reference.json"))).unwrap();
    assert!(cases.len() >= 10);
    let bundle = Bundle::embedded().unwrap();
    let precision = bundle.manifest().default_precision();
    let detector = Detector::load(&bundle, &Options::default()).unwrap();
    let on_disk = on_disk();
    let onnx = on_disk.model(precision).unwrap().1;
    // The reference was computed with the file's int8 weights in fp32, as the graph says; the kernels also round activations.
    let graph = Network::import_graph(&onnx, 4).unwrap();
    let fused = Network::import(&onnx, 4).unwrap();
    assert!(fused.program().is_ok(), "{:?}", fused.program().err());
    let mut engine = CpuEngine::new(graph, precision, 1).unwrap();
    let mut kernels = CpuEngine::new(fused, precision, 1).unwrap();
    for case in cases {
        let encoded = detector.encode(&case.turn).unwrap();
        assert_eq!(encoded.ids, case.ids, "{}", case.name);
        let logits = engine.forward(&Batch::pack(&[&case.ids]).unwrap()).unwrap();
        assert_close(&case.name, logits.row(0), &case.logits, FP32_TOLERANCE);
        let logits = kernels.forward(&Batch::pack(&[&case.ids]).unwrap()).unwrap();
        let probabilities = |logits: &[f32]| logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect::<Vec<f32>>();
        let (found, expected) = (probabilities(logits.row(0)), probabilities(&case.logits));
        assert_close(&format!("{} int8", case.name), &found, &expected, PROBABILITY_TOLERANCE);
    }
}

/// Without it each start would compare the fused program with its graph, which takes longer than all other work.
#[test]
fn its_proof_is_current() {
    let bundle = Bundle::embedded().unwrap();
    let precision = bundle.manifest().default_precision();
    let proof = bundle.lengths(precision).unwrap().proof.unwrap();
    assert_eq!(proof.up_to, bundle.manifest().max_tokens);
    let on_disk = on_disk();
    let onnx = on_disk.model(precision).unwrap().1;
    let network = Network::import_for(&onnx, 4, &Lengths::up_to(bundle.manifest().max_tokens)).unwrap();
    let hint = "`grice inspect --prove --model models/detector-mini` writes it";
    assert_eq!(network.proof(proof.digest.clone()), Some(proof), "{hint}");
}

/// The compiled program in the repository equals the output of `grice compile --device cpu --model models/detector-mini`.
#[test]
fn the_compiled_program_is_that_of_the_onnx_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini");
    let copy = tempfile::tempdir().unwrap();
    for file in ["grice.json", "config.json", "tokenizer.json", "onnx/model_int8.onnx"] {
        let to = copy.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(folder.join(file), to).unwrap();
    }
    let bundle = grice_core::Bundle::open(copy.path()).unwrap();
    let compiled =
        grice_core::compile_program(&bundle, &grice_core::Options::default(), || std::time::Duration::ZERO).unwrap();
    let [made, kept] = [compiled.path, folder.join("onnx/model_int8.grice")].map(|path| std::fs::read(path).unwrap());
    assert!(made == kept, "run `grice compile --device cpu --model models/detector-mini` and commit the file");
}
