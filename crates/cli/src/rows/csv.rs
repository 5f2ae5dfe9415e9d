//! CSV records → rows.

use super::{Field, Fields, LINE_BYTES_MAX, Parsed, RowError};
use crate::args::Delimiter;
use crate::error::{CliError, Result};
use ::csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use grice_core::without_bom;
use serde_json::value::to_raw_value;
use std::cell::Cell;
use std::io::{self, Chain, Cursor, Read};
use std::rc::Rc;

/// Reads records one by one, after checking the header.
pub(crate) struct CsvRows<R> {
    reader: Reader<Watched<Chain<Cursor<Vec<u8>>, R>>>,
    seen: Rc<Seen>,
    header: Vec<String>,
    place: String,
}

/// A raw record, parsed only if needed.
#[derive(Debug)]
pub(crate) struct CsvRecord {
    pub(crate) line: u64,
    record: ByteRecord,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header, which must have a column `wanted`, and finds the delimiter in it if none is given.
    ///
    /// # Errors
    /// [`CliError::CsvNoColumn`], [`CliError::CsvHeader`], [`CliError::Read`].
    pub(crate) fn new(mut source: R, delimiter: Option<Delimiter>, place: &str, wanted: &str) -> Result<CsvRows<R>> {
        let head = read_head(&mut source).map_err(|source| CliError::Read { place: place.to_owned(), source })?;
        let delimiter = delimiter.map_or_else(|| find_delimiter(&head, wanted), |Delimiter(byte)| byte);
        let seen = Rc::new(Seen::default());
        let watched = Watched { source: Cursor::new(head).chain(source), seen: Rc::clone(&seen) };
        // By default the reader ends a record between carriage return and line feed, and its line numbers are too low.
        let terminator = Terminator::Any(b'\n');
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).terminator(terminator).delimiter(delimiter);
        let reader = builder.from_reader(watched);
        let mut rows = CsvRows { reader, seen, header: Vec::new(), place: place.to_owned() };
        let names = rows.next()?.map(|record| record.record).unwrap_or_default();
        rows.header = check_header(&names, place, wanted)?;
        Ok(rows)
    }

    /// The next record, or `None` at the end. Blank lines are none.
    ///
    /// # Errors
    /// [`CliError::Read`], also for a record so long that a quote must have been left open: the records after it cannot be
    /// separated.
    pub(crate) fn next(&mut self) -> Result<Option<CsvRecord>> {
        loop {
            self.seen.budget.set(LINE_BYTES_MAX);
            let mut record = ByteRecord::new();
            let line = self.reader.position().line();
            match self.reader.read_byte_record(&mut record) {
                Ok(true) if record.len() == 1 && record.get(0) == Some(b"\r") => {}
                Ok(true) => return Ok(Some(CsvRecord { line: self.first_line(&record), record })),
                Ok(false) => return Ok(None),
                Err(error) => return Err(unreadable(&self.place, line, error)),
            }
        }
    }

    /// Number of bytes of the records so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The reader only knows where it began to look for a record, before blank lines. So this counts back from the end of the
    /// record.
    fn first_line(&self, record: &ByteRecord) -> u64 {
        let end = self.reader.position();
        let inside = record.as_slice().iter().filter(|&&byte| byte == b'\n').count() as u64;
        let cut_off = end.byte() == self.seen.bytes.get() && self.seen.last.get() != b'\n';
        end.line().saturating_sub(inside + u64::from(!cut_off))
    }

    /// Reads a record's fields, and by `read` what is asked of them.
    pub(crate) fn parse<T>(&self, record: &CsvRecord, read: impl FnOnce(&Fields) -> Result<T, RowError>) -> Parsed<T> {
        let (fields, problem) = self.read_fields(&record.record);
        let value = match problem {
            Some(problem) => Err(problem),
            None => read(&fields),
        };
        Parsed { line: record.line, fields, value }
    }

    /// The valid fields, and the error of the others.
    fn read_fields(&self, record: &ByteRecord) -> (Fields, Option<RowError>) {
        let mut fields = Vec::with_capacity(self.header.len());
        let mut problem = None;
        for (place, (name, cell)) in self.header.iter().zip(record).enumerate() {
            let last = place + 1 == record.len();
            // Concatenated files have byte order marks in the middle.
            let cell = if place == 0 { without_bom(cell) } else { cell };
            match std::str::from_utf8(if last { without_return(cell) } else { cell }) {
                Ok(text) => match to_raw_value(text) {
                    Ok(json) => fields.push(Field { name: name.clone(), json }),
                    Err(error) => problem = Some(RowError::NotJson(error.to_string())),
                },
                Err(error) => {
                    let place = format!("`{name}`");
                    problem = Some(RowError::NotUtf8 { place, at: error.valid_up_to() });
                }
            }
        }
        if record.len() != self.header.len() {
            problem = Some(RowError::Ragged { found: record.len(), expected: self.header.len() });
        }
        (Fields::new(fields), problem)
    }
}

/// Maximum number of bytes to search for the end of the header.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Possible delimiters, the likelier first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The first bytes, at least up to a line's end, within a limit.
fn read_head(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while head.len() < HEAD_BYTES_MAX && !ends_a_record(&head) {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// Whether a non-blank line ends here, outside of quotes.
fn ends_a_record(head: &[u8]) -> bool {
    let (mut quoted, mut blank) = (false, true);
    head.iter().any(|&byte| {
        quoted ^= byte == b'"';
        blank &= byte.is_ascii_whitespace();
        byte == b'\n' && !quoted && !blank
    })
}

/// The delimiter that gives the header a column `wanted`; otherwise the one that gives the most columns.
fn find_delimiter(head: &[u8], wanted: &str) -> u8 {
    let names = |delimiter: u8| {
        let mut builder = ReaderBuilder::new();
        let mut reader = builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(head);
        let mut record = ByteRecord::new();
        _ = reader.read_byte_record(&mut record);
        record
    };
    let is_wanted = |&delimiter: &u8| names(delimiter).iter().any(|name| name.trim_ascii() == wanted.as_bytes());
    let fitting = DELIMITERS.into_iter().find(is_wanted);
    fitting.unwrap_or_else(|| DELIMITERS.into_iter().rev().max_by_key(|&byte| names(byte).len()).unwrap_or(b','))
}

fn check_header(names: &ByteRecord, place: &str, wanted: &str) -> Result<Vec<String>> {
    let mut header: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let refuse = |cause: String| CliError::CsvHeader { place: place.to_owned(), cause };
        let name = std::str::from_utf8(name)
            .map_err(|_| refuse(format!("column {} is not UTF-8; save the file as UTF-8", header.len() + 1)))?;
        let name = name.trim().to_owned();
        if header.contains(&name) {
            return Err(refuse(format!("it has two columns `{name}`; rename one")));
        }
        header.push(name);
    }
    if header.iter().any(|name| name == wanted) {
        Ok(header)
    } else {
        Err(CliError::CsvNoColumn { place: place.to_owned(), wanted: wanted.to_owned(), found: header })
    }
}

fn unreadable(place: &str, line: u64, error: ::csv::Error) -> CliError {
    let cause = error.to_string();
    let source = match error.into_kind() {
        ::csv::ErrorKind::Io(source) => source,
        _ => io::Error::other(cause),
    };
    CliError::Read { place: format!("{place}:{line}"), source }
}

/// The last cell of a record contains the carriage return of its line end.
fn without_return(cell: &[u8]) -> &[u8] {
    cell.strip_suffix(b"\r").unwrap_or(cell)
}

/// Counters of a [`Watched`].
#[derive(Default)]
struct Seen {
    /// Remaining bytes for this record.
    budget: Cell<usize>,
    bytes: Cell<u64>,
    last: Cell<u8>,
}

/// Limits the bytes of one record, because the csv reader itself accepts records of any length.
struct Watched<R> {
    source: R,
    seen: Rc<Seen>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let seen = &self.seen;
        if seen.budget.get() == 0 {
            let cause =
                format!("the record that starts here is longer than {LINE_BYTES_MAX} bytes; is a quote left open?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        let read = self.source.read(buffer)?;
        seen.budget.set(seen.budget.get().saturating_sub(read));
        seen.bytes.set(seen.bytes.get() + read as u64);
        if let Some(&last) = buffer[..read].last() {
            seen.last.set(last);
        }
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::rows::turn::read_turn;
    use grice_core::Turn;
    use proptest::prelude::*;

    fn rows(text: &[u8]) -> Vec<Parsed<Turn>> {
        let mut reader = CsvRows::new(text, None, "t.csv", "response").unwrap();
        let mut rows = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            rows.push(reader.parse(&record, read_turn));
        }
        rows
    }

    #[test]
    fn lines_are_counted_through_blank_lines_and_quoted_line_feeds() {
        let rows = rows(b"\xef\xbb\xbfid,response\n1,\"a\nb\"\n\n2,c\r\n3\n4,d,e\n5,\xff\n");
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 5, 6, 7, 8]);
        let errors: Vec<String> =
            rows.iter().map(|row| row.value.as_ref().err().map_or(String::new(), |error| error.to_string())).collect();
        assert_eq!(errors[..2], ["", ""]);
        assert_eq!(errors[2], "expected 2 cells, as in the header, found 1");
        assert_eq!(errors[3], "expected 2 cells, as in the header, found 3");
        assert_eq!(errors[4], "not UTF-8 from byte 0 of `response`");
        assert_eq!(rows[4].fields.json("id"), Some("\"5\""));
    }

    #[test]
    fn carriage_returns_and_a_missing_last_line_end_change_nothing() {
        for end in ["\n", "\r\n"] {
            for (start, last) in [("", ""), (end, end)] {
                let lines = [start, "id,response", end, end, "1,a", end, "2,\"b", end, "c\"", end, end, "3,d", last];
                let rows = rows(lines.concat().as_bytes());
                let first = 1 + u64::from(!start.is_empty());
                let found: Vec<(u64, &str)> =
                    rows.iter().map(|row| (row.line - first, row.value.as_ref().unwrap().response.as_str())).collect();
                let quoted = format!("b{end}c");
                assert_eq!(found, [(2, "a"), (3, quoted.as_str()), (6, "d")], "{lines:?}");
            }
        }
    }

    #[test]
    fn the_delimiter_is_found_in_the_header() {
        for (delimiter, others) in [(",", ";|"), (";", ",|"), ("\t", ",;"), ("|", ",;")] {
            let header = format!("\u{feff}id{delimiter}response{delimiter}context{others}\r\n");
            let rows = rows(format!("{header}1{delimiter}\"a{delimiter}b\"{delimiter}c{others}\n").as_bytes());
            assert_eq!(rows[0].value.as_ref().unwrap().response, format!("a{delimiter}b"), "{delimiter:?}");
        }
        let given = |delimiter: u8| {
            CsvRows::new(b"a:response\n1:x\n".as_slice(), Some(Delimiter(delimiter)), "t.csv", "response")
        };
        assert_eq!(given(b':').unwrap().header, ["a", "response"]);
        assert!(given(b',').is_err());
        let told = CsvRows::new(b"id;text\n1;a\n".as_slice(), None, "t.csv", "response").err().unwrap().to_string();
        assert_eq!(told, "t.csv: no column `response` in the header; found: id, text");
    }

    #[test]
    fn a_byte_order_mark_in_the_middle_is_skipped() {
        let rows = rows("\u{feff}id,response\n1,a\n\u{feff}2,b\n".as_bytes());
        assert_eq!(rows[1].fields.json("id"), Some("\"2\""));
    }

    #[test]
    fn headers_that_cannot_be_used_are_refused() {
        let refused = |text: &[u8]| CsvRows::new(text, None, "t.csv", "response").err().unwrap().to_string();
        assert_eq!(refused(b"id,text\n1,a\n"), "t.csv: no column `response` in the header; found: id, text");
        assert!(refused(b"response,response\n").contains("two columns `response`"));
        assert!(refused(b"response,\xff\n").contains("column 2 is not UTF-8"));
    }

    #[test]
    fn an_open_quote_does_not_fill_the_memory() {
        let endless = b"response\n\"".as_slice().chain(io::repeat(b'a'));
        let mut reader = CsvRows::new(endless, None, "t.csv", "response").unwrap();
        assert!(reader.next().unwrap_err().to_string().starts_with("t.csv:2: cannot be read: the record"));
    }

    proptest! {
        #[test]
        fn any_bytes_after_a_header_make_rows(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = rows(&[b"id,response\n".as_slice(), &bytes].concat());
        }
    }
}
