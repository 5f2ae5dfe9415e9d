//! Full-size models with their own reference outputs, where somebody has them: `GRICE_FULL_SIZE=FOLDER` as for the processor's
//! engine. A software adapter takes minutes over what a GPU does in milliseconds, so it runs each model's smallest batch only.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::{engine, open_gpu};
use grice_gpu::Gpu;
use grice_model::{Batch, Engine, Network, Precision};
use grice_testkit::fixtures::{Reference, references_at};
use grice_testkit::{FP16_TOLERANCE, assert_close};
use std::path::Path;

/// fp32 over twelve layers of sums in another order.
const FP32_TOLERANCE: f32 = 1e-3;

#[test]
fn full_size_models_match_their_references() {
    let Ok(folder) = std::env::var("GRICE_FULL_SIZE") else {
        println!("skipped: GRICE_FULL_SIZE is not set");
        return;
    };
    let Some(gpu) = open_gpu() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("reference.json").exists() {
            check(&gpu, &folder, Precision::Fp32, FP32_TOLERANCE);
            check(&gpu, &folder, Precision::Fp16, FP16_TOLERANCE);
            checked += 1;
        }
    }
    assert!(checked > 0, "GRICE_FULL_SIZE holds no folder with a reference.json");
}

fn check(gpu: &Gpu, folder: &Path, precision: Precision, tolerance: f32) {
    let network = Network::import(std::fs::read(folder.join("model.onnx")).unwrap(), 4).unwrap();
    let mut engine = engine(gpu, network.to_precision(precision).unwrap());
    let mut references: Vec<Reference> = references_at(&folder.join("reference.json"));
    references.sort_by_key(|case| case.sequences().iter().map(Vec::len).sum::<usize>());
    if gpu.adapter().is_software() {
        references.truncate(1);
    }
    for case in &references {
        let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
        for row in 0..logits.rows() {
            let what = format!("{} in {precision}, row {row}", folder.display());
            assert_close(&what, logits.row(row), &case.logits_pytorch[row], tolerance);
        }
    }
    let megabytes = engine.memory() as f64 / 1e6;
    println!("{} in {precision}: {} batches match; {megabytes:.0} MB", folder.display(), references.len());
}
