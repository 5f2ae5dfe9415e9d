//! A model's files: from a folder, from the bytes of a `.tar` of one, or from the copy compiled into the binary.

use crate::{Error, Result};
use grice_model::{Lengths, Manifest, Precision};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST: &str = "grice.json";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// No model here comes near it; a corrupt archive header may.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// An opened bundle: the manifest is parsed and checked, the other files are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Bundle {
    manifest: Manifest,
    files: Files,
    /// The `.tar` that the files were read from.
    archive: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Files {
    Folder(PathBuf),
    Held(Arc<BTreeMap<String, Cow<'static, [u8]>>>),
}

impl Bundle {
    /// Opens a folder, or a `.tar` file of one.
    ///
    /// # Errors
    /// [`Error::BundleFile`] naming the path; [`Error::Model`] for a manifest that cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Bundle> {
        let path = path.as_ref();
        if path.is_dir() {
            return Bundle::from_files(Files::Folder(path.to_owned()));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(path.display(), &error))?;
        let opened = Bundle::from_tar(&bytes).map_err(|error| match error {
            Error::BundleFile { path: inner, cause } => {
                Error::BundleFile { path: path.display().to_string(), cause: format!("{inner}: {cause}") }
            }
            other => other,
        })?;
        Ok(Bundle { archive: Some(path.to_owned()), ..opened })
    }

    /// Opens the bytes of a `.tar` that holds a bundle, at its top or in one folder.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_tar(bytes: &[u8]) -> Result<Bundle> {
        let mut held = BTreeMap::new();
        let mut entries = tar::Archive::new(bytes);
        let unreadable_archive = |error: std::io::Error| Error::BundleFile {
            path: "archive".to_owned(),
            // What follows the first colon is the file's own bytes, and no help to anyone.
            cause: format!(
                "not a readable .tar ({}); a bundle is a folder or a .tar of one",
                error.to_string().split(':').next().unwrap_or_default()
            ),
        };
        for entry in entries.entries().map_err(unreadable_archive)? {
            let mut entry = entry.map_err(unreadable_archive)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            let size = entry.size();
            if size > FILE_BYTES_MAX || size > bytes.len() as u64 {
                let cause = format!("its header claims {size} bytes, more than the archive holds");
                return Err(Error::BundleFile { path: name, cause });
            }
            let mut content = Vec::with_capacity(size as usize);
            entry.read_to_end(&mut content).map_err(unreadable_archive)?;
            held.insert(name, Cow::Owned(content));
        }
        Bundle::from_held(strip_top_folder(held))
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
    /// # Errors
    /// None, unless the repository's own model is broken.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Bundle> {
        Bundle::from_held(crate::embedded::files())
    }

    /// The checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of `tokenizer.json`, its digest checked.
    ///
    /// # Errors
    /// [`Error::BundleFile`].
    pub fn tokenizer(&self) -> Result<Cow<'_, [u8]>> {
        self.checked(TOKENIZER)
    }

    /// The encoder's configuration, `config.json`, parsed.
    ///
    /// # Errors
    /// [`Error::BundleFile`].
    pub fn config(&self) -> Result<serde_json::Value> {
        let bytes = self.checked(CONFIG)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::BundleFile { path: CONFIG.to_owned(), cause: format!("not JSON: {error}") })
    }

    /// Path and bytes of the ONNX file of a precision, its digest checked.
    ///
    /// # Errors
    /// [`Error::NoPrecision`], [`Error::BundleFile`].
    pub fn model(&self, precision: Precision) -> Result<(&str, Cow<'_, [u8]>)> {
        let path = self.model_path(precision)?;
        Ok((path, self.checked(path)?))
    }

    /// The path inside the bundle of the ONNX file of a precision.
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

    /// `sha256:<hex>` of the ONNX file of a precision: what logits in a cache are filed under. By the manifest's word if it has one:
    /// the file is not read then, nor need it be there, and [`Bundle::model`] holds it to that word.
    ///
    /// # Errors
    /// As [`Bundle::model`].
    pub fn model_digest(&self, precision: Precision) -> Result<String> {
        match self.manifest.digests.get(self.model_path(precision)?) {
            Some(digest) => Ok(digest.to_ascii_lowercase()),
            None => Ok(file_digest(&self.model(precision)?.1)),
        }
    }

    /// The lengths of sequences for which the fused program of a precision must equal its graph, and the manifest's word on that, if it is
    /// one for this very file.
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

    /// Where the compiled engine of a precision lies: beside the ONNX file in a folder, `onnx/model_int8.gpu` say; beside a `.tar`,
    /// `bundle.int8.gpu`; in `cache` for the model that is compiled in. `None` for other bytes, or without `cache`.
    ///
    /// # Errors
    /// [`Error::NoPrecision`].
    pub fn compiled_path(&self, precision: Precision, cache: Option<&Path>) -> Result<Option<PathBuf>> {
        let path = self.model_path(precision)?;
        Ok(match (&self.files, &self.archive) {
            (Files::Folder(folder), _) => Some(folder.join(path).with_extension("gpu")),
            (Files::Held(_), Some(archive)) => Some(archive.with_extension(format!("{precision}.gpu"))),
            (Files::Held(_), None) if self.is_embedded() => {
                cache.map(|folder| folder.join(format!("{}.{precision}.gpu", self.manifest.name)))
            }
            (Files::Held(_), None) => None,
        })
    }

    /// The bytes of any of its files by its path inside the bundle, the digest checked if the manifest has one.
    ///
    /// # Errors
    /// [`Error::BundleFile`], [`Error::BundleDigest`].
    pub fn file(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        self.checked(path)
    }

    fn from_files(files: Files) -> Result<Bundle> {
        let bytes = files.read(MANIFEST)?;
        let manifest =
            Manifest::parse(&bytes).map_err(|source| Error::Model { path: files.place(MANIFEST), source })?;
        Ok(Bundle { manifest, files, archive: None })
    }

    /// Files compiled in are not hashed again: the test suite does that once, a cold start need not.
    fn checked(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        let bytes = self.files.read(path)?;
        let Some(expected) = self.manifest.digests.get(path).filter(|_| !self.is_embedded()) else { return Ok(bytes) };
        let found = file_digest(&bytes);
        if found.eq_ignore_ascii_case(expected) {
            return Ok(bytes);
        }
        Err(Error::BundleDigest { path: self.files.place(path), found, expected: expected.clone() })
    }

    fn is_embedded(&self) -> bool {
        match &self.files {
            Files::Folder(_) => false,
            Files::Held(held) => held.values().all(|bytes| matches!(bytes, Cow::Borrowed(_))),
        }
    }
}

impl Files {
    fn read(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        match self {
            Files::Folder(folder) => {
                let file = folder.join(path);
                std::fs::read(&file).map(Cow::Owned).map_err(|error| unreadable(file.display(), &error))
            }
            Files::Held(held) => match held.get(path) {
                Some(bytes) => Ok(Cow::Borrowed(bytes.as_ref())),
                None => {
                    let cause = "missing from the bundle; see docs/bundle.md for what a bundle holds".to_owned();
                    Err(Error::BundleFile { path: path.to_owned(), cause })
                }
            },
        }
    }

    /// The path to name in an error.
    fn place(&self, path: &str) -> String {
        match self {
            Files::Folder(folder) => folder.join(path).display().to_string(),
            Files::Held(_) => path.to_owned(),
        }
    }
}

fn unreadable(path: impl std::fmt::Display, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "; a bundle is a folder with grice.json, or a .tar of one",
        _ => "",
    };
    Error::BundleFile { path: path.to_string(), cause: format!("{error}{hint}") }
}

/// `name/grice.json` and its neighbours → `grice.json` and its neighbours.
fn strip_top_folder(held: BTreeMap<String, Cow<'static, [u8]>>) -> BTreeMap<String, Cow<'static, [u8]>> {
    if held.contains_key(MANIFEST) {
        return held;
    }
    let top = held.keys().find_map(|name| Some(format!("{}/", name.strip_suffix(MANIFEST)?.strip_suffix('/')?)));
    match top {
        Some(top) if !top.trim_end_matches('/').contains('/') => {
            held.into_iter().filter_map(|(name, bytes)| Some((name.strip_prefix(&top)?.to_owned(), bytes))).collect()
        }
        _ => held,
    }
}

/// A file's digest as manifests spell it: `sha256:<hex>`.
pub fn file_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
