//! Rows of a file: one dialogue turn each, with whatever other fields they carry.

mod csv;
mod fields;
mod json_rows;
mod jsonl;
mod lines;
mod reader;
mod scanner;
mod turn;
mod writer;

pub(crate) use fields::{Field, Fields};
pub(crate) use lines::{Line, read_line};
pub(crate) use reader::RowReader;
pub(crate) use turn::{kind_of, value_of};
pub(crate) use writer::{BAD_TAIL, VERDICT_TAIL, replaced_fields, row_head, row_line};

use grice_core::Turn;

/// The longest line, or CSV record, that is held in memory, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// One row of the input. Blank lines are none.
#[derive(Debug)]
pub(crate) struct Row {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// What it carries, in its own order; empty where it is not an object.
    pub(crate) fields: Fields,
    /// What to judge.
    pub(crate) turn: Result<Turn, RowError>,
}

/// Why a row cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// Longer than is held in memory.
    #[error("the line is {0} bytes long; at most {LINE_BYTES_MAX} are read")]
    TooLong(u64),
    /// Bytes that are not text.
    #[error("not UTF-8 from byte {at} of {place} on")]
    NotUtf8 {
        /// `the line`, or which field.
        place: String,
        /// Offset of the first byte that is wrong.
        at: usize,
    },
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The last line, not JSON and without an end.
    #[error("not JSON: {0}; the file ends in the middle of this line, it may have been cut off")]
    CutOff(String),
    /// JSON of another kind.
    #[error("expected an object, found {0}")]
    NotAnObject(&'static str),
    /// A field that must be there.
    #[error("no field `{0}`")]
    MissingField(&'static str),
    /// A field of the wrong kind.
    #[error("`{field}` must be {expected}, found {found}")]
    FieldType {
        /// Name of the field, with the place inside it.
        field: String,
        /// What is accepted.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A CSV record of another width.
    #[error("expected {expected} cells, as in the header, found {found}")]
    Ragged {
        /// How many it has.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// The turn cannot be judged.
    #[error("{0}")]
    Turn(#[from] grice_core::Error),
}
