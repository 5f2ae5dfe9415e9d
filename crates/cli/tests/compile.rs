//! `grice compile` on the real binary, on whatever adapter there is; a software one will do.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Ran, bare, copy_folder, good_rows, grice, has_adapter, run, tiny_bert};

/// A copy of the fixture bundle, to be compiled, and a cache of its own.
struct Bundle {
    _folder: tempfile::TempDir,
    model: PathBuf,
    rows: PathBuf,
    cache: PathBuf,
}

impl Bundle {
    /// `None`, said aloud, where there is no adapter.
    fn new() -> Option<Bundle> {
        if !has_adapter() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let [model, rows, cache] = ["bundle", "rows.jsonl", "cache"].map(|name| folder.path().join(name));
        copy_folder(&tiny_bert(), &model);
        std::fs::write(&rows, good_rows(12)).unwrap();
        Some(Bundle { _folder: folder, model, rows, cache })
    }

    fn grice(&self, args: &[&str]) -> Command {
        let mut command = bare();
        command.arg("--model").arg(&self.model).args(args).env("GRICE_CACHE_DIR", &self.cache);
        command
    }

    fn compile(&self) -> Value {
        let ran = run(&mut self.grice(&["compile", "--device", "gpu", "--json"])).expect(0);
        serde_json::from_str(&ran.out).unwrap()
    }

    fn detect(&self, device: &str) -> Ran {
        run(self.grice(&["detect", "--device", device, "--input"]).arg(&self.rows))
    }

    /// The compiled engine that runs, by `inspect`.
    fn compiled(&self) -> Option<String> {
        let ran = run(&mut self.grice(&["inspect", "--device", "gpu", "--json"])).expect(0);
        let about: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(about["runs_on"]["device"], "gpu");
        about["runs_on"]["compiled"].as_str().map(str::to_owned)
    }

    /// Changes the ONNX file without a change to what it computes: the name of who produced it.
    fn alter_model(&self) {
        let path = self.model.join("onnx/model.onnx");
        let mut onnx = std::fs::read(&path).unwrap();
        onnx.extend(b"\x12\x04test");
        std::fs::write(&path, &onnx).unwrap();
        let manifest = self.model.join("grice.json");
        let mut about: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        about["digests"]["onnx/model.onnx"] = json!(grice_core::file_digest(&onnx));
        std::fs::write(manifest, about.to_string()).unwrap();
    }
}

#[test]
fn a_compiled_engine_gives_the_same_verdicts() {
    let Some(bundle) = Bundle::new() else { return };
    assert_eq!(bundle.compiled(), None);
    let without = bundle.detect("gpu").expect(0);
    let report = bundle.compile();
    let path = report["path"].as_str().unwrap();
    assert_eq!(report["bytes"].as_u64().unwrap(), std::fs::metadata(path).unwrap().len());
    assert!(report["load_ms"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(bundle.compiled().as_deref(), Some(path));
    let with = bundle.detect("gpu").expect(0);
    assert_eq!((with.out, with.err.contains("is ignored")), (without.out.clone(), false));
    // No draft is left behind.
    let entries = std::fs::read_dir(Path::new(path).parent().unwrap()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // The ONNX file is not needed, except by the processor.
    std::fs::remove_file(bundle.model.join("onnx/model.onnx")).unwrap();
    assert_eq!(bundle.detect("gpu").expect(0).out, without.out);
    assert!(bundle.detect("cpu").expect(1).err.contains("model.onnx"));
}

#[test]
fn what_does_not_fit_is_left_aside() {
    let Some(bundle) = Bundle::new() else { return };
    let without = bundle.detect("gpu").expect(0).out;
    let path = bundle.compile()["path"].as_str().unwrap().to_owned();
    let whole = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], words: &str| {
        std::fs::write(&path, bytes).unwrap();
        let ran = bundle.detect("gpu").expect(0);
        assert!(ran.err.contains("is ignored") && ran.err.contains(words), "{words}: {}", ran.err);
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
    bundle.alter_model();
    check(&whole, "another model");
    // And compiled again, it runs.
    bundle.compile();
    assert_eq!(bundle.compiled(), Some(path));
}

#[test]
fn an_archive_has_its_engine_beside_it_and_the_default_model_in_the_cache() {
    let Some(mut bundle) = Bundle::new() else { return };
    let archive = bundle.model.with_extension("tar");
    let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&bundle.model).arg(".").status();
    assert!(packed.unwrap().success());
    bundle.model = archive;
    let path = bundle.compile()["path"].as_str().unwrap().to_owned();
    assert_eq!(Path::new(&path), bundle.model.with_extension("fp32.gpu"));
    assert_eq!(bundle.compiled(), Some(path));
    if cfg!(feature = "embedded-model") {
        let mut command = bare();
        command.args(["compile", "--device", "gpu"]).env("GRICE_CACHE_DIR", &bundle.cache);
        let told = run(&mut command).expect(0).out;
        assert!(told.contains(&bundle.cache.join("detector-mini.int8.gpu").display().to_string()), "{told}");
    }
}

#[test]
fn what_cannot_be_compiled_says_why() {
    let check = |command: &mut Command, code: i32, words: &str| {
        let ran = run(command).expect(code);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    check(&mut grice(["compile", "--device", "auto"]), 2, "name the device");
    let Some(bundle) = Bundle::new() else { return };
    check(&mut bundle.grice(&["compile", "--device", "gpu:99"]), 1, "99");
    check(&mut bundle.grice(&["compile", "--precision", "int8"]), 1, "int8");
    // What has its name already stays.
    let path = bundle.model.join("onnx/model.gpu");
    std::fs::write(&path, "a letter").unwrap();
    check(&mut bundle.grice(&["compile"]), 1, "move it away");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "a letter");
}
