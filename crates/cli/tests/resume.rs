//! `detect --resume`: wherever a run was cut off, going on makes the file that it would have been.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use support::{Ran, good_rows, grice, run};
use tempfile::TempDir;

struct Whole {
    folder: TempDir,
    output: Vec<u8>,
}

impl Whole {
    fn input(&self) -> PathBuf {
        self.folder.path().join("in.jsonl")
    }
}

fn detect(input: &Path, output: &Path, more: &[&str]) -> Ran {
    let args = ["detect", "--batch-size", "5", "-q", "-i", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&mut grice(args.iter().chain(more)))
}

/// An input with good and bad rows, and the output of a run that nobody interrupted.
fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bad = "oops\n{\"line\":3,\"response\":\"\"}\n{\"error\":\"x\",\"line\":2,\"response\":\"\\u00e9 ok\"}\n\n";
        let input = format!("{}{bad}{}", good_rows(9), good_rows(10));
        fs::write(folder.path().join("in.jsonl"), input).unwrap();
        let output = folder.path().join("whole.jsonl");
        detect(&folder.path().join("in.jsonl"), &output, &[]).expect(1);
        Whole { output: fs::read(output).unwrap(), folder }
    })
}

fn check_resumed_from(at: usize) {
    let whole = whole();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    fs::write(&output, &whole.output[..at]).unwrap();
    let ran = detect(&whole.input(), &output, &["--resume"]).expect(1);
    assert!(ran.err.contains("2 of 22 rows"), "{}", ran.err);
    assert!(fs::read(&output).unwrap() == whole.output, "cut at byte {at}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_cut_off_anywhere_goes_on_to_the_same_bytes(at in 0..=whole().output.len()) {
        check_resumed_from(at);
    }
}

#[test]
fn a_run_cut_off_at_the_edges_of_batches_goes_on_to_the_same_bytes() {
    let output = &whole().output;
    let ends: Vec<usize> =
        output.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for rows in [5, 10, 20, 22] {
        for at in [ends[rows - 1] - 1, ends[rows - 1]] {
            check_resumed_from(at);
        }
    }
}

#[test]
fn without_an_old_output_it_starts_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    detect(&whole().input(), &output, &["--resume"]).expect(1);
    assert!(fs::read(&output).unwrap() == whole().output);
}

#[test]
fn a_shard_is_resumed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (whole_shard, cut) = (folder.path().join("whole.jsonl"), folder.path().join("cut.jsonl"));
    detect(&whole().input(), &whole_shard, &["--shard", "2/3"]);
    let expected = fs::read(&whole_shard).unwrap();
    fs::write(&cut, &expected[..expected.len() / 2]).unwrap();
    detect(&whole().input(), &cut, &["--shard", "2/3", "--resume"]);
    assert!(fs::read(&cut).unwrap() == expected && !expected.is_empty());
}

#[track_caller]
fn check_refused(old: &[u8], more: &[&str], cause: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    fs::write(&output, old).unwrap();
    let ran = detect(&whole().input(), &output, &[&["--resume"], more].concat()).expect(1);
    assert!(ran.err.contains(cause), "{}", ran.err);
    assert!(fs::read(&output).unwrap() == old, "a refused file must stay as it is");
}

#[test]
fn another_file_is_refused_and_stays_as_it_is() {
    let output = &whole().output;
    check_refused(b"precious notes", &[], "its line 1 does not begin with the fields of its row");
    check_refused(b"precious\nnotes\n", &[], "its line 1 is damaged");
    check_refused(b"{\"id\":0}\n", &[], "its line 1 differs from its row, line 1 of the input");
    check_refused(b"\xff\n", &[], "its line 1 is not text");
    check_refused(&vec![0; 300], &[], "its line 1 does not begin with the fields of its row");
    check_refused(&[output.as_slice(), b"{}\n"].concat(), &[], "more lines than the input has rows (22)");
    check_refused(output, &["--shard", "1/2"], "its line 2 differs from its row");
    let second = output.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    check_refused(&output[second..], &[], "its line 1 differs from its row");
}

#[test]
fn an_output_of_other_options_is_refused() {
    let old = &whole().output;
    check_refused(old, &["--thresholds", "quantity=0.0001,quality=0.0001"], "another model, precision or thresholds");
}

#[test]
fn resume_needs_a_file() {
    let input = whole().input();
    let ran = run(&mut grice(["detect", "-i", input.to_str().unwrap(), "--resume"])).expect(2);
    assert!(ran.err.contains("--output FILE"), "{}", ran.err);
    let args = ["detect", "-i", input.to_str().unwrap(), "-o", "x", "--resume", "--overwrite"];
    run(&mut grice(args)).expect(2);
}
