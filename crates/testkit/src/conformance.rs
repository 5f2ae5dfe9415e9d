//! The suite that every engine must pass.

use crate::fixtures::{Export, Fixture, QuantizedByOnnxRuntime, Reference};
use crate::{FP32_TOLERANCE, assert_close};
use grice_model::{Batch, Engine, EngineError, Network};

/// Runs the whole suite on engines made by `build`.
pub fn check_engine<E: Engine>(build: impl Fn(&Network) -> E) {
    for fixture in Fixture::all().into_iter().chain(Fixture::graphs()) {
        let network = Network::import(fixture.onnx(), 4).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        let mut engine = build(&network);
        matches_references(&fixture, &mut engine);
        is_independent_of_the_batch(&fixture, &mut engine);
        refuses_unknown_ids(&fixture, &network, &mut engine);
    }
}

/// Logits equal those of PyTorch and ONNX Runtime, also with padding and for long sequences.
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

/// All rows of all references in one batch of mixed lengths give the same answers as single rows, in order.
fn is_independent_of_the_batch<E: Engine>(fixture: &Fixture, engine: &mut E) {
    let sequences: Vec<Vec<u32>> = fixture.references().iter().flat_map(|case| case.sequences()).collect();
    let together = engine.forward(&Batch::pack(&sequences).unwrap()).unwrap();
    for (row, sequence) in sequences.iter().enumerate() {
        let alone = engine.forward(&Batch::pack(&[sequence]).unwrap()).unwrap();
        assert_close(&format!("{} row {row} alone", fixture.name), alone.row(0), together.row(row), FP32_TOLERANCE);
    }
}

/// An id beyond the embedding is an error that names it, and the engine can still run.
fn refuses_unknown_ids<E: Engine>(fixture: &Fixture, network: &Network, engine: &mut E) {
    let rows = network.embedding_rows().unwrap_or_else(|| panic!("{}: no embedding found", fixture.name));
    match engine.forward(&Batch::pack(&[vec![1, rows as u32]]).unwrap()) {
        Err(EngineError::TokenId { id, rows: told }) => assert_eq!((id as usize, told), (rows, rows)),
        other => panic!("{}: id {rows} of {rows} gave {other:?}", fixture.name),
    }
    engine.forward(&Batch::pack(&[vec![1, rows as u32 - 1]]).unwrap()).unwrap();
}

/// Encoders of other families and from other tools give ONNX Runtime's logits.
pub fn check_exports<E: Engine>(build: impl Fn(&Export, Network) -> E) {
    for export in Export::all() {
        let network = Network::import(export.onnx(), 4).unwrap_or_else(|error| panic!("{}: {error}", export.name));
        check_export(&export, &mut build(&export, network));
    }
}

/// Compares an engine's logits of an export with ONNX Runtime's, and with PyTorch's where they are known.
pub fn check_export(export: &Export, engine: &mut impl Engine) {
    for (number, case) in export.cases.iter().enumerate() {
        let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
        assert_eq!(logits.rows(), case.logits_onnxruntime.len());
        for (peer, expected) in [("PyTorch", &case.logits_pytorch), ("ONNX Runtime", &case.logits_onnxruntime)] {
            for (row, expected) in expected.iter().enumerate() {
                let what = format!("{} case {number} row {row}, {peer}", export.name);
                assert_close(&what, logits.row(row), expected, export.tolerance);
            }
        }
    }
}

/// Files from ONNX Runtime's own quantizer give its logits, as closely as the arithmetic of int8 is defined.
pub fn check_onnxruntime_int8<E: Engine>(build: impl Fn(Network) -> E) {
    for fixture in QuantizedByOnnxRuntime::all() {
        check_int8(&fixture.name, &fixture.onnx(), &fixture.source.references(), &fixture.logits, &build);
    }
}

/// Compares an engine's logits of an int8 file with ONNX Runtime's for the same file.
///
/// The tolerance is the effect of quantization itself: the root mean square distance of ONNX Runtime's int8 logits from its fp32
/// logits. Results cannot be closer: an engine may scale each token separately where ONNX Runtime scales all together, and a sum in
/// another order can move a value across a rounding boundary, by a whole step. Two independent roundings are
/// √2 times as far apart as each is from the exact value; ours must not be further from it than ONNX Runtime's. Rows run
/// alone, so that the batch is the same.
pub fn check_int8<E: Engine>(
    name: &str,
    onnx: &[u8],
    references: &[Reference],
    expected: &[Vec<Vec<f32>>],
    build: impl Fn(Network) -> E,
) {
    let network = Network::import(onnx, 4).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut engine = build(network);
    assert_eq!(references.len(), expected.len(), "{name}: as many answers as references");
    let (mut ours, mut theirs, mut fp32) = (Vec::new(), Vec::new(), Vec::new());
    for (case, expected) in references.iter().zip(expected) {
        for sequence in case.sequences() {
            ours.extend_from_slice(engine.forward(&Batch::pack(&[sequence]).unwrap()).unwrap().row(0));
        }
        theirs.extend(expected.iter().flatten().copied());
        fp32.extend(case.logits_onnxruntime.iter().flatten().copied());
    }
    let (apart, noise, own_noise) =
        (rms_difference(&ours, &theirs), rms_difference(&theirs, &fp32), rms_difference(&ours, &fp32));
    println!("{name}: {apart:.5} from ONNX Runtime's int8; from fp32, that is {noise:.5} away and ours {own_noise:.5}");
    assert!(noise > 0.0, "{name}: the file is no less exact than fp32");
    // Written so that a NaN fails.
    assert!(apart <= noise * f64::sqrt(2.0), "{name}: {apart} from ONNX Runtime's int8, which is {noise} from fp32");
    assert!(own_noise <= noise * OWN_NOISE_MAX, "{name}: {own_noise} from fp32, where ONNX Runtime is {noise}");
}

/// A quarter more for chance, because this is the root mean square of only about eighty dependent logits.
const OWN_NOISE_MAX: f64 = 1.25;

fn rms_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (squares / a.len() as f64).sqrt()
}
