//! Judges a batch of rows, in order.

use crate::error::Result;
use crate::model::quietly;
use crate::rows::{Fields, Row, RowError};
use grice_core::{Detector, Verdict};

/// A row with its verdict, or with an error.
pub(crate) struct Judged {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// Its fields.
    pub(crate) fields: Fields,
    /// The verdict.
    pub(crate) verdict: Result<Verdict, RowError>,
}

/// Judges the rows that can be judged; every row gets an answer.
///
/// # Errors
/// Only if the device was lost.
pub(crate) fn judge_rows(detector: &mut Detector, rows: Vec<Row>) -> Result<Vec<Judged>> {
    let mut turns = Vec::with_capacity(rows.len());
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let problem = match row.turn {
            Ok(turn) => {
                turns.push(turn);
                None
            }
            Err(problem) => Some(problem),
        };
        waiting.push((row.line, row.fields, problem));
    }
    let mut verdicts = quietly(|| detector.detect_batch(&turns))??.into_iter();
    let judged = waiting.into_iter().filter_map(|(line, fields, problem)| {
        let verdict = match problem {
            Some(problem) => Err(problem),
            None => verdicts.next()?.map_err(RowError::Turn),
        };
        Some(Judged { line, fields, verdict })
    });
    Ok(judged.collect())
}
