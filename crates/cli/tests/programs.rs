//! `grice compile --device cpu` on the real binary: its file gives the same answers as the ONNX file, and is refused in other bundles.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use support::{Ran, bare, copy_folder, good_rows, run, tiny_bert};

/// A copy of the fixture bundle.
struct Bundle {
    _folder: tempfile::TempDir,
    model: PathBuf,
    rows: PathBuf,
}

impl Bundle {
    fn new() -> Bundle {
        let folder = tempfile::tempdir().unwrap();
        let [model, rows] = ["bundle", "rows.jsonl"].map(|name| folder.path().join(name));
        copy_folder(&tiny_bert(), &model);
        std::fs::write(&rows, good_rows(12)).unwrap();
        Bundle { _folder: folder, model, rows }
    }

    fn compiled() -> Bundle {
        let bundle = Bundle::new();
        let ran = bundle.grice(&["compile", "--device", "cpu", "--json"]).expect(0);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        let path = bundle.program();
        assert_eq!(report["path"], path.display().to_string());
        assert_eq!(report["bytes"], std::fs::metadata(&path).unwrap().len());
        bundle
    }

    fn grice(&self, args: &[&str]) -> Ran {
        run(bare().arg("--model").arg(&self.model).args(args))
    }

    fn detect(&self) -> Ran {
        run(bare().arg("--model").arg(&self.model).args(["detect", "--input"]).arg(&self.rows))
    }

    fn onnx(&self) -> PathBuf {
        self.model.join("onnx/model.onnx")
    }

    fn program(&self) -> PathBuf {
        self.model.join("onnx/model.grice")
    }
}

#[test]
fn a_compiled_program_answers_as_the_onnx_file_with_and_without_it() {
    let expected = Bundle::new().detect().expect(0).out;
    let bundle = Bundle::compiled();
    assert_eq!(bundle.detect().expect(0).out, expected);
    let about: Value = serde_json::from_str(&bundle.grice(&["inspect", "--json"]).expect(0).out).unwrap();
    assert_eq!(about["graph"]["fused"], true);
    std::fs::remove_file(bundle.onnx()).unwrap();
    assert_eq!(bundle.detect().expect(0).out, expected);
    // A .tar of the folder opens too.
    let tar = bundle.model.with_extension("tar");
    let packed = std::process::Command::new("tar").arg("-C").arg(&bundle.model).arg("-cf").arg(&tar).arg(".").status();
    assert!(packed.unwrap().success());
    let ran = run(bare().arg("--model").arg(&tar).args(["detect", "--input"]).arg(&bundle.rows));
    assert_eq!(ran.expect(0).out, expected);
    assert!(bundle.grice(&["compile", "--device", "cpu"]).expect(1).err.contains("onnx/model.onnx"));
}

#[test]
fn a_program_of_another_model_or_a_damaged_one_is_refused() {
    let bundle = Bundle::compiled();
    let mut onnx = std::fs::read(bundle.onnx()).unwrap();
    // The name of who produced it: the same numbers in another file. The manifest says nothing of the new file then.
    onnx.extend(b"\x12\x04test");
    std::fs::write(bundle.onnx(), onnx).unwrap();
    let manifest = bundle.model.join("grice.json");
    let mut fields: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    fields.as_object_mut().unwrap().remove("digests");
    std::fs::write(&manifest, fields.to_string()).unwrap();
    let told = bundle.detect().expect(1).err;
    assert!(told.contains("model.grice") && told.contains("run `grice compile` again"), "{told}");
    bundle.grice(&["compile", "--device", "cpu"]).expect(0);
    bundle.detect().expect(0);

    let mut bytes = std::fs::read(bundle.program()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(bundle.program(), &bytes).unwrap();
    let told = bundle.detect().expect(1).err;
    assert!(told.contains("model.grice") && told.contains("damaged"), "{told}");
    std::fs::write(bundle.program(), &bytes[..last - 40]).unwrap();
    let told = bundle.detect().expect(1).err;
    assert!(told.contains("model.grice") && told.contains("cut short"), "{told}");
}

#[test]
fn a_device_must_be_named_and_a_bundle_must_be_a_folder() {
    let told = run(bare().args(["compile", "--device", "auto"])).expect(2).err;
    assert!(told.contains("--device cpu"), "{told}");
    let told = run(bare().args(["compile", "--device", "cpu"])).expect(1).err;
    assert!(told.contains("folder"), "{told}");
    // An existing file with its name stays.
    let bundle = Bundle::new();
    std::fs::write(bundle.program(), "a letter").unwrap();
    let told = bundle.grice(&["compile", "--device", "cpu"]).expect(1).err;
    assert!(told.contains("move it away"), "{told}");
    assert_eq!(std::fs::read_to_string(bundle.program()).unwrap(), "a letter");
}
