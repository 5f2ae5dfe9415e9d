//! `embed --input`: a file of rows through the model, batch by batch.

use super::report::{json_of, note_of_cut};
use crate::args::{Common, EmbedFiles};
use crate::error::{CliError, Result};
use crate::model::quietly;
use crate::output::{Output, Target, check_free};
use crate::progress::Progress;
use crate::rows::{Parsed, RowError, RowReader, error_tail, head_without, text_of};
use grice_core::Embedder;
use grice_core::task::Vector;
use std::path::Path;

/// The field that every row gets.
const FIELD: &str = "embedding";

/// Embeds every row of a file.
///
/// # Errors
/// [`CliError::BadRows`] at the end if some rows have no vector; other errors stop the run at once, after writing the finished rows.
pub(super) fn run(
    input: &Path,
    files: &EmbedFiles,
    common: &Common,
    open: impl FnOnce() -> Result<Embedder>,
) -> Result<()> {
    let target = Target { input: Some(input), output: &files.output, overwrite: files.overwrite, resume: false };
    // Checks that do not need the model come first, because loading it takes time.
    check_free(target)?;
    let reader = RowReader::open_with(input, files.format, files.delimiter, &files.field)?;
    let embedder = open()?;
    let progress = Progress::new(reader.bytes_total(), common.quiet);
    let output = Output::create(target)?;
    let (field, quiet) = (files.field.clone(), common.quiet);
    let counts = Counts::default();
    let mut run =
        Run { reader, embedder, progress, output, field, quiet, counts, warned_of_field: false, warned_of_nan: false };
    run.all(files.batch_size.get())?;
    if let Some(note) = note_of_cut(run.counts.cut, run.embedder.tokens_max()).filter(|_| !quiet) {
        run.progress.report(&format!("note: {note}"));
    }
    let Counts { rows, bad, .. } = run.counts;
    if bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad, rows }) }
}

/// Rows so far.
#[derive(Default)]
struct Counts {
    rows: usize,
    bad: usize,
    /// Texts that were longer than the model reads.
    cut: usize,
}

/// One run over a file.
struct Run {
    reader: RowReader,
    embedder: Embedder,
    progress: Progress,
    output: Output,
    field: String,
    quiet: bool,
    counts: Counts,
    /// Whether the warning about a field that is replaced was printed.
    warned_of_field: bool,
    /// Whether that about NaN was.
    warned_of_nan: bool,
}

impl Run {
    fn all(&mut self, batch_size: usize) -> Result<()> {
        loop {
            let mut batch = Vec::with_capacity(batch_size.min(1024));
            let ended = loop {
                match self.reader.next() {
                    Ok(Some(raw)) => batch.push(self.reader.parse_with(raw, |fields| text_of(fields, &self.field))),
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                }
                if batch.len() == batch_size {
                    break Ok(false);
                }
            };
            // First embed the rows that were read before the input failed.
            self.embed(batch)?;
            if ended? {
                return Ok(());
            }
        }
    }

    fn embed(&mut self, mut batch: Vec<Parsed<String>>) -> Result<()> {
        let rows = batch.len();
        let texts: Vec<String> =
            batch.iter_mut().filter_map(|row| row.value.as_mut().ok()).map(std::mem::take).collect();
        let mut vectors = quietly(|| self.embedder.embed_batch(&texts))??.into_iter();
        for Parsed { line, fields, value } in batch {
            let vector = match value {
                Err(problem) => Err(problem),
                Ok(_) => match vectors.next() {
                    Some(vector) => vector.map_err(RowError::Turn),
                    // There is a vector for each text.
                    None => continue,
                },
            };
            self.write(&Parsed { line, fields, value: vector })?;
        }
        self.output.flush()?;
        self.progress.advance(rows, self.reader.bytes_read());
        Ok(())
    }

    fn write(&mut self, row: &Parsed<Vector>) -> Result<()> {
        let is_bad = row.value.is_err();
        let is_replaced = |name: &str| name == FIELD || name == "error" || (is_bad && name == "line");
        let mut text = head_without(&row.fields, is_replaced);
        self.counts.rows += 1;
        match &row.value {
            Ok(vector) => {
                self.counts.cut += usize::from(vector.truncated);
                text += &format!("\"{FIELD}\":{}}}", json_of(vector));
            }
            Err(problem) => {
                self.counts.bad += 1;
                text += &error_tail(row.line, problem);
                if !self.quiet {
                    self.progress.report(&format!("{}:{}: {problem}", self.reader.place(), row.line));
                }
            }
        }
        let replaced = row.fields.iter().find(|field| is_replaced(&field.name)).map(|field| field.name.as_str());
        self.warn(row.line, replaced, row.fields.had_nan());
        self.output.write_line(&text)
    }

    /// Each warning once: a file has thousands of such rows.
    fn warn(&mut self, line: u64, replaced: Option<&str>, had_nan: bool) {
        if self.quiet {
            return;
        }
        if let Some(name) = replaced
            && !std::mem::replace(&mut self.warned_of_field, true)
        {
            self.progress.report(&format!(
                "warning: the input's field `{name}` is left out, because grice writes a field of this name"
            ));
        }
        if had_nan && !std::mem::replace(&mut self.warned_of_nan, true) {
            let place = self.reader.place();
            let warning = format!("warning: {place}:{line}: NaN and Infinity are not JSON; they are written as null");
            self.progress.report(&warning);
        }
    }
}
