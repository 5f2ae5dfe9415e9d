//! Int8 models give the same logits, to the bit, on every instruction set that this processor has, for any number of threads and in any
//! company; that is what lets a browser's verdict be the one of this machine.
#![allow(clippy::unwrap_used)]

use grice_cpu::CpuPlan;
use grice_kernels::Isa;
use grice_model::{Batch, Engine, Network, Precision};
use grice_testkit::fixtures::{Fixture, QuantizedByOnnxRuntime, read};
use std::path::Path;

/// Lengths that fill no block of any kernel, and one beyond DeBERTa's nearest buckets.
const LENGTHS: [usize; 7] = [1, 3, 17, 64, 33, 130, 8];

#[test]
fn tiny_files_give_the_same_bits() {
    for fixture in Fixture::graphs().into_iter().filter(|fixture| fixture.name.contains("int8")) {
        check(fixture.name, &fixture.onnx());
    }
    for fixture in QuantizedByOnnxRuntime::all() {
        check(&fixture.name, &fixture.onnx());
    }
}

#[test]
fn the_embedded_model_gives_the_same_bits() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini/onnx/model_int8.onnx");
    check("detector-mini", &read(&file));
}

fn check(name: &str, onnx: &[u8]) {
    let network = Network::import(onnx, 4).unwrap();
    assert!(network.program().is_ok(), "{name}: {:?}", network.program().err());
    let rows = network.embedding_rows().unwrap();
    let ids = |row: usize, length: usize| (0..length).map(move |at| ((row * 31 + at * 7919) % rows) as u32).collect();
    let sequences: Vec<Vec<u32>> = LENGTHS.iter().enumerate().map(|(row, &length)| ids(row, length)).collect();
    let run = |isa: Isa, threads: usize, sequences: &[Vec<u32>]| -> Vec<u32> {
        let plan = CpuPlan::with_isa(network.clone(), Precision::Int8, isa).unwrap();
        let mut engine = plan.engine(threads).unwrap();
        assert_eq!(engine.info().kernels, isa.name(), "{name}");
        let logits = engine.forward(&Batch::pack(sequences).unwrap()).unwrap();
        (0..logits.rows()).flat_map(|row| logits.row(row).iter().map(|x| x.to_bits())).collect()
    };
    let expected = run(Isa::scalar(), 1, &sequences);
    for isa in Isa::available() {
        for threads in [1, 3] {
            assert_eq!(run(isa, threads, &sequences), expected, "{name}: {} on {threads} threads", isa.name());
        }
    }
    for (sequence, expected) in sequences.chunks(1).zip(expected.chunks(4)) {
        assert_eq!(run(Isa::best(), 1, sequence), expected, "{name}: {} tokens alone", sequence[0].len());
    }
}
