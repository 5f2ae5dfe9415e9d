//! `grice repair` and `grice pipeline` on the real binary, with tiny models and with the built-in ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{Ran, bare, copy_folder, run};

const OWN: [&str; 5] = ["repaired", "is_fallback", "before", "after", "rounds"];

fn tiny() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures");
    copy_folder(&fixtures.join("generators/llama"), folder.path());
    std::fs::copy(fixtures.join("recipes.json"), folder.path().join("grice.json")).unwrap();
    folder
}

fn grice(model: &Path, command: &str, args: &[&str]) -> Ran {
    run(bare().arg("--model").arg(model).arg(command).args(args))
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_turn_as_text_and_as_json() {
    let model = tiny();
    let args = ["--context", "w20", "--response", "w30 w31", "--violations", "quantity"];
    let text = grice(model.path(), "repair", &args).expect(0).out;
    let json: Value =
        serde_json::from_str(&grice(model.path(), "repair", &[&args[..], &["--json"]].concat()).expect(0).out).unwrap();
    assert_eq!(text.trim_end(), json["repaired"].as_str().unwrap());
    assert!(OWN.iter().all(|field| json.get(field).is_some()) && json["trace"].is_array(), "{json}");
    assert!(json.get("generated").is_none());
    let fallback =
        ["--response", "w30 w31", "--rounds", "0", "--thresholds", "quantity=0,quality=0,relation=0,manner=0"];
    let ran = grice(model.path(), "repair", &fallback).expect(0);
    assert_eq!(ran.out.trim_end(), "w30 w31");
    assert!(ran.err.contains("note: no repair was good enough"), "{}", ran.err);
    let args = ["--context", "w20 w21", "--json"];
    let json: Value = serde_json::from_str(&grice(model.path(), "pipeline", &args).expect(0).out).unwrap();
    assert_eq!(json["trace"][0]["step"], "generate");
    assert!(json["generated"].is_string());
    let shown = grice(model.path(), "pipeline", &["--context", "w20 w21"]).expect(0).out;
    assert!(shown.starts_with("generate ") && shown.contains("detect "), "{shown}");
}

#[test]
fn a_file_keeps_its_fields_and_its_rows_order() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let rows: Vec<Value> = (0..70)
        .map(|row| match row % 7 {
            3 => json!({ "id": row, "context": 5, "response": "w30" }),
            4 => json!({ "id": row, "response": "w30 w31", "violations": ["humour"] }),
            5 => json!({ "id": row, "response": format!("w{} w31", 30 + row), "violations": { "manner": true } }),
            _ => json!({ "id": row, "repaired": "old", "context": ["w20"], "response": format!("w{} w31", 20 + row) }),
        })
        .collect();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    std::fs::write(&input, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let of_files = |extra: &[&str]| {
        let files = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
        grice(model.path(), "repair", &[&files[..], extra].concat())
    };
    let told = of_files(&["--batch-size", "16"]).expect(1).err;
    assert!(told.contains("20 of 70 rows could not be judged"), "{told}");
    assert!(told.contains("in.jsonl:5: `violations`: unknown maxim `humour`"), "{told}");
    let whole = std::fs::read_to_string(&output).unwrap();
    for (row, found) in rows.iter().zip(lines(&output)) {
        assert_eq!(row["id"], found["id"]);
        assert_eq!(row["response"], found["response"]);
        match found.get("error") {
            Some(_) => assert!([3, 4].contains(&(row["id"].as_u64().unwrap() % 7))),
            None => {
                assert!(OWN.iter().all(|field| found.get(field).is_some()) && found["repaired"] != "old", "{found}")
            }
        }
    }
    // Interrupted anywhere, and continued: the same bytes.
    for cut in [0, 1, whole.len() / 3, whole.len() - 1, whole.len()] {
        std::fs::write(&output, &whole.as_bytes()[..cut]).unwrap();
        of_files(&["--resume"]).expect(1);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), whole, "cut at {cut}");
    }
    // In parts: the same rows.
    let mut parts = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        of_files(&["--overwrite", "--shard", shard]);
        parts.push(lines(&output));
    }
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (row, found) in whole.iter().enumerate() {
        assert_eq!(&parts[row % 3][row / 3], found);
    }
    let told = of_files(&["--overwrite", "--strict"]).expect(1).err;
    assert!(told.contains("in.jsonl:4:") && told.contains("--strict"), "{told}");
}

#[test]
fn questions_of_a_file_get_answers() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let (input, output) = (folder.path().join("in.csv"), folder.path().join("out.jsonl"));
    std::fs::write(&input, "id,context\n1,w20 w21\n2,\n3,w22\n").unwrap();
    let files = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap(), "--json"];
    let told = grice(model.path(), "pipeline", &files).expect(1).err;
    assert!(told.contains("in.csv:3: `context` is empty"), "{told}");
    let found = lines(&output);
    assert!(found[0]["generated"].is_string() && found[0]["trace"].is_array());
    assert!(found[1]["error"].is_string() && found[2]["repaired"].is_string());
}

#[test]
fn what_is_wrong_is_told() {
    let model = tiny();
    let without = |args: &[&str]| grice(model.path(), "repair", args);
    assert!(without(&["--response", " "]).expect(1).err.contains("`response`"));
    assert!(without(&["--response", "w30", "--violations", "humour"]).expect(2).err.contains("`humour` is not one of"));
    assert!(without(&["--response", "w30", "--rounds", "many"]).expect(2).err.contains("a whole number from 0 to 100"));
    without(&["--response", "w30", "--output", "x.jsonl"]).expect(2);
    without(&[]).expect(2);
    let missing = grice(Path::new("no/such/folder"), "repair", &["--response", "w30"]).expect(1).err;
    assert!(missing.contains("no/such/folder: "), "{missing}");
    // A model that writes, but has no recipes.
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators/llama");
    let told = grice(&plain, "repair", &["--response", "w30"]).expect(2).err;
    assert!(told.contains("has no recipe") && told.contains("docs/bundle.md"), "{told}");
    let told = grice(model.path(), "detect", &["--response", "w30"]).expect(1).err;
    assert!(told.contains("a detector is needed here; see `grice repair --help`"), "{told}");
}

#[test]
fn of_a_corpus_the_nearest_responses_are_judged() {
    let (model, models) = (tiny(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    let (corpus, embedder) = (models.join("replies-mini"), models.join("embed-mini"));
    let (corpus, embedder) = (corpus.to_str().unwrap(), embedder.to_str().unwrap());
    let turn = [
        "--context",
        "[agent_1]: Did you see the new superhero movie?",
        "--response",
        "Bananas hold a lot of potassium.",
    ];
    let args = [&turn[..], &["--violations", "relation", "--rounds", "1", "--json", "--corpus", corpus]].concat();
    let told = grice(model.path(), "repair", &args).expect(2).err;
    assert!(told.contains("--embedder"), "{told}");
    let args = [&args[..], &["--embedder", embedder]].concat();
    let outcome: Value = serde_json::from_str(&grice(model.path(), "repair", &args).expect(0).out).unwrap();
    let texts = std::fs::read_to_string(models.join("replies-mini/texts.jsonl")).unwrap();
    let known: std::collections::HashSet<String> = texts
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    let judged = outcome["trace"].as_array().unwrap();
    assert_eq!(judged.len(), 6, "the response and five of the corpus: {outcome}");
    assert!(judged[1..].iter().all(|step| known.contains(step["text"].as_str().unwrap())), "{outcome}");
    if outcome["is_fallback"] == false {
        assert!(known.contains(outcome["repaired"].as_str().unwrap()));
        assert!(outcome["after"]["relation"].as_f64() < outcome["before"]["relation"].as_f64(), "{outcome}");
    }
    // Nothing is near enough, so the response stays.
    let far = [&args[..], &["--min-similarity", "0.999"]].concat();
    let outcome: Value = serde_json::from_str(&grice(model.path(), "repair", &far).expect(0).out).unwrap();
    assert_eq!(outcome["trace"][0]["step"], "retrieve", "{outcome}");
    assert_eq!((&outcome["is_fallback"], &outcome["trace"][1]["step"]), (&json!(true), &json!("detect")), "{outcome}");
}
