//! An architecture that no engine has heard of runs by its program alone.
#![allow(clippy::unwrap_used)]

use grice_cpu::CpuPlan;
use grice_kernels::Isa;
use grice_model::{Batch, Engine, EngineError, Logits, Precision, Program, ProgramOrigin};
use grice_testkit::mixture::{LABELS, TOKENS_MAX, logits, program, sequence};
use grice_testkit::{FP32_TOLERANCE, INT8_TOLERANCE, assert_close};

const LENGTHS: [usize; 11] = [1, 2, 6, 11, 12, 31, 32, 33, 64, 129, 200];

fn run(precision: Precision, isa: Isa, threads: usize, sequences: &[Vec<u32>]) -> Logits {
    let program = program().to_precision(precision).unwrap();
    let plan = CpuPlan::of(program, LABELS, precision, isa).unwrap();
    plan.engine(threads).unwrap().forward(&Batch::pack(sequences).unwrap()).unwrap()
}

/// Each sequence alone and in a batch, on every instruction set, against the plain pass.
fn check(precision: Precision, tolerance: f32) {
    let sequences: Vec<Vec<u32>> = LENGTHS.map(sequence).into();
    let program = program().to_precision(precision).unwrap();
    let expected: Vec<Vec<f32>> = sequences.iter().map(|ids| logits(&program, ids)).collect();
    for isa in Isa::available() {
        let together = run(precision, isa, 2, &sequences);
        for (row, (ids, expected)) in sequences.iter().zip(&expected).enumerate() {
            let what = format!("{precision} on {}, {} tokens", isa.name(), ids.len());
            let alone = run(precision, isa, 1, std::slice::from_ref(ids));
            assert_close(&what, alone.row(0), expected, tolerance);
            assert_close(&format!("{what}, in a batch"), together.row(row), expected, tolerance);
            if precision == Precision::Int8 {
                assert_eq!(together.row(row), alone.row(0), "{what}: in a batch");
            }
        }
    }
}

#[test]
fn meets_the_plain_pass() {
    check(Precision::Fp32, FP32_TOLERANCE);
}

#[test]
fn meets_the_plain_pass_in_int8() {
    check(Precision::Int8, INT8_TOLERANCE);
}

/// Where activations become bytes, all instruction sets have the same bits.
#[test]
fn int8_has_the_same_bits_everywhere() {
    let sequences: Vec<Vec<u32>> = LENGTHS.map(sequence).into();
    let expected = run(Precision::Int8, Isa::scalar(), 1, &sequences);
    for isa in Isa::available() {
        let found = run(Precision::Int8, isa, 2, &sequences);
        for row in 0..sequences.len() {
            let bits = |logits: &Logits| logits.row(row).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{}, row {row}", isa.name());
        }
    }
}

/// A program out of a file computes the same to the last bit.
#[test]
fn a_stored_program_has_the_same_bits() {
    let sequences: Vec<Vec<u32>> = LENGTHS.map(sequence).into();
    let origin = |precision| ProgramOrigin { digest: String::new(), precision, labels: LABELS, compared_up_to: None };
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let stored = program().to_precision(precision).unwrap();
        let file = stored.store(origin(precision)).unwrap().to_vec();
        let (program, _) = Program::restore(&file.as_slice(), true).unwrap();
        let plan = CpuPlan::of(program, LABELS, precision, Isa::best()).unwrap();
        let found = plan.engine(2).unwrap().forward(&Batch::pack(&sequences).unwrap()).unwrap();
        let expected = run(precision, Isa::best(), 2, &sequences);
        for row in 0..sequences.len() {
            let bits = |logits: &Logits| logits.row(row).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{precision}, row {row}");
        }
    }
}

#[test]
fn a_sequence_beyond_the_angles_is_refused() {
    let mut engine = CpuPlan::of(program(), LABELS, Precision::Fp32, Isa::best()).unwrap().engine(1).unwrap();
    let mut forward = |tokens| engine.forward(&Batch::pack(&[sequence(tokens)]).unwrap());
    assert!(forward(TOKENS_MAX).is_ok());
    let refused = forward(TOKENS_MAX + 1);
    assert!(matches!(refused, Err(EngineError::Positions { tokens: 241, positions: 240 })), "{refused:?}");
}

/// What the layers are must matter: without a window, turning or the gate the answer is another.
#[test]
fn every_part_changes_the_answer() {
    use grice_model::{Body, ScorePositions, Sees};
    let ids = sequence(60);
    let whole = logits(&program(), &ids);
    let changes: [fn(&mut Body); 4] = [
        |body| {
            if let Body::Attention(attention) = body {
                attention.scores.sees = Sees::All
            }
        },
        |body| {
            if let Body::Attention(attention) = body {
                attention.scores.positions = ScorePositions::None
            }
        },
        |body| {
            if let Body::FeedForward(layer) = body {
                layer.gate = None
            }
        },
        |body| {
            if let Body::Attention(attention) = body {
                attention.scores.sees = Sees::Window(4)
            }
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = program();
        other.encoder.layers.iter_mut().flatten().for_each(|block| change(&mut block.body));
        let expected = logits(&other, &ids);
        let apart = whole.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 10.0 * FP32_TOLERANCE, "change {number} moves logits by {apart}");
        let plan = CpuPlan::of(other, LABELS, Precision::Fp32, Isa::best()).unwrap();
        let found = plan.engine(1).unwrap().forward(&Batch::pack(std::slice::from_ref(&ids)).unwrap()).unwrap();
        assert_close(&format!("change {number}"), found.row(0), &expected, FP32_TOLERANCE);
    }
}
