//! A file or standard input → rows, in any supported format.

use super::csv::{CsvRecord, CsvRows};
use super::json_rows::JsonRows;
use super::jsonl::parse_line;
use super::turn::read_turn;
use super::{Fields, Line, Parsed, Row, RowError};
use crate::args::{Delimiter, Format};
use crate::error::{CliError, Result};
use crate::output::is_stdio;
use grice_core::utf16_hint;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

const BUFFER_BYTES: usize = 64 << 10;

/// Reads rows in order.
pub(crate) struct RowReader {
    source: Source,
    place: String,
    bytes_total: Option<u64>,
    bytes_fetched: Rc<Cell<u64>>,
}

enum Source {
    Json(JsonRows<BufReader<Counted>>),
    Csv(Box<CsvRows<BufReader<Counted>>>),
}

/// A row that is not parsed yet; rows of other shards are never parsed.
pub(crate) enum RawRow {
    /// A line of JSON.
    Line(u64, Line),
    /// A CSV record.
    Record(CsvRecord),
}

impl RowReader {
    /// Opens a JSON file of labelled rows, or standard input for `-`.
    ///
    /// # Errors
    /// [`CliError::LabelsInCsv`], [`CliError::Encoding`], [`CliError::Read`].
    pub(crate) fn open_json(path: &Path) -> Result<RowReader> {
        match Format::of(path) {
            Some(Format::Csv | Format::Tsv) => Err(CliError::LabelsInCsv(place_of(path))),
            _ => RowReader::open(path, Format::Jsonl, None),
        }
    }

    /// Opens a file, or standard input for `-`. The delimiter of a CSV file is found in its header if none is given.
    ///
    /// # Errors
    /// [`CliError::UnknownFormat`], [`CliError::Encoding`], [`CliError::Read`], and for CSV the errors of the header.
    pub(crate) fn open(path: &Path, format: Format, delimiter: Option<Delimiter>) -> Result<RowReader> {
        RowReader::open_with(path, format, delimiter, "response")
    }

    /// As [`RowReader::open`], for rows of which another field is read than `response`.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub(crate) fn open_with(
        path: &Path,
        format: Format,
        delimiter: Option<Delimiter>,
        field: &str,
    ) -> Result<RowReader> {
        let format = format_of(path, format)?;
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
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        if let Some(hint) = utf16_hint(reader.fill_buf().map_err(unreadable)?) {
            return Err(CliError::Encoding { place, hint });
        }
        let tab = Some(Delimiter(b'\t')).filter(|_| format == Format::Tsv);
        let source = match format {
            Format::Csv | Format::Tsv => Source::Csv(Box::new(CsvRows::new(reader, delimiter.or(tab), &place, field)?)),
            Format::Auto | Format::Jsonl => Source::Json(JsonRows::new(reader)),
        };
        Ok(RowReader { source, place, bytes_total, bytes_fetched })
    }

    /// The next row, not parsed yet, or `None` at the end.
    ///
    /// # Errors
    /// [`CliError::Read`]. Errors of single rows are not reported here.
    pub(crate) fn next(&mut self) -> Result<Option<RawRow>> {
        match &mut self.source {
            Source::Csv(rows) => Ok(rows.next()?.map(RawRow::Record)),
            Source::Json(rows) => match rows.next() {
                Ok(row) => Ok(row.map(|(number, line)| RawRow::Line(number, line))),
                Err(source) => Err(CliError::Read { place: format!("{}:{}", self.place, rows.line()), source }),
            },
        }
    }

    /// Reads a row's fields and its turn.
    pub(crate) fn parse(&self, row: RawRow) -> Row {
        let Parsed { line, fields, value } = self.parse_with(row, read_turn);
        Row { line, fields, turn: value }
    }

    /// Reads a row's fields, and by `read` what is asked of them.
    pub(crate) fn parse_with<T>(&self, row: RawRow, read: impl FnOnce(&Fields) -> Result<T, RowError>) -> Parsed<T> {
        match (row, &self.source) {
            (RawRow::Line(number, line), _) => parse_line(number, line, read),
            (RawRow::Record(record), Source::Csv(rows)) => rows.parse(&record, read),
            // Only CSV sources give records; a line source has none.
            (RawRow::Record(record), Source::Json(_)) => {
                parse_line(record.line, Line::Whole { bytes: Vec::new(), ended: true }, read)
            }
        }
    }

    /// The name of the input for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Size of the input, if known.
    pub(crate) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Number of bytes of the rows so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Json(rows) => self.bytes_fetched.get().saturating_sub(rows.reader().buffer().len() as u64),
            Source::Csv(rows) => rows.bytes_read(),
        }
    }
}

/// The actual format, never [`Format::Auto`].
fn format_of(path: &Path, format: Format) -> Result<Format> {
    match format {
        Format::Auto if is_stdio(path) => Ok(Format::Jsonl),
        Format::Auto => Format::of(path).ok_or_else(|| CliError::UnknownFormat(place_of(path))),
        named => Ok(named),
    }
}

fn place_of(path: &Path) -> String {
    if is_stdio(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Counts the read bytes, for the progress bar.
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
