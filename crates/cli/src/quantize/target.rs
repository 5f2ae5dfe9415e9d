//! The output of the quantized model.

use super::origin::Origin;
use super::report::Outcome;
use crate::args::{Quantize, QuantizeMode};
use crate::error::{CliError, Result};
use crate::output::replace_file;
use grice_core::{Bundle, file_digest};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// An output that may be written.
pub(crate) enum Target {
    /// An ONNX file.
    File(PathBuf),
    /// A bundle's folder.
    Bundle {
        /// Its path.
        folder: PathBuf,
        /// Whether it is the model's own folder, which already has the other files.
        own: bool,
    },
}

impl Target {
    /// Checks `--output`.
    ///
    /// # Errors
    /// [`CliError::TargetExists`], [`CliError::TargetKind`].
    pub(crate) fn choose(args: &Quantize, mode: QuantizeMode, origin: &Origin) -> Result<Target> {
        let path = &args.output;
        let place = path.display().to_string();
        let taken = || CliError::TargetExists(place.clone());
        match origin {
            Origin::File(..) if path.is_dir() => {
                Err(CliError::TargetKind { place, expected: "a file, because the model is one" })
            }
            Origin::File(..) if path.exists() && !args.overwrite => Err(taken()),
            Origin::File(..) => Ok(Target::File(path.clone())),
            Origin::Bundle(..) if path.exists() && !path.is_dir() => {
                Err(CliError::TargetKind { place, expected: "a folder, because the model is a bundle" })
            }
            Origin::Bundle(bundle, own_path) => {
                let own = own_path.as_deref().is_some_and(|own| is_same_folder(own, path));
                let has_it = bundle.manifest().models.keys().any(|precision| precision.name() == name_of(mode));
                let used = if own { has_it } else { path.is_dir() && !is_empty(path) };
                if used && !args.overwrite { Err(taken()) } else { Ok(Target::Bundle { folder: path.clone(), own }) }
            }
        }
    }

    /// Writes the model, and for a bundle all its other files. The manifest comes last, so that an interrupted run
    /// leaves no bundle that names missing files.
    ///
    /// # Errors
    /// [`CliError::Write`], errors of the bundle.
    pub(crate) fn write(&self, origin: &Origin, outcome: &Outcome) -> Result<()> {
        match (self, origin) {
            (Target::Bundle { folder, own }, Origin::Bundle(bundle, _)) => write_bundle(folder, *own, bundle, outcome),
            (Target::File(path) | Target::Bundle { folder: path, .. }, _) => replace_file(path, &outcome.onnx),
        }
    }
}

fn write_bundle(folder: &Path, own: bool, bundle: &Bundle, outcome: &Outcome) -> Result<()> {
    let precision = outcome.precision();
    let path = format!("onnx/model_{}.onnx", precision.name());
    let mut manifest: Value = serde_json::from_slice(&bundle.file("grice.json")?)
        .map_err(|error| CliError::Manifest(format!("not JSON: {error}")))?;
    if !own {
        let mut names = vec!["config.json".to_owned(), "tokenizer.json".to_owned()];
        for (&other, path) in bundle.manifest().models.iter().filter(|(other, _)| **other != precision) {
            names.push(path.clone());
            names.extend(bundle.weight_files(other)?);
        }
        for name in names {
            replace_file(&folder.join(&name), &bundle.file(&name)?)?;
        }
    }
    replace_file(&folder.join(&path), &outcome.onnx)?;
    let Some(fields) = manifest.as_object_mut() else {
        return Err(CliError::Manifest("not an object".to_owned()));
    };
    if let Some(old) = bundle.manifest().models.get(&precision).filter(|old| **old != path) {
        forget(fields, "digests", old);
        forget(fields, "fused", old);
    }
    let mut set = |field: &str, name: &str, value: Value| {
        let object = fields.entry(field).or_insert_with(|| json!({}));
        if !object.is_object() {
            *object = json!({});
        }
        object[name] = value;
    };
    set("models", precision.name(), json!(path));
    set("digests", &path, json!(file_digest(&outcome.onnx)));
    set("quality", precision.name(), outcome.json());
    match crate::prove::proof_of(&path, &outcome.onnx, bundle.manifest().max_tokens)? {
        Some(proof) => set("fused", &path, json!(proof)),
        None => forget(fields, "fused", &path),
    }
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n";
    replace_file(&folder.join("grice.json"), text.as_bytes())
}

/// Removes the manifest's entries for a file.
fn forget(fields: &mut Map<String, Value>, field: &str, path: &str) {
    if let Some(object) = fields.get_mut(field).and_then(Value::as_object_mut) {
        object.remove(path);
    }
}

fn name_of(mode: QuantizeMode) -> &'static str {
    match mode {
        QuantizeMode::Dynamic | QuantizeMode::Static => "int8",
        QuantizeMode::Fp16 => "fp16",
    }
}

fn is_same_folder(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
