//! A file of rows with a text each: rows keep their fields and get an answer, batch by batch.

use super::model::note_of_cut;
use crate::args::{Common, TextFiles};
use crate::error::{CliError, Result};
use crate::output::{Output, Target, check_free, is_stdio};
use crate::progress::Progress;
use crate::resume::{Beginnings, OldRow, Resume};
use crate::rows::{BAD_TAIL, Parsed, RawRow, RowError, RowReader, ShardRows, error_tail, head_without, text_of};
use std::collections::BTreeSet;
use std::path::Path;

/// What answers texts.
pub(crate) trait Answers {
    /// The field that a row gets.
    const FIELD: &'static str;
    /// The answer in a word, and what it depends on beside the model and its precision.
    const WHAT: [&'static str; 2];

    /// An answer for each text, in order.
    ///
    /// # Errors
    /// Only what ends the run.
    fn answer(&mut self, texts: &[String]) -> Result<Vec<Result<Answer, RowError>>>;

    /// The most tokens that are read of a text.
    fn tokens_max(&self) -> usize;

    /// Whether two answers are the same, except for rounding.
    fn agree(old: &serde_json::Value, new: &serde_json::Value) -> bool;
}

/// An answer.
pub(crate) struct Answer {
    /// As JSON.
    pub(crate) json: String,
    /// Whether the text was longer than the model reads.
    pub(crate) cut: bool,
}

/// A row and its answer.
type Answered = Parsed<Answer>;

/// Answers every row of a file.
///
/// # Errors
/// [`CliError::BadRows`] at the end if some rows have no answer; other errors stop the run at once, after writing the finished rows.
pub(crate) fn run<A: Answers>(
    input: &Path,
    files: &TextFiles,
    common: &Common,
    open: impl FnOnce() -> Result<A>,
) -> Result<()> {
    if files.resume && is_stdio(&files.output) {
        return Err(CliError::ResumeStdout);
    }
    // Checks that do not need the model come first, because loading it takes time.
    let target = Target { input: Some(input), output: &files.output, overwrite: files.overwrite, resume: files.resume };
    check_free(target)?;
    let reader = RowReader::open_with(input, files.format, files.delimiter, &files.field)?;
    let answers = open()?;
    let progress = Progress::new(reader.bytes_total(), common.quiet);
    let run = Run {
        rows: ShardRows::new(reader, files.shard),
        answers,
        progress,
        field: files.field.clone(),
        batch_size: files.batch_size.get(),
        strict: files.strict,
        quiet: common.quiet,
        warned: BTreeSet::new(),
        cut: 0,
        done: 0,
        bad: 0,
    };
    if files.resume { run.resume(&files.output) } else { run.write_batches(Output::create(target)?) }
}

/// One run over a file.
struct Run<A> {
    rows: ShardRows<Parsed<String>>,
    answers: A,
    progress: Progress,
    field: String,
    batch_size: usize,
    strict: bool,
    quiet: bool,
    /// Warnings that were printed; a file has thousands of such rows.
    warned: BTreeSet<String>,
    /// Texts that were longer than the model reads.
    cut: usize,
    done: usize,
    bad: usize,
}

impl<A: Answers> Run<A> {
    /// Continues an old output, after checking all of it against the input.
    fn resume(mut self, path: &Path) -> Result<()> {
        let mut old = Resume::open(path)?;
        // The last batch of the old output, complete or not, and its lines.
        let mut batch = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        loop {
            let Some((index, row)) = self.next()? else {
                old.finish()?;
                break;
            };
            let OldRow::Done(line) = old.step(row.line, &beginnings::<A>(&row))? else {
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

    /// Answers the last batch of the old output again, compares it, writes the missing rows, and continues.
    fn append(mut self, path: &Path, old: &Resume, mut batch: Vec<Parsed<String>>, lines: &[String]) -> Result<()> {
        while batch.len() < self.batch_size
            && let Some((_, row)) = self.next()?
        {
            batch.push(row);
        }
        let answered = self.answer(batch)?;
        for (place, (line, row)) in lines.iter().zip(&answered).enumerate() {
            let again = line_of::<A>(row);
            let is_same = *line == again || agree::<A>(line, &again);
            old.check_again(old.rows() - lines.len() + place + 1, is_same, A::WHAT)?;
        }
        let mut output = Output::resume(path, old.end())?;
        self.write(answered.into_iter().skip(lines.len()).collect(), &mut output)?;
        self.write_batches(output)
    }

    fn write_batches(mut self, mut output: Output) -> Result<()> {
        loop {
            let mut batch = Vec::with_capacity(self.batch_size.min(1024));
            let ended = loop {
                match self.next() {
                    Ok(Some((_, row))) => batch.push(row),
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                }
                if batch.len() == self.batch_size {
                    break Ok(false);
                }
            };
            // First answer the rows that were read before the input failed.
            let answered = self.answer(batch)?;
            self.write(answered, &mut output)?;
            if ended? {
                return self.end();
            }
        }
    }

    fn end(self) -> Result<()> {
        if let Some(note) = note_of_cut(self.cut, self.answers.tokens_max()).filter(|_| !self.quiet) {
            self.progress.report(&format!("note: {note}"));
        }
        if self.bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad: self.bad, rows: self.done }) }
    }

    fn next(&mut self) -> Result<Option<(usize, Parsed<String>)>> {
        let field = &self.field;
        self.rows.next(|reader: &RowReader, raw: RawRow| reader.parse_with(raw, |fields| text_of(fields, field)))
    }

    fn answer(&mut self, mut batch: Vec<Parsed<String>>) -> Result<Vec<Answered>> {
        let texts: Vec<String> =
            batch.iter_mut().filter_map(|row| row.value.as_mut().ok()).map(std::mem::take).collect();
        let mut answers = self.answers.answer(&texts)?.into_iter();
        let answered = batch.into_iter().filter_map(|Parsed { line, fields, value }| {
            let value = match value {
                Err(problem) => Err(problem),
                // There is an answer for each text.
                Ok(_) => answers.next()?,
            };
            Some(Parsed { line, fields, value })
        });
        Ok(answered.collect())
    }

    fn write(&mut self, batch: Vec<Answered>, output: &mut Output) -> Result<()> {
        let rows = batch.len();
        for row in batch {
            self.warn(&row);
            let text = line_of::<A>(&row);
            match row.value {
                Ok(answer) => self.cut += usize::from(answer.cut),
                Err(cause) => {
                    let (place, line) = (self.rows.reader().place().to_owned(), row.line);
                    if self.strict {
                        output.flush()?;
                        return Err(CliError::Strict { place, line, cause });
                    }
                    self.bad += 1;
                    if !self.quiet {
                        self.progress.report(&format!("{place}:{line}: {cause}"));
                    }
                }
            }
            output.write_line(&text)?;
            self.done += 1;
        }
        output.flush()?;
        self.progress.advance(rows, self.rows.reader().bytes_read());
        Ok(())
    }

    /// Each warning once.
    fn warn(&mut self, row: &Answered) {
        if self.quiet {
            return;
        }
        let is_bad = row.value.is_err();
        let names = row.fields.iter().map(|field| field.name.as_str());
        for name in names.filter(|name| is_replaced::<A>(name, is_bad)) {
            if self.warned.insert(name.to_owned()) {
                self.progress.report(&format!(
                    "warning: the input's field `{name}` is left out, because grice writes a field of this name"
                ));
            }
        }
        if row.fields.had_nan() && self.warned.insert("NaN".to_owned()) {
            let (place, line) = (self.rows.reader().place(), row.line);
            let warning = format!("warning: {place}:{line}: NaN and Infinity are not JSON; they are written as null");
            self.progress.report(&warning);
        }
    }
}

/// Grice's fields; includes `error`, so that rows from an earlier output do not look failed.
fn is_replaced<A: Answers>(name: &str, is_bad: bool) -> bool {
    name == A::FIELD || name == "error" || (is_bad && name == "line")
}

/// The whole line of a row, without the line end.
fn line_of<A: Answers>(row: &Answered) -> String {
    let head = head_without(&row.fields, |name| is_replaced::<A>(name, row.value.is_err()));
    match &row.value {
        Ok(answer) => head + &format!("\"{}\":{}}}", A::FIELD, answer.json),
        Err(problem) => head + &error_tail(row.line, problem),
    }
}

/// How the line of a row begins.
fn beginnings<A: Answers>(row: &Parsed<String>) -> Beginnings {
    Beginnings {
        good: head_without(&row.fields, |name| is_replaced::<A>(name, false)) + &format!("\"{}\":", A::FIELD),
        bad: head_without(&row.fields, |name| is_replaced::<A>(name, true)) + &format!("{BAD_TAIL}{},", row.line),
    }
}

/// Whether two lines hold the same answer, except for rounding.
fn agree<A: Answers>(old: &str, new: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match (parse(old), parse(new)) {
        (Some(old), Some(new)) => A::agree(&old[A::FIELD], &new[A::FIELD]),
        _ => false,
    }
}
