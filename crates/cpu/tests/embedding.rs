//! Models that embed texts, against sentence-transformers, and against themselves in other batches.
#![allow(clippy::unwrap_used)]

use grice_cpu::{CpuEngine, CpuPlan};
use grice_kernels::Isa;
use grice_model::{Batch, Engine, EngineError, Network, Pooling, Precision, Program, Readout};
use grice_testkit::embedders::{EMBEDDERS, EmbedderCase, cosine, reference, sentence_model};
use grice_testkit::{assert_close, mixture};

/// Sums in another order; vectors have numbers up to 3, and the file six decimals.
const TOLERANCE: f32 = 3e-5;
/// Weights and activations are rounded to one of 255 steps, and over 24 columns such errors hardly average out.
const INT8_COSINE: f32 = 0.99;

fn network(name: &str, precision: Option<Precision>) -> Network {
    let program = sentence_model(name).program;
    let columns = program.hidden();
    let network = Network::of(program, columns);
    precision.map_or(network.clone(), |precision| network.to_precision(precision).unwrap())
}

fn engine(network: Network, isa: Isa, threads: usize) -> CpuEngine {
    let precision = network.precision();
    CpuPlan::with_isa(network, precision, isa).unwrap().engine(threads).unwrap()
}

fn vectors(engine: &mut CpuEngine, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let logits = engine.forward(&Batch::pack(sequences).unwrap()).unwrap();
    (0..logits.rows()).map(|row| logits.row(row).to_vec()).collect()
}

fn ids(cases: &[EmbedderCase]) -> Vec<Vec<u32>> {
    cases.iter().map(|case| case.ids.clone()).collect()
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    for name in EMBEDDERS {
        let cases = reference(name).cases;
        for isa in Isa::available() {
            let found = vectors(&mut engine(network(name, None), isa, 2), &ids(&cases));
            for (case, found) in cases.iter().zip(&found) {
                let what = format!("{name}, {} tokens, {}", case.ids.len(), isa.name());
                assert_close(&what, found, &case.vector, TOLERANCE);
            }
        }
    }
}

#[test]
fn in_8_bits_vectors_are_close_and_the_same_everywhere() {
    for name in EMBEDDERS {
        let cases = reference(name).cases;
        let mut known = None;
        for isa in Isa::available() {
            for threads in [1, 3] {
                let found = vectors(&mut engine(network(name, Some(Precision::Int8)), isa, threads), &ids(&cases));
                for (case, found) in cases.iter().zip(&found) {
                    let cosine = cosine(&case.vector, found);
                    assert!(cosine > INT8_COSINE, "{name}, {} tokens: {cosine}", case.ids.len());
                }
                let found: Vec<Vec<u32>> = found.iter().map(|vector| bits(vector)).collect();
                assert_eq!(known.get_or_insert_with(|| found.clone()), &found, "{name}, {}", isa.name());
            }
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_its_neighbours() {
    for name in EMBEDDERS {
        for precision in [None, Some(Precision::Int8)] {
            let mut engine = engine(network(name, precision), Isa::best(), 2);
            let mut sequences = ids(&reference(name).cases);
            let together = vectors(&mut engine, &sequences);
            for (sequence, expected) in sequences.iter().zip(&together) {
                let alone = vectors(&mut engine, std::slice::from_ref(sequence));
                assert_close(&format!("{name}, {} tokens alone", sequence.len()), &alone[0], expected, TOLERANCE);
                if precision.is_some() {
                    assert_eq!(bits(&alone[0]), bits(expected), "{name}, {} tokens alone", sequence.len());
                }
            }
            sequences.reverse();
            let reversed = vectors(&mut engine, &sequences);
            for (found, expected) in reversed.iter().rev().zip(&together) {
                assert_close(&format!("{name}, reversed"), found, expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn normalised_vectors_have_the_length_1() {
    for (name, is_normalised) in EMBEDDERS.into_iter().zip([true, true, false, false]) {
        let found = vectors(&mut engine(network(name, None), Isa::best(), 1), &ids(&reference(name).cases));
        let lengths = found.iter().map(|vector| vector.iter().map(|x| x * x).sum::<f32>().sqrt());
        assert!(lengths.into_iter().all(|length| ((length - 1.0).abs() < 1e-5) == is_normalised), "{name}");
    }
}

/// Pre-norm layers, a last norm, and everything else that a program can say.
#[test]
fn all_kinds_of_programs_can_be_pooled() {
    for pooling in [Pooling::Mean, Pooling::Cls] {
        for normalised in [false, true] {
            let program = Program { readout: Readout::Pooled { pooling, normalised }, ..mixture::program() };
            let sequences: Vec<Vec<u32>> = [1, 2, 33, mixture::TOKENS_MAX].map(mixture::sequence).into();
            let expected: Vec<Vec<f32>> = sequences.iter().map(|ids| mixture::logits(&program, ids)).collect();
            let columns = program.hidden();
            let (steps, _) = program.clone().into_steps(columns);
            steps.check().unwrap();
            let mut engine = engine(Network::of(program, columns), Isa::best(), 2);
            for (found, expected) in vectors(&mut engine, &sequences).iter().zip(&expected) {
                let largest = expected.iter().fold(1f32, |largest, x| largest.max(x.abs()));
                assert_close(&format!("{pooling:?}, {normalised}"), found, expected, 1e-4 * largest);
            }
        }
    }
}

#[test]
fn sequences_that_are_too_long_are_refused() {
    for name in EMBEDDERS {
        let longest = network(name, None).longest().unwrap();
        let mut engine = engine(network(name, None), Isa::best(), 1);
        assert!(engine.forward(&Batch::pack(&[vec![5; longest]]).unwrap()).is_ok(), "{name}");
        let refused = engine.forward(&Batch::pack(&[vec![5; longest + 1]]).unwrap());
        assert!(matches!(refused, Err(EngineError::Positions { .. })), "{name}");
    }
}
