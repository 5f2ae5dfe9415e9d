//! A file that is read from its beginning on, never beyond its end.

use crate::safetensors::Source;
use std::io;

/// Bytes that are read at once where less is asked for.
const CHUNK: u64 = 64 << 10;

/// A place in a file.
pub(super) struct Cursor<'s> {
    source: &'s dyn Source,
    at: u64,
    chunk: Vec<u8>,
    /// Where the chunk begins.
    start: u64,
}

impl<'s> Cursor<'s> {
    pub(super) fn new(source: &'s dyn Source) -> Cursor<'s> {
        Cursor { source, at: 0, chunk: Vec::new(), start: 0 }
    }

    /// How many bytes come before this place.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How many bytes come after it.
    pub(super) fn rest(&self) -> u64 {
        self.source.length().saturating_sub(self.at)
    }

    /// The next bytes.
    pub(super) fn bytes(&mut self, count: u64) -> Result<&[u8], String> {
        let cut = || "it is cut short: its header ends beyond it".to_owned();
        let length = self.source.length();
        let end = self.at.checked_add(count).filter(|end| *end <= length).ok_or_else(cut)?;
        let loaded = self.start + self.chunk.len() as u64;
        if self.at < self.start || end > loaded {
            let stop = end.max(self.at.saturating_add(CHUNK)).min(length);
            let told = |error: io::Error| format!("it cannot be read: {error}");
            self.chunk = self.source.read(self.at..stop).map_err(told)?.into_owned();
            self.start = self.at;
        }
        let from = (self.at - self.start) as usize;
        self.at = end;
        self.chunk.get(from..from + count as usize).ok_or_else(cut)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64)?);
        Ok(array)
    }

    /// A whole number of 32 bits.
    pub(super) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A whole number of 64 bits.
    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text: its length, then its bytes.
    pub(super) fn text(&mut self) -> Result<&str, String> {
        let length = self.u64()?;
        let at = self.at;
        let told = |_| format!("the text at byte {at} of its header is no UTF-8");
        std::str::from_utf8(self.bytes(length)?).map_err(told)
    }
}
