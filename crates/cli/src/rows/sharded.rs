//! The rows of one shard of a file.

use super::RowReader;
use super::reader::RawRow;
use crate::args::Shard;
use crate::error::Result;

/// Reads the rows that belong to a shard. `T` is what a row is read as.
pub(crate) struct ShardRows<T> {
    reader: RowReader,
    shard: Shard,
    index: usize,
    put_back: Option<(usize, T)>,
}

impl<T> ShardRows<T> {
    /// All rows of the file, without a shard.
    pub(crate) fn new(reader: RowReader, shard: Option<Shard>) -> ShardRows<T> {
        ShardRows { reader, shard: shard.unwrap_or(Shard::WHOLE), index: 0, put_back: None }
    }

    /// The next row and its number in the file, from 0.
    ///
    /// # Errors
    /// As [`RowReader::next`].
    pub(crate) fn next(&mut self, parse: impl FnOnce(&RowReader, RawRow) -> T) -> Result<Option<(usize, T)>> {
        if let Some(row) = self.put_back.take() {
            return Ok(Some(row));
        }
        while let Some(raw) = self.reader.next()? {
            let index = self.index;
            self.index += 1;
            if self.shard.holds(index) {
                return Ok(Some((index, parse(&self.reader, raw))));
            }
        }
        Ok(None)
    }

    /// Gives a row back, to be the next one again.
    pub(crate) fn put_back(&mut self, index: usize, row: T) {
        self.put_back = Some((index, row));
    }

    /// The file.
    pub(crate) fn reader(&self) -> &RowReader {
        &self.reader
    }
}
