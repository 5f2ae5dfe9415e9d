//! `quantize`: what it writes, what it says of it, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, bare, good_rows, run, tiny_bert};
use tempfile::TempDir;

/// A folder to work in, with rows in it.
fn work() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.jsonl"), good_rows(40)).unwrap();
    folder
}

fn quantize(model: &Path, work: &TempDir, args: &[&str]) -> Ran {
    run(bare().current_dir(work.path()).arg("quantize").arg("--model").arg(model).args(args))
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("grice.json")).unwrap()).unwrap()
}

fn copied(work: &TempDir) -> PathBuf {
    let folder = work.path().join("bundle");
    fs::create_dir_all(folder.join("onnx")).unwrap();
    for name in ["grice.json", "config.json", "tokenizer.json", "onnx/model.onnx"] {
        fs::copy(tiny_bert().join(name), folder.join(name)).unwrap();
    }
    folder
}

#[track_caller]
fn check_refused(model: &Path, args: &[&str], code: i32, words: &[&str]) {
    let work = work();
    let ran = quantize(model, &work, args).expect(code);
    for word in words {
        assert!(ran.err.contains(word), "`{word}` is not in {}", ran.err);
    }
    let left: Vec<_> = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["rows.jsonl"], "something was written");
}

/// Each mode gives a bundle that every other command takes, beside the fp32 model.
#[test]
fn a_bundle_gets_another_precision() {
    for (mode, precision) in [("dynamic", "int8"), ("static", "int8"), ("fp16", "fp16")] {
        let work = work();
        let args = ["--mode", mode, "--calibration", "rows.jsonl", "--floor", "0.8", "--output", "out"];
        let ran = quantize(&tiny_bert(), &work, &args).expect(0);
        assert!(ran.out.contains("reaches the floor of 0.8") && ran.out.is_ascii(), "{}", ran.out);
        let out = work.path().join("out");
        let path = format!("onnx/model_{precision}.onnx");
        let written = manifest(&out);
        assert_eq!(written["models"], json!({ "fp32": "onnx/model.onnx", precision: path }));
        let old = manifest(&tiny_bert());
        for field in ["name", "labels", "template", "temperatures", "thresholds"] {
            assert_eq!(written[field], old[field]);
        }
        let quality = &written["quality"][precision];
        assert_eq!((&quality["mode"], &quality["passed"]), (&json!(mode), &json!(true)));
        assert_eq!((&quality["judged_by"], &quality["rows"]), (&json!("calibration"), &json!(40)));
        assert_eq!(quality.get("calibration").is_some(), mode == "static");
        assert!(
            fs::metadata(out.join(&path)).unwrap().len() < fs::metadata(out.join("onnx/model.onnx")).unwrap().len()
        );
        // Digests are checked when it is opened.
        let rows = fs::read(work.path().join("rows.jsonl")).unwrap();
        let mut detect = bare();
        detect.arg("--model").arg(&out).args(["detect", "--input", "-", "--precision", precision]);
        let verdicts = support::run_with_stdin(&mut detect, &rows).expect(0).rows();
        assert_eq!(verdicts.len(), 40);
        run(bare().arg("--model").arg(&out).args(["inspect", "--precision", precision])).expect(0);
    }
}

#[test]
fn the_report_is_json_on_request() {
    let work = work();
    let args = ["--mode", "static", "--calibration", "rows.jsonl", "--samples", "10", "--method", "percentile"];
    let more = ["--data", "rows.jsonl", "--floor", "0.5", "--json", "--output", "out"];
    let ran = quantize(&tiny_bert(), &work, &[&args[..], &more].concat()).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["calibration"], json!({ "method": "percentile", "samples": 10 }));
    assert_eq!((&report["judged_by"], &report["rows"]), (&json!("data"), &json!(40)));
    assert!(report["score"]["mean_kl"].as_f64().unwrap() < 0.1);
    assert_eq!(report, manifest(&work.path().join("out"))["quality"]["int8"]);
}

/// Ranges from one token are far too narrow, and the judgement shows it.
#[test]
fn a_static_model_is_judged_with_its_ranges() {
    let work = work();
    fs::write(work.path().join("one.jsonl"), "{\"input_ids\":[7]}\n").unwrap();
    let kl = |calibration: &str, output: &str| {
        let args = ["--mode", "static", "--calibration", calibration, "--data", "rows.jsonl", "--json", "--floor", "0"];
        let ran = quantize(&tiny_bert(), &work, &[&args[..], &["--output", output]].concat()).expect(0);
        serde_json::from_str::<Value>(&ran.out).unwrap()["score"]["mean_kl"].as_f64().unwrap()
    };
    let (narrow, fitting) = (kl("one.jsonl", "a"), kl("rows.jsonl", "b"));
    assert!(narrow > 3.0 * fitting, "{narrow} with ranges of one token, {fitting} with those of all rows");
}

#[test]
fn labelled_rows_are_judged_by_macro_f1() {
    let work = work();
    let rows = good_rows(40);
    let labelled = rows.lines().enumerate().map(|(number, line)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let bit = |every: usize| u8::from(number % every == 0);
        row["labels"] = json!({ "quantity": bit(2), "quality": bit(3), "relation": bit(4), "manner": bit(5) });
        row.to_string() + "\n"
    });
    let labelled: String = labelled.collect();
    fs::write(work.path().join("labelled.jsonl"), &labelled).unwrap();
    let args = ["--mode", "dynamic", "--data", "labelled.jsonl", "--floor", "0.8", "--output", "out"];
    quantize(&tiny_bert(), &work, &args).expect(0);
    let out = work.path().join("out");
    let score = manifest(&out)["quality"]["int8"]["score"].clone();
    // What `eval` measures on the same rows, the labels in another order than the model's columns.
    for (precision, field) in [("fp32", "macro_f1_before"), ("int8", "macro_f1_after")] {
        let input = work.path().join("labelled.jsonl");
        let mut eval = bare();
        eval.arg("--model").arg(&out).args(["eval", "--json", "--precision", precision, "--input"]).arg(input);
        let report: Value = serde_json::from_str(&run(&mut eval).expect(0).out).unwrap();
        let (found, expected) = (score[field].as_f64().unwrap(), report["macro_f1"].as_f64().unwrap());
        assert!((found - expected).abs() < 1e-9, "{precision}: {found}, but eval says {expected}");
    }
    let kept = score["macro_f1_after"].as_f64().unwrap() / score["macro_f1_before"].as_f64().unwrap();
    assert!((score["kept"].as_f64().unwrap() - kept).abs() < 1e-9);
}

#[test]
fn a_bundle_can_be_extended_in_place() {
    let work = work();
    let bundle = copied(&work);
    fs::write(bundle.join("README.md"), "mine").unwrap();
    let args = ["--mode", "fp16", "--data", "rows.jsonl", "--output", "bundle"];
    quantize(&bundle, &work, &args).expect(0);
    assert_eq!(manifest(&bundle)["models"], json!({ "fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx" }));
    assert_eq!(fs::read_to_string(bundle.join("README.md")).unwrap(), "mine");
    let again = quantize(&bundle, &work, &args).expect(2);
    assert!(again.err.contains("already exists"), "{}", again.err);
    quantize(&bundle, &work, &[&args[..], &["--overwrite"]].concat()).expect(0);
    // The other precision is kept, and so is what was known of it.
    let args = ["--mode", "dynamic", "--data", "rows.jsonl", "--floor", "0.5", "--output", "bundle"];
    quantize(&bundle, &work, &args).expect(0);
    let written = manifest(&bundle);
    assert_eq!(written["models"].as_object().unwrap().len(), 3);
    assert!(written["quality"]["fp16"].is_object() && written["quality"]["int8"].is_object());
}

/// A bundle whose thresholds stand in the middle of what it answers, so that the least difference flips a decision.
fn fragile(work: &TempDir) -> PathBuf {
    let bundle = copied(work);
    let mut changed = manifest(&bundle);
    changed["digests"] = json!({});
    let probabilities =
        run(bare().current_dir(work.path()).arg("--model").arg(&bundle).args(["detect", "--input", "rows.jsonl"]))
            .expect(0)
            .rows();
    for maxim in ["quantity", "quality", "relation", "manner"] {
        let mut values: Vec<f64> =
            probabilities.iter().map(|row| row["probabilities"][maxim].as_f64().unwrap()).collect();
        values.sort_by(f64::total_cmp);
        changed["thresholds"][maxim] = json!((values[19] + values[20]) / 2.0);
    }
    fs::write(bundle.join("grice.json"), changed.to_string()).unwrap();
    bundle
}

#[test]
fn below_the_floor_nothing_is_written_unless_forced() {
    let work = work();
    let bundle = fragile(&work);
    let args = ["--mode", "dynamic", "--data", "rows.jsonl", "--floor", "1", "--output", "out"];
    let ran = quantize(&bundle, &work, &args).expect(1);
    for word in ["below the floor of 1", "nothing was written", "worst layers", "layer.", "--force"] {
        assert!(ran.err.contains(word), "`{word}` is not in {}", ran.err);
    }
    assert!(ran.out.contains("is below the floor"), "{}", ran.out);
    assert!(!work.path().join("out").exists());
    let ran = quantize(&bundle, &work, &[&args[..], &["--force", "--json"]].concat()).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["passed"], &report["forced"]), (&json!(false), &json!(true)));
    assert!(!report["measured"].as_array().unwrap().is_empty());
    let out = work.path().join("out");
    assert_eq!(manifest(&out)["quality"]["int8"], report);
    run(bare().arg("--model").arg(&out).args(["detect", "--response", "Yes.", "--precision", "int8"])).expect(0);
}

#[test]
fn an_unmeasured_model_says_so() {
    let work = work();
    let ran = quantize(&tiny_bert(), &work, &["--mode", "fp16", "--force", "--output", "out"]).expect(0);
    assert!(ran.out.contains("not measured"), "{}", ran.out);
    let quality = manifest(&work.path().join("out"))["quality"]["fp16"].clone();
    assert_eq!(quality, json!({ "mode": "fp16", "judged_by": null }));
}

#[test]
fn an_onnx_file_is_quantized_with_token_ids() {
    let work = work();
    let ids: String = (1..20).map(|row| format!("{{\"input_ids\":{:?}}}\n", (1..=row).collect::<Vec<_>>())).collect();
    fs::write(work.path().join("ids.jsonl"), &ids).unwrap();
    let model = tiny_bert().join("onnx/model.onnx");
    let args = ["--mode", "static", "--calibration", "ids.jsonl", "--floor", "0.5", "--output", "small.onnx"];
    let ran = quantize(&model, &work, &args).expect(0);
    assert!(ran.out.contains("logits[3]"), "{}", ran.out);
    assert!(work.path().join("small.onnx").is_file());
    let again = quantize(&model, &work, &args).expect(2);
    assert!(again.err.contains("small.onnx: already exists"), "{}", again.err);
    let small = work.path().join("small.onnx");
    let ran = quantize(&small, &work, &["--mode", "fp16", "--data", "ids.jsonl", "--output", "x.onnx"]).expect(1);
    assert!(ran.err.contains("small.onnx") && ran.err.contains("quantized already"), "{}", ran.err);
    fs::write(work.path().join("far.jsonl"), "{\"input_ids\":[1]}\n{\"input_ids\":[99999]}\n").unwrap();
    for args in [["--mode", "dynamic", "--data", "far.jsonl"], ["--mode", "static", "--calibration", "far.jsonl"]] {
        let ran = quantize(&model, &work, &[&args[..], &["--output", "x.onnx"]].concat()).expect(1);
        assert!(ran.err.contains("99999"), "{}", ran.err);
    }
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let work = work();
    let onnx = tiny_bert().join("onnx/model.onnx");
    let check = |model: &Path, rows: &str, words: &[&str]| {
        fs::write(work.path().join("bad.jsonl"), rows).unwrap();
        let args = ["--mode", "dynamic", "--data", "bad.jsonl", "--output", "out"];
        let ran = quantize(model, &work, &args).expect(1);
        for word in words {
            assert!(ran.err.contains(word), "`{word}` is not in {}", ran.err);
        }
        assert!(!work.path().join("out").exists());
    };
    check(&tiny_bert(), "", &["bad.jsonl: has no rows"]);
    check(&tiny_bert(), "{\"response\":\"a\"}\n{\"respons\":\"b\"}\n", &["bad.jsonl:2: no field `response`"]);
    check(&tiny_bert(), "{\"response\":\"a\"}\n\nnope\n", &["bad.jsonl:3: not JSON"]);
    check(&tiny_bert(), "{\"input_ids\":[]}\n", &["bad.jsonl:1: `input_ids`", "0 of them"]);
    let labels = "\"labels\":{\"quantity\":1,\"quality\":0,\"relation\":0,\"manner\":0}";
    let rows = format!("{{\"response\":\"a\",{labels}}}\n{{\"response\":\"b\"}}\n");
    check(&tiny_bert(), &rows, &["bad.jsonl:2: no field `labels`"]);
    check(&onnx, "{\"response\":\"a\"}\n", &["bad.jsonl:1", "`input_ids`", "tokenizer"]);
    check(&onnx, "[1,2]\n", &["bad.jsonl:1", "found a number"]);
}

#[test]
fn wrong_usage_is_told_before_anything_runs() {
    let bert = tiny_bert();
    let onnx = bert.join("onnx/model.onnx");
    let rows = ["--data", "rows.jsonl"];
    let with = |args: &[&'static str]| -> Vec<&'static str> { args.iter().chain(&rows).copied().collect() };
    check_refused(&bert, &with(&["--mode", "static", "--output", "out"]), 2, &["--calibration"]);
    check_refused(&bert, &["--mode", "dynamic", "--output", "out"], 2, &["--data", "--force"]);
    check_refused(&bert, &with(&["--mode", "int4", "--output", "out"]), 2, &["int4"]);
    check_refused(&bert, &with(&["--mode", "dynamic", "--output", "out", "--floor", "1.5"]), 2, &["from 0 to 1"]);
    check_refused(&bert, &with(&["--mode", "dynamic", "--output", "rows.jsonl"]), 2, &["must be a folder"]);
    check_refused(&bert, &with(&["--mode", "dynamic", "--output", "."]), 2, &["already exists"]);
    check_refused(&onnx, &with(&["--mode", "dynamic", "--output", "."]), 2, &["must be a file"]);
    check_refused(
        &bert.join("none.onnx"),
        &with(&["--mode", "dynamic", "--output", "x"]),
        1,
        &["none.onnx", "cannot be read"],
    );
    check_refused(&bert, &["--mode", "fp16", "--data", "none.jsonl", "--output", "out"], 1, &["none.jsonl"]);
}

#[test]
fn a_bundle_without_fp32_is_refused_with_what_it_has() {
    let work = work();
    let bundle = copied(&work);
    let mut changed = manifest(&bundle);
    changed["models"] = json!({ "int8": "onnx/model.onnx" });
    fs::write(bundle.join("grice.json"), changed.to_string()).unwrap();
    let ran = quantize(&bundle, &work, &["--mode", "fp16", "--data", "rows.jsonl", "--output", "out"]).expect(1);
    assert!(ran.err.contains("no fp32 model; it has: int8"), "{}", ran.err);
}

#[test]
fn damaged_models_are_refused_without_a_panic() {
    let work = work();
    let onnx = fs::read(tiny_bert().join("onnx/model.onnx")).unwrap();
    for share in [0, 1, 10, 50, 90, 99] {
        fs::write(work.path().join("cut.onnx"), &onnx[..onnx.len() * share / 100]).unwrap();
        let args = ["--mode", "dynamic", "--force", "--output", "out.onnx"];
        let ran = quantize(&work.path().join("cut.onnx"), &work, &args).expect(1);
        assert!(ran.err.contains("cut.onnx"), "{}", ran.err);
    }
    let broken = tiny_bert().join("../broken/other_task.onnx");
    let ran = quantize(&broken, &work, &["--mode", "dynamic", "--force", "--output", "out.onnx"]).expect(1);
    assert!(ran.err.contains("no layer to quantize"), "{}", ran.err);
}

/// Weights in a file beside the graph are read from there, and lie inside what is written.
#[test]
fn weights_beside_the_graph_end_up_inside() {
    let work = work();
    let model = tiny_bert().join("../files/external/model.onnx");
    quantize(&model, &work, &["--mode", "fp16", "--force", "--output", "out.onnx"]).expect(0);
    let alone = work.path().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::rename(work.path().join("out.onnx"), alone.join("out.onnx")).unwrap();
    let again =
        quantize(&alone.join("out.onnx"), &work, &["--mode", "fp16", "--force", "--output", "again.onnx"]).expect(1);
    assert!(!again.err.contains("beside the ONNX file"), "{}", again.err);
    fs::copy(&model, alone.join("model.onnx")).unwrap();
    let told =
        quantize(&alone.join("model.onnx"), &work, &["--mode", "fp16", "--force", "--output", "x.onnx"]).expect(1);
    for part in ["model.onnx_data", "the weights `", "with its weights inside"] {
        assert!(told.err.contains(part), "{}", told.err);
    }
}
