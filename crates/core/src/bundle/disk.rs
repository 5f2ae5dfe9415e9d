//! Files that are read piece by piece.

use grice_model::{Folder, Source};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A folder on disk.
pub struct DiskFolder(pub PathBuf);

impl Folder for DiskFolder {
    fn file(&self, name: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        match FileSource::open(&self.0.join(name)) {
            Ok(source) => Ok(Some(Box::new(source))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file that is read piece by piece.
pub(crate) struct FileSource {
    file: File,
    length: u64,
}

impl FileSource {
    pub(crate) fn open(path: &Path) -> io::Result<FileSource> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(FileSource { file, length })
    }
}

impl Source for FileSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.read_into(range, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    fn read_into(&self, range: Range<u64>, bytes: &mut [u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(bytes)
    }
}
