//! The committed tiny models in the forms that other tools write, made by `training/make_file_fixtures.py`.

use crate::fixtures::{fixtures_folder, read};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One encoder in one form.
pub struct FileFixture {
    /// Its special property.
    pub name: String,
    /// Its ONNX file.
    pub path: PathBuf,
    /// ONNX Runtime's logits, for each of [`FileFixture::sequences`].
    pub logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Listed {
    sequences: Vec<Vec<u32>>,
    models: BTreeMap<String, Answers>,
}

#[derive(Deserialize)]
struct Answers {
    file: String,
    logits: Vec<Vec<f32>>,
}

impl FileFixture {
    /// All of them.
    pub fn all() -> Vec<FileFixture> {
        let models = listed().models.into_iter();
        let made = models.map(|(name, answers)| FileFixture {
            name,
            path: folder().join(answers.file),
            logits: answers.logits,
        });
        made.collect()
    }

    /// One of them.
    pub fn named(name: &str) -> FileFixture {
        FileFixture::all().into_iter().find(|fixture| fixture.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The sequences of all logits.
    pub fn sequences() -> Vec<Vec<u32>> {
        listed().sequences
    }

    /// The bytes of the ONNX file.
    pub fn onnx(&self) -> Vec<u8> {
        read(&self.path)
    }

    /// Bytes of an external file, for importers.
    pub fn beside(&self, file: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let bytes = read(&self.path.with_file_name(file));
        let start = offset as usize;
        bytes.get(start..start + length).map(<[u8]>::to_vec).ok_or_else(|| format!("{file} is short"))
    }
}

fn folder() -> PathBuf {
    fixtures_folder().join("files")
}

fn listed() -> Listed {
    let path = folder().join("logits.json");
    serde_json::from_slice(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
