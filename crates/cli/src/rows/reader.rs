//! A file or standard input → rows, whatever their format.

use super::csv::{CsvRecord, CsvRows};
use super::jsonl::parse_line;
use super::{LINE_BYTES_MAX, Line, Row, read_line};
use crate::args::Format;
use crate::error::{CliError, Result};
use crate::output::is_stdio;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

const BUFFER_BYTES: usize = 64 << 10;

/// Reads rows in their order.
pub(crate) struct RowReader {
    source: Source,
    place: String,
    bytes_total: Option<u64>,
    bytes_fetched: Rc<Cell<u64>>,
}

enum Source {
    Jsonl { reader: BufReader<Counted>, lines: u64 },
    Csv(Box<CsvRows<Counted>>),
}

/// A row that is not parsed yet: most rows of another shard never need to be.
pub(crate) enum RawRow {
    /// A line of JSON.
    Line(u64, Line),
    /// A CSV record.
    Record(CsvRecord),
}

impl RowReader {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// [`CliError::UnknownFormat`], [`CliError::Read`], and for CSV what is wrong with the header.
    pub(crate) fn open(path: &Path, format: Format) -> Result<RowReader> {
        let csv = is_csv(path, format)?;
        let place = place_of(path);
        let unreadable = |source: io::Error| CliError::Read { place: place.clone(), source };
        let bytes_fetched = Rc::new(Cell::new(0));
        let (source, bytes_total): (Box<dyn Read>, _) = if is_stdio(path) {
            (Box::new(io::stdin().lock()), None)
        } else {
            let file = File::open(path).map_err(unreadable)?;
            let metadata = file.metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                return Err(unreadable(io::Error::other("it is a folder")));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let counted = Counted { source, bytes: Rc::clone(&bytes_fetched) };
        let source = if csv {
            Source::Csv(Box::new(CsvRows::new(counted, &place)?))
        } else {
            Source::Jsonl { reader: BufReader::with_capacity(BUFFER_BYTES, counted), lines: 0 }
        };
        Ok(RowReader { source, place, bytes_total, bytes_fetched })
    }

    /// The next row, not parsed yet, or `None` at the end.
    ///
    /// # Errors
    /// [`CliError::Read`]. What a single row gets wrong is no error here.
    pub(crate) fn next(&mut self) -> Result<Option<RawRow>> {
        match &mut self.source {
            Source::Csv(rows) => Ok(rows.next()?.map(RawRow::Record)),
            Source::Jsonl { reader, lines } => {
                let next = next_line(reader, lines);
                next.map_err(|source| CliError::Read { place: format!("{}:{}", self.place, *lines + 1), source })
            }
        }
    }

    /// Reads a row's fields.
    pub(crate) fn parse(&self, row: RawRow) -> Row {
        match (row, &self.source) {
            (RawRow::Line(number, line), _) => parse_line(number, line),
            (RawRow::Record(record), Source::Csv(rows)) => rows.parse(&record),
            // Records come from CSV sources only; read as a line, one would be an empty row.
            (RawRow::Record(record), Source::Jsonl { .. }) => {
                parse_line(record.line, Line::Whole { bytes: Vec::new(), ended: true })
            }
        }
    }

    /// The input's name for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Size of the input, if it has one.
    pub(crate) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// How much of it the rows so far took.
    pub(crate) fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Jsonl { reader, .. } => self.bytes_fetched.get().saturating_sub(reader.buffer().len() as u64),
            Source::Csv(rows) => rows.bytes_read(),
        }
    }
}

/// The next line that is not blank.
fn next_line(reader: &mut impl BufRead, lines: &mut u64) -> io::Result<Option<RawRow>> {
    loop {
        let Some(mut line) = read_line(reader, LINE_BYTES_MAX)? else { return Ok(None) };
        *lines += 1;
        if let Line::Whole { bytes, .. } = &mut line {
            if *lines == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
        }
        return Ok(Some(RawRow::Line(*lines, line)));
    }
}

fn is_csv(path: &Path, format: Format) -> Result<bool> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match (format, extension.as_deref()) {
        (Format::Jsonl, _) => Ok(false),
        (Format::Csv, _) => Ok(true),
        (Format::Auto, _) if is_stdio(path) => Ok(false),
        (Format::Auto, Some("jsonl" | "ndjson" | "json")) => Ok(false),
        (Format::Auto, Some("csv")) => Ok(true),
        (Format::Auto, _) => Err(CliError::UnknownFormat(place_of(path))),
    }
}

fn place_of(path: &Path) -> String {
    if is_stdio(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Counts what is read, for the progress bar.
struct Counted {
    source: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}
