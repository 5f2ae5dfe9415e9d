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
    assert!(run(bare().arg("doctor")).expect(0).out.contains("a model is compiled in"));
}
