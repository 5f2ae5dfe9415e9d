//! Files that hold, and files that do not: damaged, of elsewhere, or never right.

#![allow(clippy::unwrap_used)]

use super::{Answers, CompiledPlan, Origin};
use crate::GpuError;
use crate::adapter::Selector;
use crate::device::{Gpu, Settings};
use crate::gemm::Abilities;
use crate::gemm::tests::device::gpu as open_gpu;
use crate::geometry::Geometry;
use crate::model::Model;
use crate::plan::GpuPlan;
use crate::record::record_forward;
use crate::tune::{Class, Tiles};
use grice_model::{Batch, Logits, Network, Precision};
use grice_testkit::fixtures::Fixture;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A compiled tiny-deberta.
struct Compiled {
    _folder: tempfile::TempDir,
    path: PathBuf,
    /// As written.
    bytes: Vec<u8>,
    plan: GpuPlan,
}

fn compile(gpu: &Gpu) -> Compiled {
    let network = Network::import(Fixture::all()[1].onnx(), 4).unwrap();
    let embedding_rows = network.embedding_rows();
    let program = network.into_program().ok().unwrap();
    let plan = pollster::block_on(GpuPlan::new(gpu, program.clone(), 4)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gpu");
    let origin = Origin { digest: "sha256:0".to_owned(), precision: Precision::Fp32, labels: 4, embedding_rows };
    let answers = Answers { sequences: vec![vec![1]], logits: vec![0; 4] };
    let length = plan.compile(&path, &program, origin, answers).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, length);
    Compiled { _folder: folder, path, bytes, plan }
}

fn load(gpu: &Gpu, path: &Path) -> Result<GpuPlan, GpuError> {
    pollster::block_on(GpuPlan::load(gpu, &CompiledPlan::open(path)?))
}

fn answer(plan: &GpuPlan) -> Logits {
    let batch = Batch::pack(&[vec![1, 2, 3], vec![4], vec![5; 70]]).unwrap();
    pollster::block_on(plan.engine().unwrap().run(&batch)).unwrap()
}

/// The header of a file, and where it begins.
fn header(bytes: &[u8]) -> (Value, usize) {
    let start = u64::from_ne_bytes(bytes[16..24].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[start..]).unwrap(), start)
}

/// The file with another header, whole and hashed as if it were right.
fn with_header(bytes: &[u8], header: &Value, start: usize) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    let mut bytes = bytes[..start].to_vec();
    bytes[24..32].copy_from_slice(&(header.len() as u64).to_ne_bytes());
    bytes[32..64].copy_from_slice(blake3::hash(&header).as_bytes());
    bytes.extend(header);
    bytes
}

#[test]
fn a_loaded_plan_answers_bit_for_bit() {
    let Some(gpu) = open_gpu("compiled") else { return };
    let compiled = compile(&gpu);
    let loaded = load(&gpu, &compiled.path).unwrap();
    assert_eq!(answer(&loaded), answer(&compiled.plan));
    assert_eq!(loaded.weight_bytes(), compiled.plan.weight_bytes());
    let names = std::fs::read_dir(compiled.path.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1, "a draft was left behind");
}

#[test]
fn a_header_that_does_not_fit_is_refused() {
    let Some(gpu) = open_gpu("compiled") else { return };
    let compiled = compile(&gpu);
    let (whole, start) = header(&compiled.bytes);
    let check = |pointer: &str, value: Value, reason: &str| {
        let mut header = whole.clone();
        *header.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} in {whole:#}")) = value;
        std::fs::write(&compiled.path, with_header(&compiled.bytes, &header, start)).unwrap();
        let told = load(&gpu, &compiled.path).err().unwrap_or_else(|| panic!("{pointer} was taken")).to_string();
        assert!(told.contains(reason) && told.contains("model.gpu"), "{pointer}: {told}");
    };
    check("/grice", json!("0.0.1"), "grice 0.0.1 made it");
    check("/shaders", json!("00"), "other shaders");
    check("/device/adapter", json!("NVIDIA Something"), "another adapter, NVIDIA Something");
    check("/device/backend", json!("metal"), "another adapter");
    check("/device/driver", json!("1.0"), "another driver, 1.0");
    check("/device/binding_bytes_max", json!(1), "buffers of another size");
    check("/origin/embedding_rows", json!(1), "damaged");
    check("/origin/labels", json!(5), "do not fit each other");
    check("/model/steps/linears/0/0", json!(31), "not as wide as its weights");
    check("/model/steps/list", json!([]), "not what the last steps left");
    check("/model/steps/list/1/action/product/linear", json!(999), "no such linear");
    check("/model/steps/list/1/action/product/x/slot", json!("context"), "reads what was not written so");
    check("/model/steps/list/1/action/product/then/activation", json!("sine"), "header cannot be read");
    check("/model/linears", json!([]), "do not fit each other");
    check("/model/linears/0/parts", json!([]), "do not fit each other");
    check("/model/linears/0/k", json!(u64::MAX), "do not fit each other");
    check("/model/linears/1/parts/0/weights", json!({"Weight": 9999}), "do not fit each other");
    check("/weights/0/words/bytes", json!(u64::MAX / 8 * 4), "do not fit each other");
    check("/weights/0/words/offset", json!(u64::MAX), "ends too early");
    check("/embedding/words/rows", json!(1_u64 << 40), "a table is not");
    std::fs::write(&compiled.path, with_header(&compiled.bytes, &whole, start)).unwrap();
    load(&gpu, &compiled.path).unwrap();
}

#[test]
fn another_file_of_the_name_stays() {
    let Some(gpu) = open_gpu("compiled") else { return };
    let compiled = compile(&gpu);
    let program = Network::import(Fixture::all()[1].onnx(), 4).unwrap().into_program().ok().unwrap();
    let again = || {
        let origin = Origin { digest: String::new(), precision: Precision::Fp32, labels: 4, embedding_rows: None };
        let answers = Answers { sequences: Vec::new(), logits: Vec::new() };
        compiled.plan.compile(&compiled.path, &program, origin, answers)
    };
    again().unwrap();
    std::fs::write(&compiled.path, "a letter").unwrap();
    let told = again().unwrap_err().to_string();
    assert!(told.contains("model.gpu") && told.contains("move it away"), "{told}");
    assert_eq!(std::fs::read_to_string(&compiled.path).unwrap(), "a letter");
}

/// Only pipelines that this user sealed reach the driver; without them a file is as good as any.
#[test]
fn pipelines_of_others_are_made_anew() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let open = |folder: &tempfile::TempDir| {
        let settings = Settings { cache: Some(folder.path().to_owned()), ..Settings::default() };
        pollster::block_on(Gpu::open(Selector::Auto, &settings))
    };
    let gpu = match open(&folders[0]) {
        Err(GpuError::NoAdapter) => return println!("skipped: no adapter"),
        gpu => gpu.unwrap(),
    };
    let compiled = compile(&gpu);
    let (header, _) = header(&compiled.bytes);
    if header["pipelines"].is_null() {
        return println!("skipped: this driver hands out no pipelines");
    }
    let expected = answer(&compiled.plan);
    // Another user, without the key and with another one; and the same user, whose cache has gone but for the key.
    let stranger = open(&folders[1]).unwrap();
    assert_eq!(answer(&load(&stranger, &compiled.path).unwrap()), expected);
    std::fs::write(folders[1].path().join("compile.key"), [7; 32]).unwrap();
    assert_eq!(answer(&load(&stranger, &compiled.path).unwrap()), expected);
    assert!(!stranger.pipelines().was_seeded());
    for entry in std::fs::read_dir(folders[0].path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("compile.key") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let gpu = open(&folders[0]).unwrap();
    assert_eq!(answer(&load(&gpu, &compiled.path).unwrap()), expected);
    assert!(gpu.pipelines().was_seeded());
}

/// Every number of a model, by its place.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| numbers(item, &format!("{path}/{i}"), found))
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| numbers(item, &format!("{path}/{name}"), found)),
        _ => {}
    }
}

/// A model and the words of its weights, lowered without a device.
fn lowered() -> (Value, Vec<u64>) {
    let program = Network::import(Fixture::all()[1].onnx(), 4).unwrap().into_program().ok().unwrap();
    let mut words = Vec::new();
    let mut upload = |_name: String, uploaded: Vec<u32>| {
        words.push(uploaded.len() as u64);
        Ok(crate::recording::Buffer::Weight(words.len() - 1))
    };
    let (steps, parts) = program.into_steps(4);
    let (model, _) = Model::lower(steps, parts, 128 << 20, &mut upload).unwrap();
    (serde_json::to_value(&model).unwrap(), words)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What a model says may be anything: it is refused, or it can be recorded.
    #[test]
    fn no_model_is_beyond_telling(places in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
        Just(0), Just(1), 1u64..200, Just(1 << 20), Just(u64::from(u32::MAX)), Just(u64::MAX),
    ]), 1..3)) {
        thread_local!(static LOWERED: (Value, Vec<u64>) = lowered());
        let (mut value, words) = LOWERED.with(Clone::clone);
        let mut paths = Vec::new();
        numbers(&value, "", &mut paths);
        for (place, number) in places {
            *value.pointer_mut(place.get(paths.as_slice()).as_str()).unwrap() = json!(number);
        }
        if let Ok(model) = serde_json::from_value::<Model>(value)
            && super::check::check_model(&model, 4, &words).is_ok()
        {
            let abilities = Abilities {
                f16: false, cooperative: None, workgroup_bytes_max: 16 << 10, invocations_max: 256, binding_bytes_max: 128 << 20,
            };
            let _ = record_forward(&model, &Geometry::new(&[0, 3, 80]), &Tiles::new(Class::Unknown, abilities));
        }
    }
}
