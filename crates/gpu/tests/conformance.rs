//! The GPU engine passes the suite that every engine must pass, on whatever adapter there is: on a machine without a GPU,
//! Mesa's software one.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::{engine, open_gpu, open_gpu_with};
use grice_cpu::CpuEngine;
use grice_gpu::{GpuPlan, Settings};
use grice_model::{Batch, Engine, EngineError, Logits, Network, Precision, Readout, Unfused};
use grice_testkit::fixtures::{Fixture, QuantizedByOnnxRuntime};
use grice_testkit::{FP16_TOLERANCE, FP32_TOLERANCE, assert_close, conformance};

#[test]
fn passes_the_suite() {
    let Some(gpu) = open_gpu() else { return };
    conformance::check_engine(|network| engine(&gpu, network.clone()));
}

/// Without cooperative matrices and whatever else only some adapters have.
#[test]
fn passes_the_suite_with_what_every_adapter_has() {
    let Some(gpu) = open_gpu_with(&Settings { portable: true, ..Settings::default() }) else { return };
    conformance::check_engine(|network| engine(&gpu, network.clone()));
}

#[test]
fn files_by_onnx_runtimes_quantizer() {
    let Some(gpu) = open_gpu() else { return };
    conformance::check_onnxruntime_int8(|network| {
        assert_eq!(network.precision(), Precision::Int8);
        engine(&gpu, network)
    });
}

/// Encoders of other families and from other tools.
#[test]
fn exports_meet_their_references() {
    let Some(gpu) = open_gpu() else { return };
    conformance::check_exports(|_, network| engine(&gpu, network));
}

/// A head in other operators runs on the processor, and answers the same.
#[test]
fn heads_run_on_either_side() {
    let Some(gpu) = open_gpu() else { return };
    for fixture in Fixture::all() {
        let network = Network::import(fixture.onnx(), 4).unwrap();
        let mut on_device = engine(&gpu, network.clone());
        let mut program = network.into_program().ok().unwrap();
        let Readout::Classes(head) = &mut program.readout else { panic!("{}: it has no head", fixture.name) };
        head.layers = Err(Unfused { reason: "a test says so".to_owned() });
        let mut on_processor = pollster::block_on(GpuPlan::new(&gpu, program, 4)).unwrap().engine().unwrap();
        let batch = Batch::pack(&[vec![1, 2, 3], vec![4], vec![5; 40]]).unwrap();
        let (one, other) = (on_device.forward(&batch).unwrap(), on_processor.forward(&batch).unwrap());
        let (one, other): (Vec<f32>, Vec<f32>) = (values(&one).collect(), values(&other).collect());
        assert_close(fixture.name, &one, &other, FP32_TOLERANCE);
    }
}

/// Vectors of whole texts are made on the processor only, and the error says so.
#[test]
fn pooled_readouts_are_refused() {
    let Some(gpu) = open_gpu() else { return };
    let program = grice_testkit::embedders::sentence_model("bert").program;
    let columns = program.hidden();
    let error = pollster::block_on(GpuPlan::new(&gpu, program, columns)).err().unwrap().to_string();
    assert!(error.contains("on the CPU only"), "{error}");
}

/// Weights and tables rounded to f16 give nearly the logits of those that are not.
#[test]
fn half_precision_is_close_to_the_references() {
    let Some(gpu) = open_gpu() else { return };
    for fixture in Fixture::all() {
        let network = Network::import(fixture.onnx(), 4).unwrap().to_precision(Precision::Fp16).unwrap();
        let mut engine = engine(&gpu, network);
        assert_eq!(engine.info().precision, Precision::Fp16);
        for (number, case) in fixture.references().iter().enumerate() {
            let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
            for (row, expected) in case.logits_pytorch.iter().enumerate() {
                let what = format!("{} in f16, case {number} row {row}", fixture.name);
                assert_close(&what, logits.row(row), expected, FP16_TOLERANCE);
            }
        }
    }
}

/// The same 8-bit file on both engines: integers are the same, and the floating point between them is rounded alike to within a
/// step or so.
#[test]
fn int8_is_close_to_the_processors() {
    let Some(gpu) = open_gpu() else { return };
    for fixture in QuantizedByOnnxRuntime::all() {
        let network = || Network::import(fixture.onnx(), 4).unwrap();
        let mut ours = engine(&gpu, network());
        let mut theirs = CpuEngine::new(network(), Precision::Int8, 1).unwrap();
        let (mut squares, mut count) = (0.0, 0);
        for case in fixture.source.references() {
            let batch = Batch::pack(&case.sequences()).unwrap();
            let (ours, theirs) = (ours.forward(&batch).unwrap(), theirs.forward(&batch).unwrap());
            for (a, b) in values(&ours).zip(values(&theirs)) {
                squares += f64::from(a - b).powi(2);
                count += 1;
            }
        }
        let apart = (squares / f64::from(count)).sqrt();
        println!("{}: {apart:.6} from the processor's, in the root mean square", fixture.name);
        // Written so that a NaN fails.
        assert!(apart <= INT8_APART_MAX, "{}: {apart} from the processor's", fixture.name);
    }
}

/// Where a value stands on the boundary between two integers, the last bit of a norm or an exponential moves it by a whole
/// step, and over 32 columns a step shows; ONNX Runtime's int8 is ten times as far from its fp32.
const INT8_APART_MAX: f64 = 0.01;

fn values(logits: &Logits) -> impl Iterator<Item = f32> + '_ {
    (0..logits.rows()).flat_map(|row| logits.row(row).iter().copied())
}

/// More tokens than a pass takes are run in turn, and their answers are those of the processor, row for row.
#[test]
fn batches_that_do_not_fit_a_pass_are_run_in_turn() {
    let Some(gpu) = open_gpu() else { return };
    let network = Network::import(Fixture::all()[1].onnx(), 4).unwrap();
    let rows = network.embedding_rows().unwrap() as u32;
    // 8,707 tokens, where a pass takes 8,192.
    let sequences: Vec<Vec<u32>> =
        (0..50).map(|row| (0..(row * 37 % 356 + 1)).map(|token| (token * 7 + row) % rows).collect()).collect();
    let batch = Batch::pack(&sequences).unwrap();
    assert!(batch.tokens() > 8192, "{}", batch.tokens());
    let ours = engine(&gpu, network.clone()).forward(&batch).unwrap();
    let theirs = CpuEngine::new(network, Precision::Fp32, 1).unwrap().forward(&batch).unwrap();
    for row in 0..batch.rows() {
        assert_close(&format!("row {row}"), ours.row(row), theirs.row(row), FP32_TOLERANCE);
    }
}

/// What cannot be run is refused before anything is, and the engine goes on.
#[test]
fn sequences_that_are_too_long_are_refused() {
    let Some(gpu) = open_gpu() else { return };
    for fixture in Fixture::all() {
        let mut engine = engine(&gpu, Network::import(fixture.onnx(), 4).unwrap());
        let error = engine.forward(&Batch::pack(&[vec![1; 3], vec![1; 9000]]).unwrap()).unwrap_err();
        match (fixture.name, &error) {
            ("tiny-bert", EngineError::Positions { tokens: 9000, .. }) => {}
            ("tiny-deberta", EngineError::Run(text)) if text.contains("9000 tokens") => {}
            _ => panic!("{}: {error}", fixture.name),
        }
        engine.forward(&Batch::pack(&[vec![1; 3]]).unwrap()).unwrap();
    }
}
