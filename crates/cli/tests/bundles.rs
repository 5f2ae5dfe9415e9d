//! Broken bundles: exit status 1, the cause named, no panic on the screen.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::{bare, run, tiny_bert};
use tempfile::TempDir;

const ONNX: &str = "onnx/model.onnx";

/// A copy of the fixture bundle, its digests taken out so that other faults are reached.
fn copied() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("onnx")).unwrap();
    for name in ["grice.json", "config.json", "tokenizer.json", ONNX] {
        fs::copy(tiny_bert().join(name), folder.path().join(name)).unwrap();
    }
    change_manifest(folder.path(), |manifest| manifest["digests"] = json!({}));
    folder
}

fn change_manifest(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("grice.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

#[track_caller]
fn check_refused(model: &Path, causes: &[&str]) {
    for command in [&["detect", "--response", "Yes."] as &[&str], &["inspect"], &["doctor"]] {
        let ran = run(bare().arg("--model").arg(model).args(command)).expect(1);
        let said = ran.err + &ran.out;
        for cause in causes {
            assert!(said.contains(cause), "{command:?}: `{cause}` is not in {said}");
        }
    }
}

#[track_caller]
fn check_changed(change: impl FnOnce(&Path), causes: &[&str]) {
    let folder = copied();
    change(folder.path());
    check_refused(folder.path(), causes);
}

#[track_caller]
fn check_onnx(name: &str, causes: &[&str]) {
    let onnx = tiny_bert().join("../broken").join(name);
    check_changed(|folder| _ = fs::copy(onnx, folder.join(ONNX)).unwrap(), causes);
}

#[test]
fn the_copy_itself_works() {
    let folder = copied();
    run(bare().arg("--model").arg(folder.path()).args(["detect", "--response", "Yes."])).expect(0);
}

#[test]
fn broken_graphs_are_refused() {
    let onnx = fs::read(tiny_bert().join(ONNX)).unwrap();
    for share in [0, 1, 10, 50, 90, 99] {
        let part = &onnx[..onnx.len() * share / 100];
        check_changed(|folder| fs::write(folder.join(ONNX), part).unwrap(), &[ONNX]);
    }
    check_changed(|folder| fs::write(folder.join(ONNX), &onnx[..onnx.len() / 2]).unwrap(), &["truncated"]);
    check_onnx("other_task.onnx", &[ONNX, "another task"]);
    check_onnx("unsupported_op.onnx", &[ONNX, "operators that grice cannot run"]);
    check_onnx("vocab_too_small.onnx", &["embedding has only"]);
    check_onnx("wrong_labels.onnx", &[ONNX, "4 labels"]);
}

#[test]
fn broken_manifests_are_refused() {
    check_changed(|folder| fs::write(folder.join("grice.json"), "{").unwrap(), &["grice.json"]);
    let change =
        |change: fn(&mut Value), causes: &[&str]| check_changed(|folder| change_manifest(folder, change), causes);
    change(|manifest| manifest["task"] = json!("repair"), &["grice.json", "repair"]);
    change(|manifest| manifest["labels"] = json!(["manner"]), &["grice.json", "`labels`"]);
    change(|manifest| manifest["temperatures"]["manner"] = json!(0), &["`temperatures`", "manner"]);
    change(|manifest| manifest["template"] = json!("{context}"), &["`template`", "{response}"]);
    change(|manifest| manifest["models"]["fp32"] = json!("../x.onnx"), &["`models`", "../x.onnx"]);
    change(|manifest| manifest["max_tokens"] = json!(4096), &["max_tokens"]);
    change(|manifest| manifest["digests"][ONNX] = json!("sha256:00"), &[ONNX, "digest"]);
}

#[test]
fn missing_and_foreign_files_are_named() {
    for name in ["grice.json", "config.json", "tokenizer.json", ONNX] {
        check_changed(|folder| fs::remove_file(folder.join(name)).unwrap(), &[name]);
    }
    check_changed(|folder| fs::write(folder.join("tokenizer.json"), "{}").unwrap(), &["tokenizer.json"]);
    check_refused(Path::new("/no/such/bundle"), &["/no/such/bundle"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [7; 5000]).unwrap();
    check_refused(file.path(), &[file.path().to_str().unwrap(), ".tar"]);
}

#[test]
fn a_precision_that_is_not_there_is_refused_with_those_that_are() {
    let ran = run(bare().arg("--model").arg(tiny_bert()).args(["detect", "--response", "a", "--precision", "int8"]));
    assert!(ran.expect(1).err.contains("no int8 model; it has: fp32"));
}

#[test]
fn a_proof_is_written_for_the_file_that_was_compared_and_for_no_other() {
    let folder = copied();
    let inspect = |more: &[&str]| {
        let ran = run(bare().arg("--model").arg(folder.path()).args(["inspect", "--json"]).args(more)).expect(0);
        serde_json::from_str::<Value>(&ran.out).unwrap()
    };
    let manifest = || serde_json::from_slice::<Value>(&fs::read(folder.path().join("grice.json")).unwrap()).unwrap();
    let longest = inspect(&["--prove"])["graph"]["compared_up_to"].clone();
    let proof = manifest()["fused"][ONNX].clone();
    assert_eq!(proof["up_to"], longest);
    assert_eq!(proof["digest"], grice_core::file_digest(&fs::read(folder.path().join(ONNX)).unwrap()));
    assert!(proof["pieces"].as_array().is_some_and(|pieces| pieces.len() >= 4), "{proof}");
    // What is said of another file is not believed: it is compared at load, and works all the same.
    change_manifest(folder.path(), |manifest| manifest["fused"][ONNX]["digest"] = json!("sha256:00"));
    assert_eq!(inspect(&[])["graph"]["compared_up_to"], longest);
    inspect(&["--prove"]);
    assert_eq!(manifest()["fused"][ONNX], proof);
}

#[test]
fn a_proof_needs_a_folder_to_be_written_into() {
    let ran = run(bare().args(["inspect", "--prove", "--model"]).arg(tiny_bert().join("grice.json"))).expect(2);
    assert!(ran.err.contains("--prove writes into a bundle's grice.json"), "{}", ran.err);
}
