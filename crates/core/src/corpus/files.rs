//! Files of a corpus, read and compared with their digests.

use crate::bundle::digest_of;
use crate::{Error, Result};
use std::io;
use std::path::Path;

/// All bytes of a file.
///
/// # Errors
/// [`Error::BundleFile`].
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Compares a file with its digest in the manifest. It is read in pieces.
///
/// # Errors
/// [`Error::BundleDigest`], [`Error::BundleFile`].
pub(super) fn check_digest(path: &Path, expected: &str) -> Result<()> {
    let found = digest_of(path).map_err(|error| unreadable(path, &error))?;
    if found == expected {
        return Ok(());
    }
    Err(Error::BundleDigest { path: path.display().to_string(), found, expected: expected.to_owned() })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; a corpus is a folder that `grice index` makes",
        _ => "",
    };
    Error::BundleFile { path: path.display().to_string(), cause: format!("{error}{hint}") }
}
