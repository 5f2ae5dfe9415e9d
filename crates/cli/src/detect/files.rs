//! `detect --input`: a file of rows through the detector, batch by batch.

use crate::args::{Common, Detect};
use crate::detect::judge::{Judged, judge_rows};
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle};
use crate::output::{Output, Target, check_free, is_stdio};
use crate::present::unknown_warning;
use crate::progress::Progress;
use crate::resume::{Beginnings, OldRow, Resume};
use crate::rows::{BAD_TAIL, Fields, Row, RowReader, ShardRows, VERDICT_TAIL, replaced_fields, row_head, row_line};
use grice_core::{Detector, Maxim, Verdict};
use std::collections::BTreeSet;
use std::path::Path;

/// Judges every row of a file.
///
/// # Errors
/// [`CliError::BadRows`] at the end if some rows could not be judged; other errors stop the run at once, after writing the finished
/// rows.
pub(crate) fn run(input: &Path, args: &Detect, common: &Common) -> Result<()> {
    let files = &args.files;
    if files.resume && is_stdio(&files.output) {
        return Err(CliError::ResumeStdout);
    }
    // Checks that do not need the model come first, because loading it takes time.
    let target = Target { input: Some(input), output: &files.output, overwrite: files.overwrite, resume: files.resume };
    check_free(target)?;
    let reader = RowReader::open(input, files.format, files.delimiter)?;
    let detector = load_detector(&open_bundle(common)?, common, &args.thresholds)?;
    let progress = Progress::new(reader.bytes_total(), common.quiet);
    let run = Run {
        rows: ShardRows::new(reader, files.shard),
        detector,
        progress,
        batch_size: files.batch_size.get(),
        strict: files.strict,
        explains: args.explain,
        quiet: common.quiet,
        replaced: BTreeSet::new(),
        unknown: 0,
        has_nan: false,
        done: 0,
        bad: 0,
    };
    if files.resume { run.resume(&files.output) } else { run.write_batches(Output::create(target)?) }
}

/// One run over a file.
struct Run {
    rows: ShardRows<Row>,
    detector: Detector,
    progress: Progress,
    batch_size: usize,
    strict: bool,
    explains: bool,
    quiet: bool,
    /// Fields with a warning.
    replaced: BTreeSet<String>,
    /// Number of rows whose verdicts mean little.
    unknown: usize,
    /// Whether the warning about NaN and Infinity was printed.
    has_nan: bool,
    done: usize,
    bad: usize,
}

impl Run {
    /// Continues an old output, after checking all of it against the input.
    fn resume(mut self, path: &Path) -> Result<()> {
        let mut old = Resume::open(path)?;
        // The last batch of the old output, complete or not, and its lines.
        let mut batch: Vec<Row> = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        loop {
            let Some((index, row)) = self.rows.next(RowReader::parse)? else {
                old.finish()?;
                break;
            };
            let OldRow::Done(line) = old.step(row.line, &beginnings(&row))? else {
                self.rows.put_back(index, row);
                break;
            };
            if batch.len() == self.batch_size {
                batch.clear();
                lines.clear();
            }
            batch.push(row);
            lines.push(line);
        }
        self.done = old.rows();
        self.bad = old.bad();
        self.progress.advance(self.done, self.rows.reader().bytes_read());
        self.append(path, &old, batch, &lines)
    }

    /// Judges the last batch of the old output again, compares it, writes the missing rows, and continues.
    fn append(mut self, path: &Path, old: &Resume, mut batch: Vec<Row>, lines: &[String]) -> Result<()> {
        while batch.len() < self.batch_size
            && let Some((_, row)) = self.rows.next(RowReader::parse)?
        {
            batch.push(row);
        }
        let judged = judge_rows(&mut self.detector, batch, self.explains)?;
        let texts = judged
            .iter()
            .map(|judged| row_line(judged.line, &judged.fields, &judged.verdict, judged.explanation.as_ref()));
        for (place, (line, again)) in lines.iter().zip(texts).enumerate() {
            let number = old.rows() - lines.len() + place + 1;
            old.check_again(number, *line == again || agree(line, &again), ["verdict", "thresholds"])?;
        }
        let missing: Vec<Judged> = judged.into_iter().skip(lines.len()).collect();
        let mut output = Output::resume(path, old.end())?;
        self.write(missing, &mut output)?;
        self.write_batches(output)
    }

    fn write_batches(mut self, mut output: Output) -> Result<()> {
        loop {
            let mut batch = Vec::with_capacity(self.batch_size.min(1024));
            let ended = loop {
                match self.rows.next(RowReader::parse) {
                    Ok(Some((_, row))) => batch.push(row),
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                }
                if batch.len() == self.batch_size {
                    break Ok(false);
                }
            };
            // First judge the rows that were read before the input failed.
            let judged = judge_rows(&mut self.detector, batch, self.explains)?;
            self.write(judged, &mut output)?;
            if ended? {
                if self.unknown > 1 && !self.quiet {
                    let unknown = self.unknown;
                    self.progress
                        .report(&format!("warning: this applies to {unknown} rows in total; see `unknown_share`"));
                }
                return if self.bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad: self.bad, rows: self.done }) };
            }
        }
    }

    fn write(&mut self, batch: Vec<Judged>, output: &mut Output) -> Result<()> {
        let rows = batch.len();
        for Judged { line, fields, verdict, explanation } in batch {
            if !self.quiet {
                self.warn_of_replaced(replaced_fields(&fields, verdict.is_err()));
                self.warn_of_nan(line, &fields);
                self.warn_of_unknown(line, verdict.as_ref().ok());
            }
            let text = row_line(line, &fields, &verdict, explanation.as_ref());
            if let Err(cause) = verdict {
                let place = self.rows.reader().place().to_owned();
                if self.strict {
                    output.flush()?;
                    return Err(CliError::Strict { place, line, cause });
                }
                self.bad += 1;
                if !self.quiet {
                    self.progress.report(&format!("{place}:{line}: {cause}"));
                }
            }
            output.write_line(&text)?;
            self.done += 1;
        }
        output.flush()?;
        self.progress.advance(rows, self.rows.reader().bytes_read());
        Ok(())
    }

    fn warn_of_nan(&mut self, line: u64, fields: &Fields) {
        if fields.had_nan() && !self.has_nan {
            self.has_nan = true;
            let place = self.rows.reader().place();
            let warning = format!("warning: {place}:{line}: NaN and Infinity are not JSON; they are written as null");
            self.progress.report(&warning);
        }
    }

    fn warn_of_unknown(&mut self, line: u64, verdict: Option<&Verdict>) {
        let Some(warning) = verdict.and_then(unknown_warning) else { return };
        self.unknown += 1;
        // One warning is enough: a file in another script has thousands of such rows.
        if self.unknown == 1 {
            self.progress.report(&format!("warning: {}:{line}: {warning}", self.rows.reader().place()));
        }
    }

    fn warn_of_replaced<'f>(&mut self, names: impl Iterator<Item = &'f str>) {
        for name in names {
            if self.replaced.insert(name.to_owned()) {
                self.progress.report(&format!(
                    "warning: the input's field `{name}` is left out, because grice writes a field of this name"
                ));
            }
        }
    }
}

/// How the line of a row begins.
fn beginnings(row: &Row) -> Beginnings {
    Beginnings {
        good: row_head(&row.fields, false) + VERDICT_TAIL,
        bad: row_head(&row.fields, true) + &format!("{BAD_TAIL}{},", row.line),
    }
}

/// Maximum difference of a probability between two machines, with a margin.
const PROBABILITY_TOLERANCE: f64 = 0.01;

/// Whether two lines hold the same verdict, except for rounding.
fn agree(old: &str, new: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let (Some(old), Some(new)) = (parse(old), parse(new)) else { return false };
    let probability = |row: &serde_json::Value, maxim: Maxim| row["probabilities"][maxim.name()].as_f64();
    old["violations"] == new["violations"]
        && Maxim::ALL.into_iter().all(|maxim| match (probability(&old, maxim), probability(&new, maxim)) {
            (Some(old), Some(new)) => (old - new).abs() <= PROBABILITY_TOLERANCE,
            (old, new) => old == new,
        })
}
