//! A `.tar.gz` of one folder: the same files give the same bytes.

use super::contents::File;
use crate::{Error, Result};
use flate2::{Compression, GzBuilder, read::GzDecoder};
use std::path::Path;

/// Writes files into a folder of a new archive.
///
/// # Errors
/// [`Error::File`].
pub(super) fn write(archive: &Path, folder: &str, files: &[File]) -> Result<()> {
    let unwritable = |source| Error::File { path: archive.to_owned(), source };
    std::fs::create_dir_all(archive.parent().unwrap_or(archive)).map_err(unwritable)?;
    let file = std::fs::File::create(archive).map_err(unwritable)?;
    // No time and no name of the machine.
    let mut tar = tar::Builder::new(GzBuilder::new().mtime(0).write(file, Compression::best()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes.len() as u64);
        header.set_mode(if file.is_program { 0o755 } else { 0o644 });
        tar.append_data(&mut header, format!("{folder}/{}", file.path), file.bytes.as_slice()).map_err(unwritable)?;
    }
    tar.into_inner().and_then(|gzip| gzip.finish()).map(drop).map_err(unwritable)
}

/// Unpacks an archive into a new folder.
///
/// # Errors
/// [`Error::File`].
pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let unreadable = |source| Error::File { path: archive.to_owned(), source };
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    }
    let file = std::fs::File::open(archive).map_err(unreadable)?;
    tar::Archive::new(GzDecoder::new(file)).unpack(folder).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_its_files_and_is_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str, is_program| File { path: path.to_owned(), bytes: path.as_bytes().to_vec(), is_program };
        let files = [file("grice", true), file("man/grice.1", false)];
        let (one, two) = (folder.path().join("one.tar.gz"), folder.path().join("two.tar.gz"));
        write(&one, "grice-1", &files).unwrap();
        write(&two, "grice-1", &files).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let unpacked = folder.path().join("unpacked");
        unpack(&one, &unpacked).unwrap();
        unpack(&one, &unpacked).unwrap();
        assert_eq!(std::fs::read(unpacked.join("grice-1/man/grice.1")).unwrap(), b"man/grice.1");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(unpacked.join("grice-1/grice")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
    }
}
