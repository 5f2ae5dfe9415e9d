//! `grice compile` on the real binary, on whatever adapter there is; a software one will do.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Ran, bare, good_rows, grice, run, tiny_bert};

/// A copy of the fixture bundle, to be compiled.
struct Bundle {
    folder: tempfile::TempDir,
    rows: PathBuf,
}

/// `None`, said aloud, where there is no adapter.
fn bundle() -> Option<Bundle> {
    let findings: Value = serde_json::from_str(&run(&mut grice(["doctor", "--json"])).expect(0).out).unwrap();
    if !findings["gpus"].as_array().unwrap().iter().any(|gpu| gpu["unfit"].is_null()) {
        println!("skipped: no adapter");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&tiny_bert(), folder.path());
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, good_rows(12)).unwrap();
    Some(Bundle { folder, rows })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}

impl Bundle {
    fn grice(&self, args: &[&str]) -> Command {
        let mut command = bare();
        command
            .arg("--model")
            .arg(self.folder.path())
            .args(args)
            .env("GRICE_CACHE_DIR", self.folder.path().join("cache"));
        command
    }

    fn compile(&self) -> Value {
        let ran = run(&mut self.grice(&["compile", "--device", "gpu", "--json"])).expect(0);
        serde_json::from_str(&ran.out).unwrap()
    }

    fn detect(&self) -> Ran {
        run(self.grice(&["detect", "--device", "gpu", "--input"]).arg(&self.rows)).expect(0)
    }

    /// The compiled engine that runs, by `inspect`.
    fn compiled(&self) -> Option<String> {
        let ran = run(&mut self.grice(&["inspect", "--device", "gpu", "--json"])).expect(0);
        let about: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(about["runs_on"]["device"], "gpu");
        about["runs_on"]["compiled"].as_str().map(str::to_owned)
    }
}

#[test]
fn a_compiled_engine_gives_the_same_verdicts() {
    let Some(bundle) = bundle() else { return };
    assert_eq!(bundle.compiled(), None);
    let without = bundle.detect();
    let report = bundle.compile();
    let path = report["path"].as_str().unwrap();
    assert_eq!(report["bytes"].as_u64().unwrap(), std::fs::metadata(path).unwrap().len());
    assert_eq!(bundle.compiled().as_deref(), Some(path));
    let with = bundle.detect();
    assert_eq!((with.out, with.err.contains("left aside")), (without.out, false));
    // No draft is left behind.
    let folder = Path::new(path).parent().unwrap();
    assert!(
        std::fs::read_dir(folder).unwrap().all(|entry| !entry.unwrap().path().display().to_string().contains(".part"))
    );
}

#[test]
fn what_does_not_fit_is_left_aside() {
    let Some(bundle) = bundle() else { return };
    let without = bundle.detect().out;
    let path = bundle.compile()["path"].as_str().unwrap().to_owned();
    let whole = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], words: &str| {
        std::fs::write(&path, bytes).unwrap();
        let ran = bundle.detect();
        assert!(ran.err.contains("left aside") && ran.err.contains(words), "{words}: {}", ran.err);
        assert_eq!(ran.out, without, "{words}");
    };
    let altered = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    check(&altered(0), "no compiled engine");
    check(&altered(8), "another release");
    check(&altered(40), "damaged");
    check(&altered(64), "damaged");
    check(&altered(whole.len() - 2), "damaged");
    check(&whole[..whole.len() / 2], "damaged");
    check(&[], "no compiled engine");
    check(b"something else", "no compiled engine");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(bundle.compiled(), Some(path));
}

#[test]
fn only_folders_and_gpus_are_compiled_for() {
    let check = |command: &mut Command, code: i32, words: &str| {
        let ran = run(command).expect(code);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    check(&mut grice(["compile", "--device", "cpu"]), 2, "only a GPU");
    check(&mut grice(["compile", "--device", "auto"]), 2, "only a GPU");
    if cfg!(feature = "embedded-model") {
        check(bare().args(["compile", "--device", "gpu"]), 1, "unpack it");
    }
}
