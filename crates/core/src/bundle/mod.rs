//! The files of a model: from a folder, from a `.tar` file or its bytes, or from the copy compiled into the binary.

#[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only external weights use the rest"))]
mod archive;
mod bytes;
mod disk;
#[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "only external weights use the rest"))]
mod files;
mod names;
mod program;
#[cfg(feature = "onnx")]
mod weights;

use crate::{Error, Result};
pub(crate) use archive::Archive;
pub use bytes::Bytes;
pub use disk::DiskFolder;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use disk::FileSource;
use files::Files;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use files::digest_of;
pub use files::file_digest;
use grice_model::{Lengths, Manifest, Network, Precision};
use names::{CONFIG, MANIFEST, TOKENIZER};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "onnx")]
pub use weights::{Embedded, import_model_file, read_model_file};

/// An opened bundle: the manifest is parsed and checked; the other files are read when needed.
///
/// ```
/// use grice_core::{Bundle, Error, Precision};
///
/// # fn main() -> grice_core::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/tiny-bert");
/// let bundle = Bundle::open(folder)?;
/// assert_eq!(bundle.manifest().name, "tiny-bert");
/// assert_eq!(bundle.model_path(Precision::Fp32)?, "onnx/model.onnx");
///
/// // Errors name the path at fault.
/// let error = Bundle::open("no/such/bundle.tar").unwrap_err();
/// assert!(matches!(&error, Error::BundleFile { path, .. } if path == "no/such/bundle.tar"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bundle {
    manifest: Manifest,
    files: Files,
    /// The `.tar` that the files were read from.
    archive: Option<PathBuf>,
}

impl Bundle {
    /// Opens a bundle's folder or `.tar` file.
    ///
    /// # Errors
    /// [`Error::BundleFile`] naming the path; [`Error::Model`] for a manifest that cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Bundle> {
        let path = path.as_ref();
        if path.is_dir() {
            return Bundle::from_files(Files::Folder(path.to_owned()));
        }
        let bytes = std::fs::read(path).map_err(|error| files::unreadable(path.display(), &error))?;
        let opened = Bundle::from_bytes(bytes).map_err(|error| match error {
            Error::BundleFile { path: inner, cause } => {
                Error::BundleFile { path: path.display().to_string(), cause: format!("{inner}: {cause}") }
            }
            other => other,
        })?;
        Ok(Bundle { archive: Some(path.to_owned()), ..opened })
    }

    /// Opens the bytes of a bundle's `.tar` file and keeps a copy of them. The bundle is at the top of the archive or in one folder.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_tar(bytes: &[u8]) -> Result<Bundle> {
        Bundle::from_bytes(bytes.to_vec())
    }

    /// As [`Bundle::from_tar`], without a copy: takes a `Vec<u8>`, a shared `Arc<[u8]>`, or static bytes.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Bundle> {
        Bundle::from_files(Files::Archive(Arc::new(Archive::read(bytes.into())?)))
    }

    /// Opens files by their paths inside the bundle.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_held(files: BTreeMap<String, Cow<'static, [u8]>>) -> Result<Bundle> {
        Bundle::from_files(Files::Held(Arc::new(files)))
    }

    /// The default model, compiled into the binary.
    ///
    /// ```
    /// use grice_core::{Bundle, Detector, Options, Turn};
    ///
    /// # fn main() -> grice_core::Result<()> {
    /// let mut detector = Detector::load(&Bundle::embedded()?, &Options::default())?;
    /// let verdict = detector.detect(&Turn::new("What did you think of the film?", "Yes."))?;
    /// assert!(verdict.violations.quantity);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Only if the repository's own model is broken.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Bundle> {
        Bundle::from_held(crate::embedded::files())
    }

    /// The checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of `tokenizer.json`; checks the digest.
    ///
    /// # Errors
    /// [`Error::BundleFile`].
    pub fn tokenizer(&self) -> Result<Cow<'_, [u8]>> {
        Ok(without_bom(self.checked(TOKENIZER)?))
    }

    /// The encoder's configuration, `config.json`, parsed.
    ///
    /// # Errors
    /// [`Error::BundleFile`].
    pub fn config(&self) -> Result<serde_json::Value> {
        let bytes = without_bom(self.checked(CONFIG)?);
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::BundleFile { path: CONFIG.to_owned(), cause: format!("not JSON: {error}") })
    }

    /// Path and bytes of the ONNX file of a precision; checks the digest.
    ///
    /// # Errors
    /// [`Error::NoPrecision`], [`Error::BundleFile`].
    pub fn model(&self, precision: Precision) -> Result<(&str, Cow<'_, [u8]>)> {
        let path = self.model_path(precision)?;
        Ok((path, self.checked(path)?))
    }

    /// The path of the ONNX file of a precision, inside the bundle.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn model_path(&self, precision: Precision) -> Result<&str> {
        let models = &self.manifest.models;
        let path = models.get(&precision).ok_or_else(|| Error::NoPrecision {
            bundle: self.manifest.name.clone(),
            asked: precision,
            has: models.keys().map(|has| has.name()).collect::<Vec<_>>().join(", "),
        })?;
        Ok(path)
    }

    /// The sequence lengths for which the fused program of a precision must equal its graph, and the manifest's proof of that, if it is
    /// for this file.
    ///
    /// # Errors
    /// As [`Bundle::model`].
    pub fn lengths(&self, precision: Precision) -> Result<Lengths> {
        let proof = self.manifest.fused.get(self.model_path(precision)?);
        let proof = match proof {
            Some(proof) if proof.is_of(&self.model_digest(precision)?) => Some(proof.clone()),
            _ => None,
        };
        Ok(Lengths { up_to: self.manifest.max_tokens, proof })
    }

    /// The network of a precision: from its compiled program if the bundle has one, otherwise imported from its ONNX file and its external
    /// weights.
    ///
    /// # Errors
    /// [`Error::NoPrecision`], [`Error::BundleFile`], [`Error::BundleDigest`]; [`Error::Model`] naming the file and what is wrong with it;
    /// [`Error::NeedsOnnx`] if there is no compiled program and this build reads no ONNX files.
    pub fn network(&self, precision: Precision) -> Result<Network> {
        match self.restored(precision)? {
            Some(network) => Ok(network),
            None => self.import(precision, &self.lengths(precision)?),
        }
    }

    #[cfg(not(feature = "onnx"))]
    pub(crate) fn import(&self, precision: Precision, _: &Lengths) -> Result<Network> {
        Err(Error::NeedsOnnx { path: self.files.place(self.model_path(precision)?) })
    }

    /// The path of the compiled engine of a precision: next to the ONNX file in a folder, for example `onnx/model_int8.gpu`; next to a `.tar`,
    /// `bundle.int8.gpu`; in `cache` for the built-in model. `None` for other bytes, or without `cache`.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn compiled_path(&self, precision: Precision, cache: Option<&Path>) -> Result<Option<PathBuf>> {
        let path = self.model_path(precision)?;
        Ok(match (&self.files, &self.archive) {
            (Files::Folder(folder), _) => Some(folder.join(path).with_extension("gpu")),
            (_, Some(archive)) => Some(archive.with_extension(format!("{precision}.gpu"))),
            (_, None) if self.is_embedded() => {
                cache.map(|folder| folder.join(format!("{}.{precision}.gpu", self.manifest.name)))
            }
            (_, None) => None,
        })
    }

    /// Size of a model in bytes: its ONNX file and its external weights; `None` if a file is missing.
    ///
    /// # Errors
    /// As [`Bundle::weight_files`].
    pub fn model_bytes(&self, precision: Precision) -> Result<Option<u64>> {
        let path = self.model_path(precision)?.to_owned();
        let files = self.weight_files(precision)?;
        Ok(std::iter::once(path).chain(files).map(|path| self.files.size(&path)).sum())
    }

    /// `sha256:<hex>` of the model of a precision, external weights included: part of the keys of cached logits. If the manifest has
    /// the digest, the file is not read and need not exist; [`Bundle::model`] compares the file with that digest.
    ///
    /// # Errors
    /// As [`Bundle::model`] and [`Bundle::weight_files`].
    pub fn model_digest(&self, precision: Precision) -> Result<String> {
        let path = self.model_path(precision)?;
        let program = self.program_path(precision)?;
        let stands_in = !self.files.has(path) && self.files.has(&program);
        let digest = match self.manifest.digests.get(path) {
            // Only a reader of the program learns the digest of its source.
            None if stands_in => return self.digest_of(&program),
            _ => self.digest_of(path)?,
        };
        let files = self.weight_files(precision)?;
        if files.is_empty() {
            return Ok(digest);
        }
        let mut all = format!("{path} {digest}\n");
        for file in files {
            all += &format!("{file} {}\n", self.digest_of(&file)?);
        }
        Ok(file_digest(all.as_bytes()))
    }

    #[cfg(not(feature = "onnx"))]
    fn weight_files(&self, _: Precision) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn digest_of(&self, path: &str) -> Result<String> {
        match self.manifest.digests.get(path) {
            Some(digest) => Ok(digest.to_ascii_lowercase()),
            None => self.files.digest(path),
        }
    }

    /// The bytes of a file by its path inside the bundle; checks the digest if the manifest has one.
    ///
    /// # Errors
    /// [`Error::BundleFile`], [`Error::BundleDigest`].
    pub fn file(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        self.checked(path)
    }

    fn from_files(files: Files) -> Result<Bundle> {
        let bytes = without_bom(files.read(MANIFEST)?);
        let manifest = Manifest::parse_beside(&bytes, &|path| files.has(path));
        let manifest =
            manifest.map_err(|source| Error::Model { path: files.place(MANIFEST), source: source.into() })?;
        drop(bytes);
        Ok(Bundle { manifest, files, archive: None })
    }

    /// Does not hash built-in files, because the tests do that; this saves time at the start.
    fn checked(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        let bytes = self.files.read(path)?;
        if let Some(expected) = self.expected_digest(path) {
            self.compare_digests(path, file_digest(&bytes), expected)?;
        }
        Ok(bytes)
    }

    fn expected_digest(&self, path: &str) -> Option<&str> {
        self.manifest.digests.get(path).filter(|_| !self.is_embedded()).map(String::as_str)
    }

    fn compare_digests(&self, path: &str, found: String, expected: &str) -> Result<()> {
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(Error::BundleDigest { path: self.files.place(path), found, expected: expected.to_owned() })
    }

    fn is_embedded(&self) -> bool {
        match &self.files {
            Files::Folder(_) | Files::Archive(_) => false,
            Files::Held(held) => held.values().all(|bytes| matches!(bytes, Cow::Borrowed(_))),
        }
    }
}

/// The bytes of a text file without the byte order mark that some editors write.
fn without_bom(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.strip_prefix(MARK).unwrap_or(bytes)),
        Cow::Owned(bytes) if bytes.starts_with(MARK) => Cow::Owned(bytes[MARK.len()..].to_vec()),
        owned => owned,
    }
}
