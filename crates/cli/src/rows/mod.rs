//! Rows of a file: one dialogue turn each, with any other fields.

mod csv;
mod fields;
mod json_rows;
mod jsonl;
mod lines;
mod reader;
mod scanner;
mod sharded;
mod turn;
mod writer;

pub(crate) use fields::{Field, Fields};
pub(crate) use lines::{Line, read_line};
pub(crate) use reader::{RawRow, RowReader};
pub(crate) use sharded::ShardRows;
pub(crate) use turn::{kind_of, read_context_of, read_turn, text_of, value_of};
pub(crate) use writer::{BAD_TAIL, VERDICT_TAIL, error_tail, head_without, replaced_fields, row_head, row_line};

use grice_core::Turn;

/// Maximum length of a line or CSV record in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// One row of the input. Blank lines are skipped.
#[derive(Debug)]
pub(crate) struct Row {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// Its fields, in order; empty if it is not an object.
    pub(crate) fields: Fields,
    /// The turn to judge.
    pub(crate) turn: Result<Turn, RowError>,
}

/// One row of the input, and what was read of its fields.
#[derive(Debug)]
pub(crate) struct Parsed<T> {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// Its fields, in order; empty if it is not an object.
    pub(crate) fields: Fields,
    /// What was asked for.
    pub(crate) value: Result<T, RowError>,
}

/// Why a row cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// Longer than the limit.
    #[error("the line is {0} bytes long; at most {LINE_BYTES_MAX} are read")]
    TooLong(u64),
    /// Not UTF-8.
    #[error("not UTF-8 from byte {at} of {place}")]
    NotUtf8 {
        /// `the line`, or a field.
        place: String,
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The last line, which is not JSON and has no line end.
    #[error("not JSON: {0}; the file ends in the middle of this line, it may have been cut off")]
    CutOff(String),
    /// Another kind of JSON.
    #[error("expected an object, found {0}")]
    NotAnObject(&'static str),
    /// A required field is missing.
    #[error("no field `{0}`")]
    MissingField(String),
    /// A field of the wrong kind.
    #[error("`{field}` must be {expected}, found {found}")]
    FieldType {
        /// Name of the field, with the position inside it.
        field: String,
        /// The accepted values.
        expected: &'static str,
        /// The actual value.
        found: String,
    },
    /// A CSV record with another number of cells.
    #[error("expected {expected} cells, as in the header, found {found}")]
    Ragged {
        /// Its number of cells.
        found: usize,
        /// The header's number of cells.
        expected: usize,
    },
    /// A text cannot be written for it.
    #[error("{0}")]
    Text(String),
    /// The turn cannot be judged.
    #[error("{0}")]
    Turn(#[from] grice_core::Error),
}
