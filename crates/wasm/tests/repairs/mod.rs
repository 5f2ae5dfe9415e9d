//! Repairs, answers and texts of the shipped models: `repairs.json` has what came of each natively, and the npm package's tests compare.

use grice_core::{Ask, News, Told, Workshop, WorkshopOptions};
use grice_testkit::fixtures::{fixtures_folder, read};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// `crates/testkit/fixtures/repairs.json`. Names are in the file's order in both maps.
#[derive(Deserialize, Serialize)]
struct Repairs {
    /// Name → what is asked.
    asks: Map<String, Value>,
    /// Name → the last news, without times, and the texts of all drafts.
    ends: Map<String, Value>,
}

#[test]
fn native_repairs_are_the_committed_ones() {
    let file = fixtures_folder().join("repairs.json");
    let mut committed: Repairs = serde_json::from_slice(&read(&file)).unwrap();
    let mut workshop = Workshop::new(WorkshopOptions::default());
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let detector = ["grice.json", "config.json", "tokenizer.json", "onnx/model_int8.grice"];
    workshop.load_detector(tar_of(&models.join("detector-mini"), &detector)).unwrap();
    let writer = ["grice.json", "config.json", "generation_config.json", "tokenizer.json", "model.safetensors"];
    workshop.load_writer(tar_of(&models.join("repair-mini"), &writer)).unwrap();
    let ends: Map<String, Value> = committed
        .asks
        .iter()
        .map(|(name, ask)| (name.clone(), end_of(&mut workshop, serde_json::from_value(ask.clone()).unwrap())))
        .collect();
    if std::env::var_os("GRICE_BLESS").is_some() {
        committed.ends = ends.clone();
        std::fs::write(&file, serde_json::to_string_pretty(&committed).unwrap() + "\n").unwrap();
    }
    for (name, found) in &ends {
        assert_eq!(without_probabilities(found), without_probabilities(&committed.ends[name]), "{name}");
    }
    let outcomes = ends.values().filter_map(|end| end.get("repaired"));
    let changed = outcomes.filter(|end| end["trace"].as_array().unwrap().iter().any(|step| step["taken"] == true));
    assert!(changed.count() >= 3, "repairs that are taken must be among them");
}

fn end_of(workshop: &mut Workshop, ask: Ask) -> Value {
    workshop.push(ask, Duration::ZERO).unwrap();
    let mut drafts: Vec<String> = Vec::new();
    loop {
        assert!(workshop.step(&|| Duration::ZERO).unwrap(), "it ended without an end");
        for Told { news, .. } in workshop.told() {
            match &news {
                News::Draft(_) => drafts.push(String::new()),
                News::Piece(piece) => match drafts.last_mut() {
                    Some(draft) => draft.push_str(piece),
                    None => drafts.push(piece.clone()),
                },
                News::Step(_) => {}
                News::Repaired(_) | News::Text(_) => {
                    let mut end = serde_json::to_value(&news).unwrap();
                    end["drafts"] = json!(drafts);
                    return end;
                }
                News::Failed(fault) => panic!("{fault:?}"),
            }
        }
    }
}

/// Without what may differ in the last bits between instruction sets.
fn without_probabilities(end: &Value) -> Value {
    match end {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "probabilities");
            kept.map(|(name, value)| (name.clone(), without_probabilities(value))).collect()
        }
        Value::Array(values) => values.iter().map(without_probabilities).collect(),
        other => other.clone(),
    }
}

fn tar_of(folder: &Path, files: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    files.iter().for_each(|file| builder.append_path_with_name(folder.join(file), file).unwrap());
    builder.into_inner().unwrap()
}
