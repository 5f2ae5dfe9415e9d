//! The committed tiny models that write text, made by `training/make_generator_fixtures.py`.

use grice_model::{Checkpoint, Folder, Source};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// Their names.
pub const GENERATORS: [&str; 5] = ["t5", "t5-gated", "gpt2", "llama", "qwen2"];

/// A folder on disk.
pub struct DiskFolder(pub PathBuf);

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> io::Result<std::borrow::Cow<'_, [u8]>> {
        let part = self.0.get(range.start as usize..range.end as usize);
        part.map(Into::into).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Folder for DiskFolder {
    fn file(&self, name: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(Box::new(Bytes(bytes)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What transformers computes.
#[derive(Deserialize)]
pub struct GeneratorReference {
    /// Logits.
    pub cases: Vec<LogitsCase>,
    /// What `generate` makes.
    pub searches: Vec<SearchCase>,
}

/// A prompt and logits of some of its tokens.
#[derive(Deserialize)]
pub struct LogitsCase {
    /// What the encoder reads.
    pub source: Option<Vec<u32>>,
    /// What the decoder reads.
    pub prompt: Vec<u32>,
    /// Which tokens of the prompt.
    pub positions: Vec<usize>,
    /// `[positions, vocabulary]`.
    pub logits: Vec<f32>,
}

/// A prompt and what follows it.
#[derive(Deserialize)]
pub struct SearchCase {
    /// What the encoder reads.
    pub source: Option<Vec<u32>>,
    /// What the decoder begins with.
    pub prompt: Vec<u32>,
    /// As transformers calls them.
    pub options: SearchOptions,
    /// What follows.
    pub tokens: Vec<u32>,
}

/// Options of `generate`, where they are given.
#[derive(Deserialize)]
#[allow(missing_docs, reason = "as transformers calls them")]
pub struct SearchOptions {
    pub max_new_tokens: usize,
    pub num_beams: Option<usize>,
    pub repetition_penalty: Option<f32>,
    pub no_repeat_ngram_size: Option<usize>,
    pub min_length: Option<usize>,
    pub length_penalty: Option<f32>,
}

/// The folder of a generator.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/generators").join(name)
}

/// Recipes for all maxims and for answers, as `grice.json`. A tiny model writes words of no meaning by them.
///
/// # Panics
/// If the fixture is broken.
pub fn recipes() -> serde_json::Value {
    serde_json::from_str(include_str!("../fixtures/recipes.json")).expect("JSON")
}

/// Copies a generator to an empty folder and gives it recipes.
///
/// # Panics
/// If a file cannot be copied.
pub fn copy_with_recipes(name: &str, target: &Path, recipes: &serde_json::Value) {
    for entry in std::fs::read_dir(folder(name)).expect("a folder") {
        let path = entry.expect("a file").path();
        let file = path.file_name().expect("a name");
        std::fs::copy(&path, target.join(file)).expect("a copy");
    }
    std::fs::write(target.join("grice.json"), recipes.to_string()).expect("a manifest");
}

/// The folder of a model that `compressed-tensors` wrote, made by `training/make_compressed_fixtures.py`.
pub fn compressed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/compressed").join(name)
}

/// What transformers computes with a model that `compressed-tensors` wrote.
#[derive(Deserialize)]
pub struct CompressedCase {
    /// What the decoder reads.
    pub prompt: Vec<u32>,
    /// Logits after the prompt, of the stored weights in single precision.
    pub logits: Vec<f32>,
    /// The same with activations rounded as the file says, if it does.
    pub logits_rounded: Option<Vec<f32>>,
}

/// Its cases.
pub fn compressed_cases(name: &str) -> Vec<CompressedCase> {
    #[derive(Deserialize)]
    struct Reference {
        cases: Vec<CompressedCase>,
    }
    let text = std::fs::read_to_string(compressed(name).join("reference.json")).unwrap();
    serde_json::from_str::<Reference>(&text).unwrap().cases
}

/// A generator, opened.
pub fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&DiskFolder(folder(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What transformers computes with it.
pub fn reference(name: &str) -> GeneratorReference {
    let text = std::fs::read_to_string(folder(name).join("reference.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}
