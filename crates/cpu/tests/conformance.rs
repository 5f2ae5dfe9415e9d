//! The CPU engine passes the suite that every engine must pass, with one thread and with several.
#![allow(clippy::unwrap_used)]

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, Network, Precision};
use grice_testkit::fixtures::Fixture;
use grice_testkit::{FP32_TOLERANCE, assert_close, conformance};
use proptest::prelude::*;
use std::cell::RefCell;

#[test]
fn one_thread() {
    conformance::check_engine(|network| CpuEngine::new(network.clone(), Precision::Fp32, 1).unwrap());
}

#[test]
fn three_threads() {
    conformance::check_engine(|network| CpuEngine::new(network.clone(), Precision::Fp32, 3).unwrap());
}

#[test]
fn files_by_onnx_runtimes_quantizer() {
    conformance::check_onnxruntime_int8(|network| CpuEngine::new(network, Precision::Int8, 1).unwrap());
}

#[test]
fn no_thread_means_one() {
    let network = Network::import(Fixture::all()[0].onnx(), 4).unwrap();
    assert_eq!(CpuEngine::new(network.clone(), Precision::Fp32, 0).unwrap().info().threads, 1);
}

/// Batches of any lengths, on any number of threads, equal one sequence at a time.
#[test]
fn any_batch_equals_one_at_a_time() {
    for fixture in Fixture::all() {
        let network = Network::import(fixture.onnx(), 4).unwrap();
        let rows = network.embedding_rows().unwrap() as u32;
        let one = RefCell::new(CpuEngine::new(network.clone(), Precision::Fp32, 1).unwrap());
        let several: Vec<RefCell<CpuEngine>> = (1..4)
            .map(|threads| RefCell::new(CpuEngine::new(network.clone(), Precision::Fp32, threads).unwrap()))
            .collect();
        let sequence = prop::collection::vec(0..rows, 1..80);
        let inputs = (prop::collection::vec(sequence, 1..24), 0..several.len());
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
        let result = runner.run(&inputs, |(sequences, engine)| {
            let together = several[engine].borrow_mut().forward(&Batch::pack(&sequences).unwrap()).unwrap();
            for (row, sequence) in sequences.iter().enumerate() {
                let alone = one.borrow_mut().forward(&Batch::pack(&[sequence]).unwrap()).unwrap();
                assert_close(fixture.name, together.row(row), alone.row(0), FP32_TOLERANCE);
            }
            Ok(())
        });
        result.unwrap();
    }
}
