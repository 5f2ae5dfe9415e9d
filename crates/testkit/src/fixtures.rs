//! The committed tiny models, made by `training/make_fixtures.py`.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A tiny model with reference outputs.
pub struct Fixture {
    /// Name of its folder.
    pub name: &'static str,
    /// Its path.
    pub folder: PathBuf,
}

/// One padded batch with the answers of PyTorch and ONNX Runtime.
#[derive(Deserialize)]
pub struct Reference {
    /// `[rows, length]`.
    pub input_ids: Vec<Vec<u32>>,
    /// `[rows, length]`, 1 for a token, then 0 for padding.
    pub attention_mask: Vec<Vec<u32>>,
    /// `[rows, 4]`; empty if there are only ONNX Runtime's.
    #[serde(default)]
    pub logits_pytorch: Vec<Vec<f32>>,
    /// `[rows, 4]`; empty if there are only PyTorch's.
    #[serde(default)]
    pub logits_onnxruntime: Vec<Vec<f32>>,
}

/// A text and its ids from the Python library of the same tokenizer.
#[derive(Deserialize)]
pub struct TextCase {
    /// Its special property.
    pub name: String,
    /// The rendered text.
    pub text: String,
    /// Its ids, special tokens included.
    pub ids: Vec<u32>,
}

impl Fixture {
    /// The bundles.
    pub fn all() -> Vec<Fixture> {
        ["tiny-bert", "tiny-deberta"].map(|name| Fixture { name, folder: fixtures_folder().join(name) }).into()
    }

    /// The bytes of the model.
    pub fn onnx(&self) -> Vec<u8> {
        let paths = ["onnx/model.onnx", "model.onnx"].map(|path| self.folder.join(path));
        read(paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]))
    }

    /// Bare graphs without a tokenizer: the same encoder exported and stored in other ways.
    pub fn graphs() -> Vec<Fixture> {
        ["tiny-sdpa", "tiny-int8"].map(|name| Fixture { name, folder: fixtures_folder().join(name) }).into()
    }

    /// Tolerance of an engine's logits.
    pub fn tolerance(&self) -> f32 {
        if self.name.contains("int8") { crate::INT8_TOLERANCE } else { crate::FP32_TOLERANCE }
    }

    /// The reference batches.
    pub fn references(&self) -> Vec<Reference> {
        references_at(&self.folder.join("reference.json"))
    }

    /// The tokenizer cases.
    pub fn texts(&self) -> Vec<TextCase> {
        parse(&self.folder.join("texts.json"))
    }
}

/// A tiny bundle's encoder, quantized by ONNX Runtime.
pub struct QuantizedByOnnxRuntime {
    /// Name of the file, without its extension.
    pub name: String,
    /// The bundle that it was made from.
    pub source: Fixture,
    /// ONNX Runtime's logits, for each of the source's references `[rows, 4]`.
    pub logits: Vec<Vec<Vec<f32>>>,
}

impl QuantizedByOnnxRuntime {
    /// Both encoders, dynamic and static.
    pub fn all() -> Vec<QuantizedByOnnxRuntime> {
        let modes = ["dynamic", "static"];
        let sources = Fixture::all().into_iter().flat_map(|source| modes.map(|mode| (source.name, mode)));
        let made = sources.map(|(source, mode)| {
            let name = format!("{source}-{mode}");
            let logits = answers_at(&fixtures_folder().join("onnxruntime-int8").join(format!("{name}.json")));
            QuantizedByOnnxRuntime {
                name,
                source: Fixture { name: source, folder: fixtures_folder().join(source) },
                logits,
            }
        });
        made.collect()
    }

    /// The bytes of the model.
    pub fn onnx(&self) -> Vec<u8> {
        read(&fixtures_folder().join("onnxruntime-int8").join(format!("{}.onnx", self.name)))
    }
}

/// A tiny encoder of another family, or written by another tool: made by `training/make_export_fixtures.py`.
pub struct Export {
    /// Name of the file, without its extension.
    pub name: String,
    /// Tolerance against ONNX Runtime's logits without optimizations.
    pub tolerance: f32,
    /// Batches and ONNX Runtime's logits.
    pub cases: Vec<Reference>,
}

impl Export {
    /// All of them, sorted by name.
    pub fn all() -> Vec<Export> {
        #[derive(Deserialize)]
        struct Answers {
            tolerance: f32,
            cases: Vec<Reference>,
        }
        let folder = fixtures_folder().join("exports");
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{}: no models", folder.display());
        let read = |path: PathBuf| {
            let Answers { tolerance, cases } = parse(&path.with_extension("json"));
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Export { name, tolerance, cases }
        };
        paths.into_iter().map(read).collect()
    }

    /// The bytes of the model.
    pub fn onnx(&self) -> Vec<u8> {
        read(&fixtures_folder().join("exports").join(format!("{}.onnx", self.name)))
    }
}

/// ONNX Runtime's logits, for each reference `[rows, 4]`, from a file with only these.
pub fn answers_at(path: &Path) -> Vec<Vec<Vec<f32>>> {
    #[derive(Deserialize)]
    struct Answers {
        logits_onnxruntime: Vec<Vec<Vec<f32>>>,
    }
    parse::<Answers>(path).logits_onnxruntime
}

impl Reference {
    /// The rows without their padding.
    pub fn sequences(&self) -> Vec<Vec<u32>> {
        let rows = self.input_ids.iter().zip(&self.attention_mask);
        rows.map(|(ids, mask)| ids.iter().zip(mask).filter(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect())
            .collect()
    }
}

/// `crates/testkit/fixtures`.
pub fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The reference batches in a `reference.json`.
pub fn references_at(path: &Path) -> Vec<Reference> {
    parse(path)
}

/// The bytes of a file that must exist.
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
