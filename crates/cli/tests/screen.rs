//! What a person or a script sees: one turn, help, exit statuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::Value;
use support::{bare, grice, run};

const TURN: [&str; 5] = ["detect", "--context", "What did you think of the film?", "--response", "Yes."];

#[test]
fn a_piped_verdict_is_a_plain_table() {
    let ran = run(&mut grice(TURN)).expect(0);
    assert!(ran.out.is_ascii() && !ran.out.contains('\u{1b}'), "{:?}", ran.out);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(lines[0].starts_with("verdict: "));
    let names: Vec<&str> = lines[2..6].iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["quantity", "quality", "relation", "manner"]);
    assert_eq!(ran.err, "");
}

#[test]
fn colours_come_when_asked_for() {
    let ran = run(grice(TURN).args(["--color", "always"])).expect(0);
    assert!(ran.out.contains('\u{1b}') && ran.out.contains('━'));
    let ran = run(grice(TURN).args(["--color", "always"]).env("LANG", "C")).expect(0);
    assert!(ran.out.contains('\u{1b}') && ran.out.is_ascii());
    let ran = run(grice(TURN).args(["--color", "never"])).expect(0);
    assert!(!ran.out.contains('\u{1b}'));
}

#[test]
fn json_is_one_object() {
    let ran = run(grice(TURN).arg("--json")).expect(0);
    let verdict: Value = serde_json::from_str(&ran.out).unwrap();
    let names: Vec<&String> = verdict.as_object().unwrap().keys().collect();
    assert_eq!(names, ["probabilities", "violations", "cooperative", "truncated"]);
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn thresholds_change_the_verdict() {
    let high = "quantity=0.999999,quality=0.999999,relation=0.999999,manner=0.999999";
    let ran = run(grice(TURN).args(["--thresholds", high])).expect(0);
    assert!(ran.out.starts_with("verdict: cooperative\n"), "{}", ran.out);
}

#[test]
fn a_turn_too_long_for_the_model_says_so() {
    let context = "so it goes on and on ".repeat(400);
    let args = ["detect", "--context", &context, "--response", "Yes."];
    let ran = run(&mut grice(args)).expect(0);
    assert!(ran.out.ends_with("truncated: yes\n"), "{}", ran.out);
    let ran = run(grice(args).args(["--color", "always"])).expect(0);
    assert!(ran.out.contains("longer than the 512 tokens"), "{}", ran.out);
}

#[test]
fn responses_that_cannot_be_judged_are_refused_by_name() {
    let ran = run(&mut grice(["detect", "--response", ""])).expect(1);
    assert!(ran.err.starts_with("error: `response` is empty"), "{}", ran.err);
    let ran = run(&mut grice(["detect", "--response=- - -"])).expect(0);
    assert!(ran.out.starts_with("verdict: "), "{}", ran.out);
}

#[test]
fn wrong_usage_is_2() {
    let wrong: [&[&str]; 14] = [
        &[],
        &["detect"],
        &["detect", "--context", "a"],
        &["detect", "--response", "a", "--input", "b.jsonl"],
        &["detect", "--input", "b.jsonl", "--json"],
        &["detect", "--response", "a", "--resume"],
        &["detect", "--response", "a", "--thresholds", "quantity=2"],
        &["detect", "--input", "-", "--shard", "4/3"],
        &["detect", "--input", "-", "--batch-size", "0"],
        &["detect", "--response", "a", "--threads", "0"],
        &["detect", "--response", "a", "--precision", "fp7"],
        &["eval"],
        &["completions", "cmd"],
        &["frobnicate"],
    ];
    for args in wrong {
        assert_eq!(run(&mut grice(args)).code, 2, "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let ran = run(grice(["detect", "--response"]).arg(std::ffi::OsStr::from_bytes(b"\xff"))).expect(2);
    assert!(ran.err.contains("invalid UTF-8"), "{}", ran.err);
}

#[cfg(not(feature = "embedded-model"))]
#[test]
fn without_any_model_it_says_what_to_do() {
    let ran = run(bare().args(TURN)).expect(2);
    assert!(ran.err.contains("--model PATH"), "{}", ran.err);
    let ran = run(bare().arg("doctor")).expect(0);
    assert!(ran.out.contains("no model"), "{}", ran.out);
}

#[test]
fn help_and_version_are_there() {
    for args in [&["--help"] as &[&str], &["detect", "--help"], &["eval", "--help"]] {
        let ran = run(bare().args(args)).expect(0);
        assert!(ran.out.contains("Examples:"), "{}", ran.out);
    }
    assert!(run(bare().arg("--version")).expect(0).out.starts_with("grice "));
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(bare().args(["completions", shell])).expect(0).out.contains("grice"));
    }
    assert!(run(bare().arg("man")).expect(0).out.contains(".TH grice"));
}

#[test]
fn inspect_and_doctor_describe_the_model() {
    let ran = run(&mut grice(["inspect", "--json"])).expect(0);
    let about: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&about["name"], &about["family"]), (&Value::from("tiny-bert"), &Value::from("bert")));
    assert!(about["graph"]["nodes"].as_u64().unwrap() > 10);
    assert!(about["files"][0]["bytes"].as_u64().unwrap() > 1000);
    assert!(run(&mut grice(["inspect"])).expect(0).out.contains("vocabulary"));
    let ran = run(&mut grice(["doctor", "--json"])).expect(0);
    let findings: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(findings["model"]["state"], "works");
    assert!(findings["model"]["load_ms"].as_f64().unwrap() > 0.0);
    // Either a list of adapters or why there is none; and the choice goes by what was asked for.
    let gpus = findings["gpus"].as_array().unwrap();
    assert_eq!(gpus.is_empty(), findings["no_gpu"].is_string(), "{findings}");
    assert!(gpus.iter().enumerate().all(|(place, gpu)| gpu["index"] == place && gpu["name"].is_string()));
    let ran = run(&mut grice(["doctor"])).expect(0);
    assert!(ran.out.contains("gpu ") && ran.out.contains("--device auto"), "{}", ran.out);
}

#[test]
fn the_environment_names_a_model_too() {
    run(bare().args(TURN).env("GRICE_MODEL", support::tiny_bert())).expect(0);
    let ran = run(bare().args(TURN).env("GRICE_MODEL", "/no/such/place")).expect(1);
    assert!(ran.err.contains("/no/such/place"), "{}", ran.err);
}
