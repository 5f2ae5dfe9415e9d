//! Files in the forms that people have open and compute what ONNX Runtime computes of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, EngineError, FixedAxes, Lengths, Logits, Network, Precision};
use grice_testkit::files::FileFixture;
use grice_testkit::{FP16_TOLERANCE, FP32_TOLERANCE, INT8_TOLERANCE, assert_close};

fn import(fixture: &FileFixture) -> Network {
    let read = |file: &str, offset, length| fixture.beside(file, offset, length);
    Network::import_beside(fixture.onnx(), 4, &Lengths::default(), &read)
        .unwrap_or_else(|error| panic!("{}: {error}", fixture.name))
}

fn run(network: Network, sequences: &[Vec<u32>]) -> Logits {
    let mut engine = CpuEngine::new(network, Precision::Fp32, 2).unwrap();
    engine.forward(&Batch::pack(sequences).unwrap()).unwrap()
}

fn tolerance(name: &str) -> f32 {
    match name {
        name if name.starts_with("fp16") => FP16_TOLERANCE,
        name if name.contains("int8-") || name.starts_with("uint8") => INT8_TOLERANCE,
        _ => FP32_TOLERANCE,
    }
}

#[test]
fn every_form_computes_what_onnx_runtime_does() {
    let sequences = FileFixture::sequences();
    let fixtures = FileFixture::all();
    assert!(fixtures.len() >= 25);
    for fixture in fixtures {
        let together = run(import(&fixture), &sequences);
        for (row, (sequence, expected)) in sequences.iter().zip(&fixture.logits).enumerate() {
            let what = format!("{} row {row}", fixture.name);
            assert_close(&what, together.row(row), expected, tolerance(&fixture.name));
            let alone = run(import(&fixture), std::slice::from_ref(sequence));
            assert_close(&format!("{what} alone"), alone.row(0), expected, tolerance(&fixture.name));
        }
    }
}

/// Half precision by any converter, weights beside the graph, functions, inputs of any type, any opset: all fuse.
#[test]
fn forms_that_say_the_same_fuse() {
    for fixture in FileFixture::all() {
        let other = ["fixed", "fixed-batch", "fixed-sequence"].contains(&fixture.name.as_str());
        let network = import(&fixture);
        let program = network.program();
        assert!(other || program.is_ok(), "{}: {:?}", fixture.name, program.err());
    }
}

#[test]
fn eight_bit_weights_stay_so_whatever_their_zero() {
    for name in ["uint8", "uint8-channel", "int8-asymmetric"] {
        let network = import(&FileFixture::named(name));
        assert_eq!(network.precision(), Precision::Int8, "{name}");
    }
    for name in ["fp16-ort", "fp16-ort-keep", "fp16-common", "fp16-torch", "fp16-ort-blocked", "fp16-common-blocked"] {
        assert_eq!(import(&FileFixture::named(name)).precision(), Precision::Fp16, "{name}");
    }
}

#[test]
fn fixed_axes_are_filled_and_bound_the_length() {
    let axes = |name: &str| import(&FileFixture::named(name)).fixed_axes();
    assert_eq!(axes("fixed"), FixedAxes { batch: Some(2), sequence: Some(16) });
    assert_eq!(axes("base"), FixedAxes::default());
    let network = import(&FileFixture::named("fixed"));
    assert_eq!((network.longest(), network.is_fixed()), (Some(16), true));
    let mut engine = CpuEngine::new(network, Precision::Fp32, 1).unwrap();
    match engine.forward(&Batch::pack(&[vec![5; 17]]).unwrap()) {
        Err(EngineError::Positions { tokens: 17, positions: 16 }) => {}
        other => panic!("17 tokens in 16 places gave {other:?}"),
    }
    // Three rows in batches of two.
    let rows: Vec<Vec<u32>> = vec![vec![6, 7], vec![8; 16], vec![9, 10, 11]];
    let together = engine.forward(&Batch::pack(&rows).unwrap()).unwrap();
    for (row, sequence) in rows.iter().enumerate() {
        let alone = engine.forward(&Batch::pack(&[sequence]).unwrap()).unwrap();
        assert_close(&format!("row {row}"), together.row(row), alone.row(0), FP32_TOLERANCE);
    }
}

/// RoBERTa's positions begin at row 2 of 64.
#[test]
fn positions_that_begin_later_leave_fewer() {
    let network = import(&FileFixture::named("roberta"));
    assert_eq!((network.longest(), network.is_fixed()), (Some(62), false));
    let mut engine = CpuEngine::new(network, Precision::Fp32, 1).unwrap();
    engine.forward(&Batch::pack(&[vec![5; 62]]).unwrap()).unwrap();
    match engine.forward(&Batch::pack(&[vec![5; 63]]).unwrap()) {
        Err(EngineError::Positions { tokens: 63, positions: 62 }) => {}
        other => panic!("63 tokens on 62 positions gave {other:?}"),
    }
    let graph = Network::import_graph(FileFixture::named("base").onnx(), 4).unwrap();
    assert_eq!(graph.longest(), Some(64));
}
