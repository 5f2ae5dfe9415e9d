//! The model that is compiled in.

#![cfg(feature = "embedded-model")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{bare, run};

#[test]
fn the_first_example_works_without_any_file() {
    let args = ["detect", "--context", "What did you think of the film?", "--response", "Yes."];
    let ran = run(bare().args(args)).expect(0);
    let headline = ran.out.lines().next().unwrap();
    assert!(headline.starts_with("verdict: violates ") && headline.contains("quantity"), "{}", ran.out);
    assert!(run(bare().arg("doctor")).expect(0).out.contains("a model is built in"));
}

/// Far enough below what it reaches today (0.93) that only a broken model or runtime fails.
const MACRO_F1_LEAST: f64 = 0.88;

#[test]
fn the_embedded_model_judges_the_hand_written_turns() {
    let input = concat!(env!("CARGO_MANIFEST_DIR"), "/../../training/handwritten.jsonl");
    let ran = run(bare().args(["eval", "--json", "--input", input])).expect(0);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["rows"], 94);
    let macro_f1 = report["macro_f1"].as_f64().unwrap();
    assert!(macro_f1 >= MACRO_F1_LEAST, "{macro_f1}");
}
