//! An architecture that no engine has heard of runs by its program alone.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::open_gpu;
use grice_gpu::GpuPlan;
use grice_model::{Batch, Engine, EngineError, Precision};
use grice_testkit::mixture::{LABELS, TOKENS_MAX, logits, program, sequence};
use grice_testkit::{FP16_TOLERANCE, FP32_TOLERANCE, assert_close};

/// Each sequence alone and in a batch, against the plain pass over the program in single precision.
fn check(precision: Precision, tolerance: f32) {
    let Some(gpu) = open_gpu() else { return };
    let plan = GpuPlan::new(&gpu, program().to_precision(precision).unwrap(), LABELS);
    let mut engine = pollster::block_on(plan).unwrap().engine().unwrap();
    let sequences: Vec<Vec<u32>> = [1, 2, 11, 32, 33, 64, 129, 200].map(sequence).into();
    let together = engine.forward(&Batch::pack(&sequences).unwrap()).unwrap();
    for (row, ids) in sequences.iter().enumerate() {
        let (what, expected) = (format!("{precision}, {} tokens", ids.len()), logits(&program(), ids));
        let alone = engine.forward(&Batch::pack(std::slice::from_ref(ids)).unwrap()).unwrap();
        assert_close(&what, alone.row(0), &expected, tolerance);
        assert_close(&format!("{what}, in a batch"), together.row(row), &expected, tolerance);
    }
    let refused = engine.forward(&Batch::pack(&[sequence(TOKENS_MAX + 1)]).unwrap());
    assert!(matches!(refused, Err(EngineError::Positions { tokens: 241, positions: 240 })), "{refused:?}");
}

#[test]
fn meets_the_plain_pass() {
    check(Precision::Fp32, FP32_TOLERANCE);
}

#[test]
fn meets_the_plain_pass_in_half_precision() {
    check(Precision::Fp16, FP16_TOLERANCE);
}
