//! The output of an interrupted run, checked against the input.
//!
//! A line of output has the row's own fields, byte for byte, and then grice's fields. So each line of the old output must begin with
//! exactly the head of its row; lines of other files do not. Both runs count batches from the first row, and
//! the last batch of the old run is judged again completely, so the appended lines do not depend on where the run stopped.

use crate::error::{CliError, Result};
use crate::rows::{BAD_TAIL, LINE_BYTES_MAX, Line, Row, VERDICT_TAIL, read_line, row_head};
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

    /// Compares the next line with its row.
    ///
    /// # Errors
    /// [`CliError::Resume`] if they do not match; [`CliError::Read`].
    pub(crate) fn step(&mut self, row: &Row) -> Result<OldRow> {
        match self.next_line()? {
            None => Ok(OldRow::Missing),
            Some(Line::Whole { bytes, ended: true }) => {
                let length = bytes.len() as u64 + 1;
                let line = String::from_utf8(bytes).map_err(|_| self.foreign("is not text", row))?;
                match self.read_tail(&line, row)? {
                    Tail::Verdict => {}
                    Tail::Bad => self.bad += 1,
                }
                self.rows += 1;
                self.end += length;
                Ok(OldRow::Done(line))
            }
            Some(Line::Whole { bytes, ended: false }) => {
                if !is_beginning(&bytes, row) {
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

    /// Checks that a row that was judged again has the same verdict, except for rounding.
    ///
    /// # Errors
    /// [`CliError::Resume`].
    pub(crate) fn check_again(&self, number: usize, old: &str, new: &str) -> Result<()> {
        if old == new || agree(old, new) {
            return Ok(());
        }
        let cause = format!(
            "its line {number} now gives another verdict; was it written with another model, precision or thresholds?"
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

    fn read_tail(&self, line: &str, row: &Row) -> Result<Tail> {
        if serde_json::from_str::<IgnoredAny>(line).is_err() {
            return Err(self.foreign("is damaged", row));
        }
        let goes_on =
            |bad: bool, tail: &str| line.strip_prefix(&row_head(&row.fields, bad)).map(|rest| rest.starts_with(tail));
        if goes_on(false, VERDICT_TAIL) == Some(true) {
            Ok(Tail::Verdict)
        } else if goes_on(true, &format!("{BAD_TAIL}{},", row.line)) == Some(true) {
            Ok(Tail::Bad)
        } else {
            Err(self.foreign("differs from its row", row))
        }
    }

    fn foreign(&self, problem: &str, row: &Row) -> CliError {
        self.mismatch(format!("its line {} {problem}, line {} of the input", self.rows + 1, row.line))
    }

    fn mismatch(&self, cause: String) -> CliError {
        CliError::Resume { place: self.place.clone(), cause }
    }
}

enum Tail {
    Verdict,
    Bad,
}

/// Whether a cut line can be the beginning of a row's line.
fn is_beginning(cut: &[u8], row: &Row) -> bool {
    let tails = [(false, VERDICT_TAIL.to_owned()), (true, format!("{BAD_TAIL}{},", row.line))];
    tails.into_iter().any(|(bad, tail)| {
        let known = row_head(&row.fields, bad) + &tail;
        let common = known.len().min(cut.len());
        known.as_bytes()[..common] == cut[..common]
    })
}

/// Maximum difference of a probability between two machines, with a margin.
const PROBABILITY_TOLERANCE: f64 = 0.01;

fn agree(old: &str, new: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let (Some(old), Some(new)) = (parse(old), parse(new)) else { return false };
    let probability = |row: &serde_json::Value, maxim: grice_core::Maxim| row["probabilities"][maxim.name()].as_f64();
    old["violations"] == new["violations"]
        && grice_core::Maxim::ALL.into_iter().all(|maxim| match (probability(&old, maxim), probability(&new, maxim)) {
            (Some(old), Some(new)) => (old - new).abs() <= PROBABILITY_TOLERANCE,
            (old, new) => old == new,
        })
}
