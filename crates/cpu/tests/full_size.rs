//! Full-size models with their own reference outputs, where somebody has them: `GRICE_FULL_SIZE=FOLDER` names a folder whose
//! subfolders hold `model.onnx` and `reference.json`, which `training/reference_json.py` makes of a `reference.npz`.
#![allow(clippy::unwrap_used)]

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, Network, Precision};
use grice_testkit::fixtures::{Reference, references_at};
use grice_testkit::{FP32_TOLERANCE, assert_close};
use std::path::Path;

#[test]
fn full_size_models_match_their_references() {
    let Ok(folder) = std::env::var("GRICE_FULL_SIZE") else {
        println!("skipped: GRICE_FULL_SIZE is not set");
        return;
    };
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("reference.json").exists() {
            check(&folder);
            checked += 1;
        }
    }
    assert!(checked > 0, "GRICE_FULL_SIZE holds no folder with a reference.json");
}

fn check(folder: &Path) {
    let network = Network::import(std::fs::read(folder.join("model.onnx")).unwrap(), 4).unwrap();
    let mut engine = CpuEngine::new(network, Precision::Fp32, 2).unwrap();
    let references: Vec<Reference> = references_at(&folder.join("reference.json"));
    for case in &references {
        let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
        for row in 0..logits.rows() {
            let what = format!("{} row {row}", folder.display());
            assert_close(&what, logits.row(row), &case.logits_pytorch[row], FP32_TOLERANCE);
        }
    }
    println!("{}: {} batches match", folder.display(), references.len());
}
