//! The compiled program of a model: the file that `grice compile` writes next to the ONNX file. It can replace the ONNX file.

use super::Bundle;
use super::disk::FileSource;
use super::files::Files;
use crate::{Error, Result};
#[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
use grice_model::Program;
use grice_model::{Network, Precision, ProgramOrigin};
#[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
use std::path::PathBuf;

/// The extension of these files.
const EXTENSION: &str = "grice";

impl Bundle {
    /// The path of the compiled program of a precision inside the bundle, for example `onnx/model_int8.grice`. The file need not exist.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn program_path(&self, precision: Precision) -> Result<String> {
        let path = self.model_path(precision)?;
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        Ok(if folder.is_empty() { format!("{stem}.{EXTENSION}") } else { format!("{folder}/{stem}.{EXTENSION}") })
    }

    /// Whether the bundle holds a compiled program of a precision.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn has_program(&self, precision: Precision) -> Result<bool> {
        Ok(self.files.has(&self.program_path(precision)?))
    }

    /// Size in bytes of the compiled program of a precision; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn program_bytes(&self, precision: Precision) -> Result<Option<u64>> {
        Ok(self.files.size(&self.program_path(precision)?))
    }

    /// The path to write a compiled program to; `None` if the bundle is not a folder.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    #[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
    pub(crate) fn program_place(&self, precision: Precision) -> Result<Option<PathBuf>> {
        let path = self.program_path(precision)?;
        Ok(match &self.files {
            Files::Folder(folder) => Some(folder.join(path)),
            Files::Archive(_) | Files::Held(_) => None,
        })
    }

    /// Whether a file with the name of the compiled program has other contents.
    ///
    /// # Errors
    /// [`Error::NoPrecision`], [`Error::BundleFile`].
    #[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
    pub(crate) fn program_is_foreign(&self, precision: Precision) -> Result<bool> {
        let Some(path) = self.program_place(precision)?.filter(|path| path.exists()) else { return Ok(false) };
        let file = FileSource::open(&path).map_err(|error| super::files::unreadable(path.display(), &error))?;
        Ok(!Program::is_stored(&file))
    }

    /// The network in the compiled program of a precision; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Model`] for a damaged program; [`Error::BundleFile`] for a program of another model.
    pub(super) fn restored(&self, precision: Precision) -> Result<Option<Network>> {
        let path = self.program_path(precision)?;
        if !self.files.has(&path) {
            return Ok(None);
        }
        let place = self.files.place(&path);
        let unusable = |source: grice_model::Error| Error::Model { path: place.clone(), source: source.into() };
        // The tests check the hashes of the built-in model.
        let verify = !self.is_embedded();
        let (network, origin) = match &self.files {
            Files::Folder(folder) => {
                let file = FileSource::open(&folder.join(&path));
                let file = file.map_err(|error| super::files::unreadable(&place, &error))?;
                Network::restore(&file, verify).map_err(unusable)?
            }
            Files::Archive(_) | Files::Held(_) => {
                let bytes = self.files.read(&path)?;
                Network::restore(&bytes.as_ref(), verify).map_err(unusable)?
            }
        };
        self.check_origin(&origin, precision, &place)?;
        Ok(Some(network))
    }

    fn check_origin(&self, origin: &ProgramOrigin, precision: Precision, place: &str) -> Result<()> {
        let path = self.model_path(precision)?;
        // Without the ONNX file and without its digest in the manifest, there is nothing to compare with.
        let is_known = self.manifest.digests.contains_key(path) || self.files.has(path);
        let is_own = origin.precision == precision
            && origin.labels == self.manifest.labels.len()
            && (!is_known || origin.digest == self.model_digest(precision)?);
        if is_own {
            return Ok(());
        }
        let cause = "it was compiled from another model than the bundle's; run `grice compile` again, or remove it";
        Err(Error::BundleFile { path: place.to_owned(), cause: cause.to_owned() })
    }
}
