//! A batch of rows through the detector, in their order.

use crate::error::Result;
use crate::model::quietly;
use crate::rows::{Fields, Row, RowError};
use grice_core::{Detector, Verdict};

/// A row with its verdict, or with why there is none.
pub(crate) struct Judged {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// What it carries.
    pub(crate) fields: Fields,
    /// What was found.
    pub(crate) verdict: Result<Verdict, RowError>,
}

/// Judges what can be judged; there is an answer for each row.
///
/// # Errors
/// Only of a device that went away.
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
