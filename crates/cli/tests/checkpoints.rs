//! `grice quantize --to`: models that write text, in fewer bits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, bare, copy_folder, run, tiny_bert};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators").join(name)
}

fn quantize(model: &Path, work: &TempDir, args: &[&str]) -> Ran {
    run(bare().current_dir(work.path()).arg("quantize").arg("--model").arg(model).args(args))
}

fn generated(model: &Path, more: &[&str]) -> String {
    let args = ["generate", "--prompt", "w7 w8 w9", "--max-new-tokens", "20"];
    run(bare().arg("--model").arg(model).args(args).args(more)).expect(0).out
}

/// A folder with rows of texts in it.
fn work() -> TempDir {
    let work = tempfile::tempdir().unwrap();
    let words = |seed: usize, count: usize| {
        (0..count).map(|word| format!("w{}", 6 + (seed * 31 + word * 7) % 90)).collect::<Vec<_>>().join(" ")
    };
    let rows = (0..12).map(|row| match row % 3 {
        0 => json!({"prompt": words(row, 5), "text": " ".to_owned() + &words(row + 1, 20)}),
        1 => json!({"prompt": words(row, 9), "response": " ".to_owned() + &words(row + 1, 40)}),
        _ => json!({"prompt": words(row, 30)}),
    });
    fs::write(work.path().join("rows.jsonl"), rows.map(|row| row.to_string() + "\n").collect::<String>()).unwrap();
    work
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_in_fewer_bits_writes_the_text_that_rounding_makes() {
    for model in ["t5", "t5-gated", "gpt2", "llama", "qwen2"] {
        let work = work();
        quantize(&fixture(model), &work, &["--to", "int8", "--output", "out/int8/"]).expect(0);
        let out = work.path().join("out/int8");
        let expected = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "quantization_report.json",
            "tokenizer.json",
        ];
        assert_eq!(names(&out), expected, "{model}");
        assert_eq!(names(&work.path().join("out")), ["int8"], "{model}");
        let in_8_bits = ["--precision", "int8"];
        assert_eq!(generated(&out, &in_8_bits), generated(&fixture(model), &in_8_bits), "{model}");
        assert!(!generated(&out, &[]).is_empty(), "{model}");
    }
    // Its weights are in bfloat16 already.
    let work = work();
    quantize(&fixture("qwen2"), &work, &["--to", "bf16", "-o", "out"]).expect(0);
    assert_eq!(generated(&work.path().join("out"), &[]), generated(&fixture("qwen2"), &[]));
}

/// The report names the layers that are left.
#[test]
fn four_bits_write_texts() {
    let work = work();
    let ran = quantize(&fixture("t5"), &work, &["--to", "int4", "--output", "out"]).expect(0);
    assert!(ran.out.contains("DenseReluDense.wo: takes 40 inputs, which groups of 32 do not divide"), "{}", ran.out);
    assert!(ran.out.contains("quality       not measured"), "{}", ran.out);
    assert!(!generated(&work.path().join("out"), &["--precision", "int8"]).is_empty());
    quantize(&fixture("gpt2"), &work, &["--to", "int4", "--group", "128", "--output", "wide"]).expect(0);
    assert!(!generated(&work.path().join("wide"), &[]).is_empty());
}

#[test]
fn quality_is_measured_and_reported() {
    for model in ["t5", "gpt2", "qwen2"] {
        let work = work();
        let args =
            ["--to", "int8", "--judge", "rows.jsonl", "--kl-max", "5", "--rise-max", "5", "--agreement-min", "0.1"];
        let ran = quantize(&fixture(model), &work, &[&args[..], &["--json", "--output", "out"]].concat()).expect(0);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        let written = fs::read(work.path().join("out/quantization_report.json")).unwrap();
        assert_eq!(report, serde_json::from_slice::<Value>(&written).unwrap());
        assert_eq!((&report["form"], &report["family"]), (&json!("int8"), &json!(model)));
        assert!(report["bytes"].as_u64().unwrap() < report["bytes_before"].as_u64().unwrap());
        let quality = &report["quality"];
        assert_eq!(
            (&quality["rows"], &quality["passed"], &quality["forced"]),
            (&json!(12), &json!(true), &json!(false))
        );
        let number = |name: &str| quality["score"][name].as_f64().unwrap();
        assert!(number("mean_kl") > 0.0 && number("mean_kl") < 0.5, "{model}: {quality}");
        assert!(number("agreement") > 0.5 && number("agreement") <= 1.0, "{model}: {quality}");
        assert!(number("perplexity_before") > 1.0 && number("perplexity_after") > 1.0, "{model}: {quality}");
        assert!(number("tokens") >= 4.0 * (20.0 + 40.0), "{model}: {quality}");
    }
    // The same weights are the same model.
    let work = work();
    let strict = ["--rise-max", "0", "--kl-max", "0", "--agreement-min", "1", "--output", "out"];
    let ran = quantize(&fixture("qwen2"), &work, &[&["--to", "bf16", "--judge", "rows.jsonl"], &strict[..]].concat());
    let ran = ran.expect(0);
    assert!(ran.out.contains("within the bounds") && ran.out.contains("agreement     1.0000"), "{}", ran.out);
}

#[test]
fn a_model_outside_the_bounds_is_not_written() {
    let work = work();
    let args = ["--to", "int8", "--judge", "rows.jsonl", "--output", "out", "--kl-max", "0"];
    let ran = quantize(&fixture("gpt2"), &work, &args).expect(1);
    assert!(ran.out.contains("outside the bounds"), "{}", ran.out);
    assert!(ran.err.contains("the mean KL is") && ran.err.contains("nothing was written"), "{}", ran.err);
    assert_eq!(names(work.path()), ["rows.jsonl"]);
    let ran = quantize(&fixture("gpt2"), &work, &[&args[..], &["--force", "--json"]].concat()).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["quality"]["passed"], &report["quality"]["forced"]), (&json!(false), &json!(true)));
    assert_eq!(names(work.path()), ["out", "rows.jsonl"]);
}

#[test]
fn bad_rows_are_named() {
    let check = |model: &str, rows: &str, words: &str| {
        let work = tempfile::tempdir().unwrap();
        fs::write(work.path().join("rows.jsonl"), rows).unwrap();
        let args = ["--to", "fp16", "--judge", "rows.jsonl", "--output", "out"];
        let ran = quantize(&fixture(model), &work, &args).expect(1);
        assert!(ran.err.contains(words), "{}\nlacks: {words}", ran.err);
        assert_eq!(names(work.path()), ["rows.jsonl"], "{words}");
    };
    check("gpt2", "", "rows.jsonl: has no rows");
    check("gpt2", "{\"prompt\": \"w7 w8\"}\n{\"text\": \"w7\"}\n", "rows.jsonl:2: no field `prompt`");
    check("gpt2", "{\"prompt\": 7}\n", "rows.jsonl:1: `prompt` must be text, found a number");
    check("gpt2", "{\"prompt\": \"w7\", \"text\": [1]}\n", "rows.jsonl:1: `text` must be text, found a list");
    check("gpt2", "{\"prompt\": \"\"}\n", "rows.jsonl:1:");
    check("gpt2", "[1]\n3\n", "rows.jsonl:1:");
    let long = json!({"prompt": "w7 ".repeat(161)}).to_string();
    check("gpt2", &(long + "\n"), "rows.jsonl:1: the text has 161 tokens; the model reads at most 160");
}

#[test]
fn nothing_is_lost_and_nothing_half_written() {
    let work = work();
    let model = work.path().join("model");
    copy_folder(&fixture("llama"), &model);
    let refused = |args: &[&str], code: i32, words: &str| {
        let before = names(work.path());
        let ran = quantize(&model, &work, args).expect(code);
        assert!(ran.err.contains(words), "{}\nlacks: {words}", ran.err);
        assert_eq!(names(work.path()), before, "{words}");
    };
    refused(&["--to", "int8", "--output", "model"], 2, "--output must be another folder than the model's");
    refused(&["--to", "int8", "--overwrite", "--output", "."], 2, "another folder than the model's");
    refused(&["--to", "int8", "--output", "rows.jsonl"], 2, "--output must be a folder");
    fs::create_dir(work.path().join("full")).unwrap();
    fs::write(work.path().join("full/letter.txt"), "mine").unwrap();
    refused(&["--to", "int8", "--output", "full"], 2, "already exists");
    refused(&["--to", "int8", "--overwrite", "--output", "full"], 2, "this one has no config.json");
    quantize(&model, &work, &["--to", "bf16", "--output", "out"]).expect(0);
    refused(&["--to", "int8", "--output", "out"], 2, "--overwrite");
    quantize(&model, &work, &["--to", "int8", "--overwrite", "--output", "out"]).expect(0);
    let config: Value = serde_json::from_slice(&fs::read(work.path().join("out/config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["format"], "int-quantized");
    assert_eq!(names(work.path()), ["full", "model", "out", "rows.jsonl"]);
    let out = work.path().join("out");
    let ran = quantize(&out, &work, &["--to", "fp16", "--output", "again"]).expect(1);
    assert!(ran.err.contains("the weights are quantized already"), "{}", ran.err);
    fs::rename(model.join("tokenizer.json"), work.path().join("tokenizer.json")).unwrap();
    refused(&["--to", "int8", "--output", "new"], 2, "tokenizer.json is missing");
    fs::rename(work.path().join("tokenizer.json"), model.join("tokenizer.json")).unwrap();
    let weights = model.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused(&["--to", "int8", "--output", "new"], 1, "cut short");
}

#[test]
fn options_fit_the_kind_of_model() {
    let work = work();
    let refused = |model: &Path, args: &[&str], words: &str| {
        let ran = quantize(model, &work, &[args, &["--output", "out"]].concat()).expect(2);
        assert!(ran.err.contains(words), "{}\nlacks: {words}", ran.err);
    };
    let gpt2 = fixture("gpt2");
    refused(&gpt2, &["--mode", "fp16", "--data", "rows.jsonl"], "for a model that writes text name a form with --to");
    refused(&tiny_bert(), &["--to", "int8"], "for a bundle or an ONNX file use --mode");
    refused(&gpt2, &["--to", "int8", "--mode", "fp16"], "cannot be used with");
    refused(&gpt2, &["--to", "int8", "--floor", "0.9"], "cannot be used with");
    refused(&gpt2, &["--to", "int8", "--kl-max", "-1"], "0 or more");
    refused(&gpt2, &["--to", "int8", "--group", "32"], "--group is for --to int4");
    refused(&gpt2, &["--to", "int4", "--group", "48"], "it must be 32, 64 or 128");
    refused(&tiny_bert(), &["--mode", "fp16", "--kl-max", "1"], "cannot be used with");
    refused(&gpt2, &[], "--to <FORM>");
    let ran = run(bare().current_dir(work.path()).args(["quantize", "--to", "int8", "--output", "out"])).expect(2);
    assert!(ran.err.contains("--model"), "{}", ran.err);
}
