//! `tune` on the real binary: what it finds, prints and writes, and that the server takes it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, bare, run, tiny_bert};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(path)
}

/// Two cores' worth of settings, a few milliseconds each.
fn tune(folder: &Path, more: &[&str]) -> Ran {
    let args = ["tune", "--threads", "2", "--clients", "4", "--measure-ms", "10"];
    run(bare().args(args).arg("--model").arg(tiny_bert()).args(more).current_dir(folder))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_best_setting_is_printed_and_written() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("grice.toml");
    fs::write(&file, "# ours\n[serve]\nlisten = \"127.0.0.1:0\" # any\nthreads = 64 # too many\n").unwrap();
    let report = parse(&tune(work.path(), &["--json"]).expect(0).out);
    assert_eq!((&report["settings"], &report["measurements"]), (&json!(420), &json!(42)));
    assert_eq!((&report["is_met"], &report["clients"]), (&json!(true), &json!(4)));
    let best = &report["best"];
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# ours\n[serve]\nlisten = \"127.0.0.1:0\" # any\nthreads = "), "{written}");
    assert!(written.contains(" # too many\n"), "{written}");
    for (option, field) in [
        ("threads", "threads"),
        ("replicas", "replicas"),
        ("batch-rows-max", "batch_rows_max"),
        ("batch-tokens-max", "batch_tokens_max"),
        ("batch-wait", "batch_wait"),
    ] {
        assert!(written.contains(&format!("{option} = {}", best[field])), "{option}: {written}");
    }
    assert_eq!(best["threads"].as_u64().unwrap() * best["replicas"].as_u64().unwrap(), 2, "both cores");
    assert!(best["answers_per_s"].as_f64().unwrap() > 0.0 && best["p95_ms"].as_f64().unwrap() > 0.0);
    let sizes = report["optimal_batch_sizes"].as_array().unwrap();
    assert!(!sizes.is_empty() && sizes.iter().all(|size| size["batch_size"].as_u64().unwrap() >= 1), "{report}");
    // The server takes all of it: it only fails at the certificate.
    let mut serve = bare();
    serve.args(["serve", "--tls-certificate", "/nowhere", "--tls-key", "/nowhere", "--config"]).arg(&file);
    let served = run(serve.arg("--model").arg(tiny_bert()));
    assert!(served.err.contains("/nowhere") && !served.err.contains("unknown field"), "{}", served.err);
}

#[test]
fn a_limit_of_time_decides_what_is_best() {
    let work = tempfile::tempdir().unwrap();
    let never = tune(work.path(), &["--p95-ms", "0.000001", "--dry-run"]).expect(0).out;
    assert!(never.contains("No setting is fast enough"), "{never}");
    assert!(never.contains("optimal batch sizes") && never.contains("measured 42 of 420 settings"), "{never}");
    let easy = parse(&tune(work.path(), &["--p95-ms", "100000", "--dry-run", "--json"]).expect(0).out);
    assert_eq!((&easy["is_met"], &easy["p95_ms_max"]), (&json!(true), &json!(100_000.0)));
    assert!(!work.path().join("grice.toml").exists(), "a dry run writes nothing");
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("grice.toml");
    fs::write(&file, "[serve]\ndevice = [\"cpu\", \"cpu\"]\n").unwrap();
    assert!(tune(work.path(), &[]).expect(1).err.contains("`device` names several replicas"));
    fs::write(&file, "serve = 3\n").unwrap();
    assert!(tune(work.path(), &[]).expect(1).err.contains("grice.toml: cannot be changed"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "serve = 3\n");
    let writer = run(bare().arg("tune").arg("--dry-run").arg("--model").arg(fixture("generators/gpt2"))).expect(1);
    assert!(writer.err.contains("has no batches to tune"), "{}", writer.err);
    for (option, words) in [("--p95-ms=-1", "0 or more"), ("--clients=0", "at least 1"), ("--tokens=0", "at least 1")] {
        assert!(run(bare().args(["tune", option])).expect(2).err.contains(words), "{option}");
    }
    let mut serve = bare();
    fs::write(&file, "[serve]\nthreads = 5000\n").unwrap();
    let refused = run(serve.args(["serve", "--config"]).arg(&file).arg("--model").arg(tiny_bert())).expect(2);
    assert!(refused.err.contains("`threads = 5000` in section [serve]"), "{}", refused.err);
}
