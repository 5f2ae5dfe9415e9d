//! The committed GGUF files, made by `training/make_gguf_fixtures.py`.

use crate::generators::DiskFolder;
use grice_model::{GgufModel, Precision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Models and the types that they are stored in.
pub const GGUF_MODELS: [(&str, &[&str]); 7] = [
    ("llama", &["f32", "f16", "q8_0", "q4_0", "q4_1"]),
    ("llama3", &["f16"]),
    ("llama-linear", &["f16"]),
    ("qwen2", &["f16"]),
    ("gpt2", &["f16", "q4_0"]),
    ("t5", &["f16", "q4_0"]),
    ("t5-gated", &["f16"]),
];

/// Ways to split texts, each with a model of its own.
pub const GGUF_TOKENIZERS: [&str; 6] = ["gpt-2", "smollm", "llama-bpe", "qwen2", "llama", "t5"];

/// A prompt, and the logits that transformers computes after it.
#[derive(Deserialize)]
pub struct GgufCase {
    /// What the encoder reads.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads.
    pub prompt: Vec<u32>,
    /// Of the numbers in the file, in single precision.
    pub logits: Vec<f32>,
}

/// The folder of all of them, or something in it.
pub fn gguf(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf").join(path)
}

/// A model, opened.
pub fn gguf_model(name: &str, kind: &str, precision: Option<Precision>) -> GgufModel {
    let folder = DiskFolder(gguf("models").join(name));
    let opened = GgufModel::open(&folder, &format!("{kind}.gguf"), precision);
    opened.unwrap_or_else(|error| panic!("{name}, {kind}: {error}"))
}

/// What transformers computes with it.
pub fn gguf_cases(name: &str, kind: &str) -> Vec<GgufCase> {
    let text = std::fs::read_to_string(gguf("models").join(name).join("reference.json")).unwrap();
    let mut files: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    serde_json::from_value(files.remove(&format!("{kind}.gguf")).unwrap()).unwrap()
}
