//! The file as bytes: a prefix, aligned blobs, and last the header, which says what they are.
//!
//! ```text
//! prefix, 64 bytes: "gricegpu", form (u32), 0 (u32), header's offset (u64), its bytes (u64), its BLAKE3 hash (32)
//! blobs, each at a multiple of 64
//! header, JSON
//! ```
//!
//! Numbers are in the order of bytes of the machine that wrote them, by which a machine of the other order reads another form.

use bytemuck::Pod;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"gricegpu";
/// The form of the file: to be raised when prefix, header or the order of packed weights changes.
const FORM: u32 = 2;
const PREFIX_BYTES: usize = 64;
const ALIGNMENT: u64 = 64;
/// Names and numbers of the largest models fit many times over.
const HEADER_BYTES_MAX: u64 = 32 << 20;
/// Read and hashed together, while they are in the processor's cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Where some bytes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    offset: u64,
    pub(super) bytes: u64,
    /// BLAKE3, in hexadecimal.
    hash: String,
}

/// A file that is being written, under another name until it is whole.
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    end: u64,
}

/// A file that is being read.
pub(super) struct Opened {
    file: File,
    bytes: u64,
}

impl Draft {
    /// Refuses to take the place of what is no compiled engine, of whatever form.
    pub(super) fn create(path: &Path) -> io::Result<Draft> {
        let mut magic = [0; MAGIC.len()];
        if path.exists() && !(File::open(path)?.read_exact(&mut magic).is_ok() && magic == MAGIC) {
            let reason = "there is another file of this name, which is no compiled engine; move it away";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.part", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let mut file = File::create(&unfinished)?;
        file.write_all(&[0; PREFIX_BYTES])?;
        Ok(Draft { file, path: path.to_owned(), unfinished, end: PREFIX_BYTES as u64 })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<Blob> {
        let offset = self.end.next_multiple_of(ALIGNMENT);
        self.file.write_all(&[0; ALIGNMENT as usize][..(offset - self.end) as usize])?;
        self.file.write_all(bytes)?;
        self.end = offset + bytes.len() as u64;
        Ok(Blob { offset, bytes: bytes.len() as u64, hash: blake3::hash(bytes).to_hex().to_string() })
    }

    /// Writes the header and gives the file its name; answers its length in bytes.
    pub(super) fn finish(mut self, header: &[u8]) -> io::Result<u64> {
        let blob = self.push(header)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&prefix(&blob, header))?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, &self.path)?;
        Ok(self.end)
    }
}

impl Drop for Draft {
    /// What was finished has another name by now.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

impl Opened {
    /// Opens a file and reads its header, or says what is wrong with it.
    pub(super) fn open(path: &Path) -> Result<(Opened, Vec<u8>), String> {
        let unreadable = |error: io::Error| error.to_string();
        let mut file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let mut prefix = [0; PREFIX_BYTES];
        file.read_exact(&mut prefix).map_err(|_| "it is no compiled engine".to_owned())?;
        if prefix[..8] != MAGIC {
            return Err("it is no compiled engine".to_owned());
        }
        if prefix[8..12] != FORM.to_ne_bytes() {
            return Err("another release of grice made it".to_owned());
        }
        let number = |at: usize| bytemuck::pod_read_unaligned::<u64>(&prefix[at..at + 8]);
        let hash = prefix[32..].iter().map(|byte| format!("{byte:02x}")).collect();
        let blob = Blob { offset: number(16), bytes: number(24), hash };
        if blob.bytes > HEADER_BYTES_MAX {
            return Err("it is damaged: its header is too long".to_owned());
        }
        let opened = Opened { file, bytes };
        let header = opened.read(&blob)?;
        Ok((opened, header))
    }

    /// All of a blob, as it was written.
    pub(super) fn read<T: Pod>(&self, blob: &Blob) -> Result<Vec<T>, String> {
        let damaged = |what: &str| format!("it is damaged: {what}");
        let is_inside = blob.offset.checked_add(blob.bytes).is_some_and(|end| end <= self.bytes);
        let size = size_of::<T>() as u64;
        if !is_inside || !blob.bytes.is_multiple_of(size) {
            return Err(damaged("it ends too early"));
        }
        let mut numbers: Vec<T> = bytemuck::zeroed_vec((blob.bytes / size) as usize);
        let mut hasher = blake3::Hasher::new();
        let mut file = &self.file;
        let read = |error: io::Error| damaged(&error.to_string());
        file.seek(SeekFrom::Start(blob.offset)).map_err(read)?;
        for chunk in bytemuck::cast_slice_mut::<T, u8>(&mut numbers).chunks_mut(CHUNK_BYTES) {
            file.read_exact(chunk).map_err(read)?;
            hasher.update(chunk);
        }
        match hasher.finalize().to_hex().as_str() == blob.hash {
            true => Ok(numbers),
            false => Err(damaged("its bytes are not those that were written")),
        }
    }
}

fn prefix(header: &Blob, bytes: &[u8]) -> Vec<u8> {
    let mut prefix = MAGIC.to_vec();
    prefix.extend(FORM.to_ne_bytes());
    prefix.extend(0u32.to_ne_bytes());
    prefix.extend(header.offset.to_ne_bytes());
    prefix.extend(header.bytes.to_ne_bytes());
    prefix.extend(blake3::hash(bytes).as_bytes());
    prefix
}
