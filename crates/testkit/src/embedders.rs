//! The committed tiny models that embed texts, made by `training/make_embedding_fixtures.py`.

use crate::generators::DiskFolder;
use grice_model::SentenceModel;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Their names.
pub const EMBEDDERS: [&str; 4] = ["bert", "mpnet", "roberta", "distilbert"];

/// What sentence-transformers computes.
#[derive(Deserialize)]
pub struct EmbedderReference {
    /// The most tokens that it reads of a text.
    pub tokens_max: usize,
    /// Texts.
    pub cases: Vec<EmbedderCase>,
}

/// A text and its vector.
#[derive(Deserialize)]
pub struct EmbedderCase {
    /// The text.
    pub text: String,
    /// Its token ids, cut.
    pub ids: Vec<u32>,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// The folder of an embedder.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/embedders").join(name)
}

/// An embedder, opened.
pub fn sentence_model(name: &str) -> SentenceModel {
    SentenceModel::open(&DiskFolder(folder(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What sentence-transformers computes with it.
pub fn reference(name: &str) -> EmbedderReference {
    let text = std::fs::read_to_string(folder(name).join("reference.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The cosine of the angle between two vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
