//! A file of rows through the pipeline, batch by batch.

use super::aim::{Aim, course};
use super::{named, show};
use crate::args::{Common, RepairFiles, RepairHow};
use crate::error::{CliError, Result};
use crate::model::quietly;
use crate::output::{Output, Target, check_free, is_stdio};
use crate::progress::Progress;
use crate::resume::{Beginnings, OldRow, Resume};
use crate::rows::{
    BAD_TAIL, Fields, Parsed, RawRow, RowError, RowReader, ShardRows, error_tail, head_without, read_context_of,
    read_turn,
};
use grice_core::task::Outcome;
use grice_core::{Error, PerMaxim, PipelineRunner, Turn};
use std::path::Path;

/// Names of grice's fields; includes `error`, so that rows from an earlier output do not look failed.
const OWN: [&str; 8] = ["generated", "repaired", "is_fallback", "before", "after", "rounds", "trace", "error"];

/// A turn, and the violations that its row names.
type Asked = (Turn, Option<PerMaxim<bool>>);

/// Runs every row of a file.
///
/// # Errors
/// [`CliError::BadRows`] at the end if some rows have no result; other errors stop the run at once, after writing the finished rows.
pub(super) fn run(
    aim: Aim,
    input: &Path,
    files: &RepairFiles,
    how: &RepairHow,
    common: &Common,
    open: impl FnOnce() -> Result<PipelineRunner>,
) -> Result<()> {
    if files.resume && is_stdio(&files.output) {
        return Err(CliError::ResumeStdout);
    }
    // Checks that do not need the models come first, because loading them takes time.
    let target = Target { input: Some(input), output: &files.output, overwrite: files.overwrite, resume: files.resume };
    check_free(target)?;
    let column = if aim == Aim::Answer { "context" } else { "response" };
    let reader = RowReader::open_with(input, files.format, files.delimiter, column)?;
    let mut rows = ShardRows::new(reader, files.shard);
    let old = if files.resume { Some(skip_old(aim, &mut rows, &files.output)?) } else { None };
    let runner = open()?;
    let mut progress = Progress::new(rows.reader().bytes_total(), common.quiet);
    let (done, bad) = old.as_ref().map_or((0, 0), |old| (old.rows(), old.bad()));
    progress.advance(done, rows.reader().bytes_read());
    let output = match &old {
        Some(old) => Output::resume(&files.output, old.end())?,
        None => Output::create(target)?,
    };
    let quiet = common.quiet;
    Run { aim, rows, runner, output, progress, quiet, with_trace: how.json, strict: files.strict, done, bad }
        .run(files.batch_size.get(), how.rounds)
}

/// One run over a file.
struct Run {
    aim: Aim,
    rows: ShardRows<Parsed<Asked>>,
    runner: PipelineRunner,
    output: Output,
    progress: Progress,
    quiet: bool,
    with_trace: bool,
    strict: bool,
    done: usize,
    bad: usize,
}

impl Run {
    fn run(mut self, batch_size: usize, rounds: u32) -> Result<()> {
        loop {
            let mut batch = Vec::with_capacity(batch_size.min(1024));
            let ended = loop {
                match self.rows.next(|reader, raw| parse(self.aim, reader, raw)) {
                    Ok(Some((_, row))) => batch.push(row),
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                }
                if batch.len() == batch_size {
                    break Ok(false);
                }
            };
            // First run the rows that were read before the input failed.
            self.run_batch(batch, rounds)?;
            if ended? {
                return if self.bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad: self.bad, rows: self.done }) };
            }
        }
    }

    fn run_batch(&mut self, batch: Vec<Parsed<Asked>>, rounds: u32) -> Result<()> {
        let count = batch.len();
        let (mut courses, mut waiting) = (Vec::new(), Vec::new());
        for Parsed { line, fields, value } in batch {
            let problem = match value {
                Ok((turn, named)) => {
                    courses.push(course(self.aim, turn, named, &self.runner, rounds));
                    None
                }
                Err(problem) => Some(problem),
            };
            waiting.push((line, fields, problem));
        }
        let mut outcomes = quietly(|| self.runner.run_all(courses))??.into_iter();
        for (line, fields, problem) in waiting {
            let outcome = match problem {
                Some(problem) => Err(problem),
                None => outcomes.next().unwrap_or(Err(Error::NoAnswer)).map_err(RowError::Turn),
            };
            self.write(line, &fields, outcome)?;
        }
        self.output.flush()?;
        self.progress.advance(count, self.rows.reader().bytes_read());
        Ok(())
    }

    fn write(&mut self, line: u64, fields: &Fields, outcome: Result<Outcome, RowError>) -> Result<()> {
        let is_bad = outcome.is_err();
        let head = head_without(fields, |name| is_replaced(name, is_bad));
        let text = match outcome {
            Ok(outcome) => head + &show::line(self.aim, &outcome, self.with_trace)[1..],
            Err(cause) => {
                let place = self.rows.reader().place().to_owned();
                if self.strict {
                    self.output.flush()?;
                    return Err(CliError::Strict { place, line, cause });
                }
                self.bad += 1;
                if !self.quiet {
                    self.progress.report(&format!("{place}:{line}: {cause}"));
                }
                head + &error_tail(line, &cause)
            }
        };
        self.output.write_line(&text)?;
        self.done += 1;
        Ok(())
    }
}

fn parse(aim: Aim, reader: &RowReader, raw: RawRow) -> Parsed<Asked> {
    reader.parse_with(raw, |fields| read(aim, fields))
}

fn read(aim: Aim, fields: &Fields) -> Result<Asked, RowError> {
    if aim == Aim::Answer {
        let turn = read_context_of(fields)?;
        turn.check_texts()?;
        return if turn.context.is_blank() {
            Err(Error::EmptyField { field: "context" }.into())
        } else {
            Ok((turn, None))
        };
    }
    let turn = read_turn(fields)?;
    turn.check()?;
    Ok((turn, named::read(fields)?))
}

/// Passes over the rows of an old output, which must be those of the input.
fn skip_old(aim: Aim, rows: &mut ShardRows<Parsed<Asked>>, path: &Path) -> Result<Resume> {
    let mut old = Resume::open(path)?;
    loop {
        let Some((index, row)) = rows.next(|reader, raw| parse(aim, reader, raw))? else {
            old.finish()?;
            return Ok(old);
        };
        if old.step(row.line, &beginnings(aim, &row))? == OldRow::Missing {
            rows.put_back(index, row);
            return Ok(old);
        }
    }
}

/// How the line of a row begins.
fn beginnings(aim: Aim, row: &Parsed<Asked>) -> Beginnings {
    Beginnings {
        good: head_without(&row.fields, |name| is_replaced(name, false)) + show::first_field(aim),
        bad: head_without(&row.fields, |name| is_replaced(name, true)) + &format!("{BAD_TAIL}{},", row.line),
    }
}

fn is_replaced(name: &str, bad: bool) -> bool {
    OWN.contains(&name) || (bad && name == "line")
}
