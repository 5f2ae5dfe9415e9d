//! The public Triton clients, unmodified: by HTTP and by gRPC.

use crate::started::{Started, settings, tiny};
use grice_core::{Bundle, Detector, Options, Turn};
use grice_testkit::fixtures::fixtures_folder;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that can run these imports.
pub(crate) fn python_with(imports: &str) -> Option<PathBuf> {
    grice_testkit::python::python_with(env!("CARGO_TARGET_TMPDIR"), imports)
}

#[test]
fn the_triton_client_gets_the_detectors_numbers() {
    let Some(python) = python_with("import tritonclient.http, tritonclient.grpc") else {
        return crate::started::skip("no python3 with tritonclient (pip install 'tritonclient[http,grpc]')");
    };
    let mut detector =
        Detector::load(&Bundle::open(fixtures_folder().join("tiny-bert")).unwrap(), &Options::default()).unwrap();
    let turns = [
        json!({ "context": "Did you like the film?", "evidence": "It came out in 2019.", "response": "Yes, it was long." }),
        json!({ "context": "", "evidence": "", "response": "Ünïcödé, 日本語 and \u{1F600}." }),
        json!({ "context": "Why?", "evidence": "FS1", "response": "Because." }),
    ];
    let labels = detector.manifest().labels.clone();
    let expected: Vec<Value> = turns
        .iter()
        .map(|turn| {
            let turn: Turn = serde_json::from_value(turn.clone()).unwrap();
            let ids = detector.encode(&turn).unwrap().ids;
            let verdict = detector.detect(&turn).unwrap();
            let probabilities: Vec<f32> = labels.iter().map(|&label| *verdict.probabilities.get(label)).collect();
            json!({ "turn": turn, "ids": ids, "probabilities": probabilities })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expected.json");
    std::fs::write(&file, json!(expected).to_string()).unwrap();
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.access.keys = vec!["the-only-key".to_owned()];
    settings.access.rate_per_minute = 0;
    let server = Started::new(settings);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/triton.py");
    let output = Command::new(python).arg(script).arg(server.address.to_string()).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("37 checks passed"), "{said}");
}
