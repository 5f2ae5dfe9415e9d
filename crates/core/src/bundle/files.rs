//! The files of a bundle and their bytes.

use super::archive::Archive;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    Archive(Arc<Archive>),
    Held(Arc<BTreeMap<String, Cow<'static, [u8]>>>),
}

impl Files {
    pub(super) fn read(&self, path: &str) -> Result<Cow<'_, [u8]>> {
        match self {
            Files::Folder(folder) => {
                let file = folder.join(path);
                std::fs::read(&file).map(Cow::Owned).map_err(|error| unreadable(file.display(), &error))
            }
            Files::Archive(_) | Files::Held(_) => match self.held(path) {
                Some(bytes) => Ok(Cow::Borrowed(bytes)),
                None => {
                    let cause = "missing from the bundle; docs/bundle.md lists the files of a bundle".to_owned();
                    Err(Error::BundleFile { path: path.to_owned(), cause })
                }
            },
        }
    }

    /// A range of bytes of a file.
    ///
    /// # Errors
    /// What is wrong with the file, without its name.
    pub(super) fn read_part(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let Files::Folder(folder) = self else {
            let bytes = self
                .held(path)
                .ok_or("it is missing from the bundle; add it, or save the model with its weights inside")?;
            let start = usize::try_from(offset).ok().filter(|start| *start <= bytes.len());
            let part = start.and_then(|start| bytes.get(start..start.checked_add(length)?));
            return part.map(<[u8]>::to_vec).ok_or_else(|| too_short(bytes.len() as u64, offset, length));
        };
        read_part_of(&folder.join(path), offset, length)
    }

    /// `sha256:<hex>` of a file, which is read in pieces.
    pub(super) fn digest(&self, path: &str) -> Result<String> {
        match self {
            Files::Folder(folder) => {
                let file = folder.join(path);
                digest_of(&file).map_err(|error| unreadable(file.display(), &error))
            }
            Files::Archive(_) | Files::Held(_) => Ok(file_digest(&self.read(path)?)),
        }
    }

    /// The size of a file; `None` if it does not exist.
    pub(super) fn size(&self, path: &str) -> Option<u64> {
        match self {
            Files::Folder(folder) => Some(std::fs::metadata(folder.join(path)).ok()?.len()),
            Files::Archive(_) | Files::Held(_) => Some(self.held(path)?.len() as u64),
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            Files::Folder(folder) => folder.join(path).is_file(),
            Files::Archive(_) | Files::Held(_) => self.held(path).is_some(),
        }
    }

    /// Names of the files in the folder of a file, including the file itself.
    pub(super) fn neighbours(&self, path: &str) -> Vec<String> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let name_in = |path: &str| match folder {
            "" => Some(path.to_owned()),
            folder => Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned()),
        };
        match self {
            Files::Folder(root) => {
                let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            Files::Archive(archive) => archive.paths().filter_map(name_in).collect(),
            Files::Held(held) => held.keys().filter_map(|path| name_in(path)).collect(),
        }
    }

    /// The path for error messages.
    pub(super) fn place(&self, path: &str) -> String {
        match self {
            Files::Folder(folder) => folder.join(path).display().to_string(),
            Files::Archive(_) | Files::Held(_) => path.to_owned(),
        }
    }

    fn held(&self, path: &str) -> Option<&[u8]> {
        match self {
            Files::Folder(_) => None,
            Files::Archive(archive) => archive.get(path),
            Files::Held(held) => held.get(path).map(Cow::as_ref),
        }
    }
}

/// A range of bytes of a file on disk; the length is checked before memory is allocated.
pub(super) fn read_part_of(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, String> {
    let read = || -> std::io::Result<Result<Vec<u8>, String>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Ok(Err(too_short(size, offset, length)));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(Ok(bytes))
    };
    read().unwrap_or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Err("it does not exist; put it next to the ONNX file, or save the model with its weights inside".to_owned())
        }
        _ => Err(format!("it cannot be read: {error}")),
    })
}

fn too_short(size: u64, offset: u64, length: usize) -> String {
    format!(
        "it has {size} bytes, but {length} bytes at offset {offset} are needed; it is cut short, or of another model"
    )
}

/// `sha256:<hex>` of a file on disk, which is read in pieces.
///
/// # Errors
/// Those of the file system.
pub(crate) fn digest_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hasher, mut part) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(format!("sha256:{}", hex(&hasher.finalize()))),
            read => hasher.update(&part[..read]),
        }
    }
}

/// The error of a file that cannot be read.
pub(super) fn unreadable(path: impl std::fmt::Display, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "; a bundle is a folder with grice.json, or its .tar file",
        _ => "",
    };
    Error::BundleFile { path: path.to_string(), cause: format!("{error}{hint}") }
}

/// A file's digest in the form of the manifest: `sha256:<hex>`.
pub fn file_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
