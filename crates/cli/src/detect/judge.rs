//! Judges a batch of rows, in order.

use crate::error::Result;
use crate::model::quietly;
use crate::rows::{Fields, Row, RowError};
use grice_core::task::{EXPLAIN_RUNS, Explanation};
use grice_core::{Detector, Turn, Verdict};

/// A row with its verdict, or with an error.
pub(crate) struct Judged {
    /// Line in the file where it starts, from 1.
    pub(crate) line: u64,
    /// Its fields.
    pub(crate) fields: Fields,
    /// The verdict.
    pub(crate) verdict: Result<Verdict, RowError>,
    /// What moved it, if that was asked for.
    pub(crate) explanation: Option<Explanation>,
}

/// Judges the rows that can be judged, and explains the verdicts if told to; every row gets an answer.
///
/// # Errors
/// Only if the device was lost.
pub(crate) fn judge_rows(detector: &mut Detector, rows: Vec<Row>, explains: bool) -> Result<Vec<Judged>> {
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
    let verdicts = quietly(|| detector.detect_batch(&turns))??;
    let verdicts = verdicts.into_iter().map(|verdict| verdict.map_err(RowError::Turn)).collect();
    let answers = if explains { explain(detector, &turns, verdicts)? } else { unexplained(verdicts) };
    let mut answers = answers.into_iter();
    let judged = waiting.into_iter().filter_map(|(line, fields, problem)| {
        let (verdict, explanation) = match problem {
            Some(problem) => (Err(problem), None),
            None => answers.next()?,
        };
        Some(Judged { line, fields, verdict, explanation })
    });
    Ok(judged.collect())
}

type Answer = (Result<Verdict, RowError>, Option<Explanation>);

fn unexplained(verdicts: Vec<Result<Verdict, RowError>>) -> Vec<Answer> {
    verdicts.into_iter().map(|verdict| (verdict, None)).collect()
}

/// A row whose explanation fails has no verdict either, because its error would be lost.
fn explain(detector: &mut Detector, turns: &[Turn], verdicts: Vec<Result<Verdict, RowError>>) -> Result<Vec<Answer>> {
    let judged = turns.iter().zip(&verdicts).filter_map(|(turn, verdict)| Some((turn, verdict.as_ref().ok()?)));
    let judged: Vec<(&Turn, &Verdict)> = judged.collect();
    let mut explanations = quietly(|| detector.explain_batch(&judged, EXPLAIN_RUNS))??.into_iter();
    let answers = verdicts.into_iter().map(|verdict| match verdict {
        Ok(verdict) => match explanations.next() {
            Some(Ok(explanation)) => (Ok(verdict), Some(explanation)),
            Some(Err(error)) => (Err(RowError::Turn(error)), None),
            None => (Ok(verdict), None),
        },
        Err(problem) => (Err(problem), None),
    });
    Ok(answers.collect())
}
