//! ONNX files with external weights.

use super::Bundle;
use super::files::read_part_of;
use crate::{Error, Result};
use grice_model::{Lengths, Network, Precision, embed_external, external_files, positions_begin_later};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// Bytes of an ONNX file with all weights inside.
pub type Embedded<'a> = Cow<'a, [u8]>;

impl Bundle {
    /// The network of the ONNX file of a precision, fused only if it computes the same for sequences of all these lengths, regardless of the
    /// manifest. Ignores a compiled program.
    ///
    /// # Errors
    /// As [`Bundle::network`].
    pub fn import(&self, precision: Precision, lengths: &Lengths) -> Result<Network> {
        let (path, onnx) = self.model(precision)?;
        let labels = self.manifest.labels.len();
        let network = self.beside(path, |read| Network::import_beside(onnx, labels, lengths, read))?;
        if network.takes_positions() {
            self.check_start_of_positions(path)?;
        }
        Ok(network)
    }

    /// grice counts `position_ids` from 0, but some encoders were trained with another start.
    fn check_start_of_positions(&self, path: &str) -> Result<()> {
        let config = self.config()?;
        let kind = config.get("model_type").and_then(serde_json::Value::as_str).unwrap_or_default();
        if !positions_begin_later(kind) {
            return Ok(());
        }
        let cause = format!(
            "its graph takes `position_ids`, which grice counts from 0, but the positions of `{kind}` (config.json) begin later; \
             export it without that input"
        );
        Err(Error::BundleFile { path: self.files.place(path), cause })
    }

    /// As [`Bundle::model`], with the external weights put inside.
    ///
    /// # Errors
    /// As [`Bundle::network`].
    pub fn whole_model(&self, precision: Precision) -> Result<(&str, Embedded<'_>)> {
        let (path, onnx) = self.model(precision)?;
        if !self.has_neighbours(path) {
            return Ok((path, onnx));
        }
        match self.beside(path, |read| embed_external(&onnx, read))? {
            Some(whole) => Ok((path, Cow::Owned(whole))),
            None => Ok((path, onnx)),
        }
    }

    /// The paths of the external weights of a precision. Empty if the ONNX file does not exist.
    ///
    /// # Errors
    /// [`Error::NoPrecision`]; [`Error::Model`] for a file that is not ONNX.
    pub fn weight_files(&self, precision: Precision) -> Result<Vec<String>> {
        let path = self.model_path(precision)?;
        if !self.files.has(path) || !self.has_neighbours(path) {
            return Ok(Vec::new());
        }
        let names = external_files(&self.files.read(path)?);
        let names = names.map_err(|source| Error::Model { path: self.files.place(path), source: source.into() })?;
        Ok(names.iter().map(|name| beside(path, name)).collect())
    }

    /// Runs an import with a reader for the files next to `path`. The digest of each file is checked before its first byte is used.
    fn beside<T>(
        &self,
        path: &str,
        import: impl FnOnce(grice_model::ReadBeside<'_>) -> grice_model::Result<T>,
    ) -> Result<T> {
        let checked = RefCell::new(BTreeSet::new());
        let damaged = RefCell::new(None);
        let read = |name: &str, offset: u64, length: usize| -> Result<Vec<u8>, String> {
            let file = beside(path, name);
            if let Some(expected) = self.expected_digest(&file)
                && self.files.has(&file)
                && checked.borrow_mut().insert(file.clone())
            {
                let compared = self.files.digest(&file).and_then(|found| self.compare_digests(&file, found, expected));
                if let Err(error) = compared {
                    let text = error.to_string();
                    *damaged.borrow_mut() = Some(error);
                    return Err(text);
                }
            }
            self.files.read_part(&file, offset, length)
        };
        let imported = import(&read);
        if let Some(error) = damaged.take() {
            return Err(error);
        }
        imported.map_err(|source| Error::Model { path: path.to_owned(), source: source.into() })
    }

    /// Whether a file has neighbours that could hold weights: anything except models and compiled models.
    fn has_neighbours(&self, path: &str) -> bool {
        let ends = [".onnx", ".gpu", ".grice", ".json", ".md", ".txt"];
        self.files.neighbours(path).iter().any(|name| !ends.iter().any(|end| name.ends_with(end)))
    }
}

/// The bytes of an ONNX file without a bundle, with its external weights put inside.
///
/// # Errors
/// [`Error::BundleFile`]; [`Error::Model`] naming the file and what is wrong with it.
pub fn read_model_file(path: &Path) -> Result<Vec<u8>> {
    let onnx = read_alone(path)?;
    let whole = embed_external(&onnx, &|name, offset, length| read_beside(path, name, offset, length));
    match whole.map_err(|source| Error::Model { path: path.display().to_string(), source: source.into() })? {
        Some(whole) => Ok(whole),
        None => Ok(onnx),
    }
}

/// The network of an ONNX file without a bundle, with its external weights.
///
/// # Errors
/// As [`read_model_file`].
pub fn import_model_file(path: &Path, labels: usize) -> Result<Network> {
    let read = |name: &str, offset, length| read_beside(path, name, offset, length);
    let network = Network::import_beside(read_alone(path)?, labels, &Lengths::default(), &read);
    network.map_err(|source| Error::Model { path: path.display().to_string(), source: source.into() })
}

fn read_alone(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::BundleFile {
        path: path.display().to_string(),
        cause: format!("cannot be read: {error}"),
    })
}

fn read_beside(path: &Path, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
    read_part_of(&path.parent().unwrap_or(Path::new("")).join(name), offset, length)
}

/// The path of a file in the same folder as another.
fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}
