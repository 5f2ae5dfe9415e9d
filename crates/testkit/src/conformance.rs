//! The suite that every engine must pass.

use crate::fixtures::Fixture;
use crate::{FP32_TOLERANCE, assert_close};
use grice_model::{Batch, Engine, EngineError, Network};

/// Runs the whole suite on engines made by `build`.
pub fn check_engine<E: Engine>(build: impl Fn(&Network) -> E) {
    for fixture in Fixture::all().into_iter().chain(Fixture::graphs()) {
        let network = Network::import(&fixture.onnx(), 4).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        let mut engine = build(&network);
        matches_references(&fixture, &mut engine);
        is_independent_of_the_batch(&fixture, &mut engine);
        refuses_unknown_ids(&fixture, &network, &mut engine);
    }
}

/// Logits equal PyTorch's and ONNX Runtime's, padding and long sequences included.
fn matches_references<E: Engine>(fixture: &Fixture, engine: &mut E) {
    let references = fixture.references();
    assert!(references.len() >= 8, "{}: too few references", fixture.name);
    assert!(references.iter().any(|case| case.input_ids[0].len() > 256), "{}: no long reference", fixture.name);
    for (number, case) in references.iter().enumerate() {
        let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
        assert_eq!(logits.rows(), case.input_ids.len());
        let peers = [("PyTorch", &case.logits_pytorch), ("ONNX Runtime", &case.logits_onnxruntime)];
        let mut compared = 0;
        for (peer, expected) in peers.into_iter().filter(|(_, expected)| !expected.is_empty()) {
            assert_eq!(expected.len(), logits.rows());
            for (row, expected) in expected.iter().enumerate() {
                let what = format!("{} case {number} row {row}, {peer}", fixture.name);
                assert_close(&what, logits.row(row), expected, fixture.tolerance());
            }
            compared += 1;
        }
        assert!(compared > 0, "{} case {number}: nothing to compare with", fixture.name);
    }
}

/// All rows of all references in one batch, of wildly mixed lengths, give the answers of one at a time, in their order.
fn is_independent_of_the_batch<E: Engine>(fixture: &Fixture, engine: &mut E) {
    let sequences: Vec<Vec<u32>> = fixture.references().iter().flat_map(|case| case.sequences()).collect();
    let together = engine.forward(&Batch::pack(&sequences).unwrap()).unwrap();
    for (row, sequence) in sequences.iter().enumerate() {
        let alone = engine.forward(&Batch::pack(&[sequence]).unwrap()).unwrap();
        assert_close(&format!("{} row {row} alone", fixture.name), alone.row(0), together.row(row), FP32_TOLERANCE);
    }
}

/// An id beyond the embedding is an error that names it, and the engine goes on.
fn refuses_unknown_ids<E: Engine>(fixture: &Fixture, network: &Network, engine: &mut E) {
    let rows = network.embedding_rows().unwrap_or_else(|| panic!("{}: no embedding found", fixture.name));
    match engine.forward(&Batch::pack(&[vec![1, rows as u32]]).unwrap()) {
        Err(EngineError::TokenId { id, rows: told }) => assert_eq!((id as usize, told), (rows, rows)),
        other => panic!("{}: id {rows} of {rows} gave {other:?}", fixture.name),
    }
    engine.forward(&Batch::pack(&[vec![1, rows as u32 - 1]]).unwrap()).unwrap();
}
