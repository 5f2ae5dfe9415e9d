//! The output of an interrupted run, checked against the input.
//!
//! A line of output has the row's own fields, byte for byte, and then grice's fields. So each line of the old output must begin with
//! exactly the head of its row; lines of other files do not. Both runs count batches from the first row, and
//! `detect` judges the last batch of the old run again completely, so the appended lines do not depend on where the run stopped.

use crate::error::{CliError, Result};
use crate::rows::{LINE_BYTES_MAX, Line, read_line};
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// A line of output is a little longer than its line of input; but escaped quotes and control characters can make a CSV cell six times
/// as long.
const OUTPUT_LINE_BYTES_MAX: usize = 6 * LINE_BYTES_MAX + 4096;

/// Reads an old output file together with the input.
pub(crate) struct Resume {
    reader: Option<BufReader<File>>,
    place: String,
    end: u64,
    rows: usize,
    bad: usize,
}

/// How the line of a row begins: its own fields, and the first of grice's.
pub(crate) struct Beginnings {
    /// If the row has an answer.
    pub(crate) good: String,
    /// If it has an error.
    pub(crate) bad: String,
}

/// The row's state in the old output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OldRow {
    /// It exists, as this line.
    Done(String),
    /// The old output ends before it.
    Missing,
}

impl Resume {
    /// Opens the file; a missing file has no rows.
    ///
    /// # Errors
    /// [`CliError::Read`].
    pub(crate) fn open(path: &Path) -> Result<Resume> {
        let place = path.display().to_string();
        let reader = match File::open(path) {
            Ok(file) => Some(BufReader::with_capacity(64 << 10, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(CliError::Read { place, source }),
        };
        Ok(Resume { reader, place, end: 0, rows: 0, bad: 0 })
    }

    /// Compares the next line with its row, which begins at line `row` of the input.
    ///
    /// # Errors
    /// [`CliError::Resume`] if they do not match; [`CliError::Read`].
    pub(crate) fn step(&mut self, row: u64, beginnings: &Beginnings) -> Result<OldRow> {
        match self.next_line()? {
            None => Ok(OldRow::Missing),
            Some(Line::Whole { bytes, ended: true }) => {
                let length = bytes.len() as u64 + 1;
                let line = String::from_utf8(bytes).map_err(|_| self.foreign("is not text", row))?;
                self.bad += usize::from(self.is_bad(&line, row, beginnings)?);
                self.rows += 1;
                self.end += length;
                Ok(OldRow::Done(line))
            }
            Some(Line::Whole { bytes, ended: false }) => {
                if !beginnings.fit(&bytes) {
                    return Err(self.foreign("does not begin with the fields of its row", row));
                }
                Ok(OldRow::Missing)
            }
            Some(Line::TooLong { .. }) => Err(self.foreign("is longer than any line that grice writes", row)),
        }
    }

    /// After the last row of the input: checks that the old output ends too.
    ///
    /// # Errors
    /// [`CliError::Resume`], [`CliError::Read`].
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.next_line()? {
            None => Ok(()),
            Some(_) => Err(self.mismatch(format!(
                "it has more lines than the input has rows ({}); was the input shortened, or is it another --shard?",
                self.rows
            ))),
        }
    }

    /// After a row was read by the model again: whether it has the same answer as in the line with this number. `what` names the answer, and
    /// what it depends on beside the model and its precision.
    ///
    /// # Errors
    /// [`CliError::Resume`] if not.
    pub(crate) fn check_again(&self, number: usize, is_same: bool, what: [&str; 2]) -> Result<()> {
        if is_same {
            return Ok(());
        }
        let [answer, setting] = what;
        let cause = format!(
            "its line {number} now gives another {answer}; was it written with another model, precision or {setting}?"
        );
        Err(self.mismatch(cause))
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of rows that could not be judged.
    pub(crate) fn bad(&self) -> usize {
        self.bad
    }

    /// The end of the last complete line, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let line = read_line(reader, OUTPUT_LINE_BYTES_MAX);
        line.map_err(|source| CliError::Read { place: self.place.clone(), source })
    }

    /// Whether the line of a row holds an error.
    fn is_bad(&self, line: &str, row: u64, beginnings: &Beginnings) -> Result<bool> {
        if serde_json::from_str::<IgnoredAny>(line).is_err() {
            return Err(self.foreign("is damaged", row));
        }
        match (line.starts_with(&beginnings.good), line.starts_with(&beginnings.bad)) {
            (true, _) => Ok(false),
            (_, true) => Ok(true),
            _ => Err(self.foreign("differs from its row", row)),
        }
    }

    fn foreign(&self, problem: &str, row: u64) -> CliError {
        self.mismatch(format!("its line {} {problem}, line {row} of the input", self.rows + 1))
    }

    fn mismatch(&self, cause: String) -> CliError {
        CliError::Resume { place: self.place.clone(), cause }
    }
}

impl Beginnings {
    /// Whether a cut line can be the beginning of the row's line.
    fn fit(&self, cut: &[u8]) -> bool {
        [&self.good, &self.bad].into_iter().any(|known| {
            let common = known.len().min(cut.len());
            known.as_bytes()[..common] == cut[..common]
        })
    }
}
