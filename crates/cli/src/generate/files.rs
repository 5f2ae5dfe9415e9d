//! Files of prompts: all run together, each row is written as soon as those before it are.

use super::options;
use super::report::{line_of, memory};
use crate::args::{Common, Generate};
use crate::error::{CliError, Result};
use crate::model::threads;
use crate::output::{Output, Target, check_free, is_stdio};
use crate::progress::Progress;
use crate::resume::{Beginnings, OldRow, Resume};
use crate::rows::{BAD_TAIL, Fields, Parsed, RowError, RowReader, ShardRows, error_tail, head_without, text_of};
use grice_core::Writer;
use grice_core::generate::{CourseId, Courses, DecodeOptions, Event, Generated, Start};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Rows that are read ahead: enough to fill passes, few enough that a long file is not held in memory.
const ROWS_AHEAD: usize = 256;
/// The field that is read.
const PROMPT: &str = "prompt";
/// Names of grice's fields, the first one first; includes `error`, so that rows from an earlier output do not look failed.
const IN_TEXTS: [&str; 5] = ["generated", "finish_reason", "prompt_tokens", "generated_tokens", "error"];

/// Generates for each row of a file.
///
/// # Errors
/// [`CliError::BadRows`] at the end if some rows have no text; other errors stop the run at once.
pub(super) fn run(input: &Path, args: &Generate, common: &Common, open: impl FnOnce() -> Result<Writer>) -> Result<()> {
    let files = &args.files;
    if files.resume && is_stdio(&files.output) {
        return Err(CliError::ResumeStdout);
    }
    // Checks that do not need the model come first, because loading it takes time.
    let target = Target { input: Some(input), output: &files.output, overwrite: files.overwrite, resume: files.resume };
    check_free(target)?;
    let reader = RowReader::open_with(input, files.format, files.delimiter, PROMPT)?;
    let mut rows = ShardRows::new(reader, files.shard);
    let old = if files.resume { Some(skip_old(&mut rows, &files.output)?) } else { None };
    let writer = open()?;
    let options = options::of(&args.how, &writer)?;
    let (mut engine, mut courses) = writer.engine(threads(common), memory(args))?;
    let mut progress = Progress::new(rows.reader().bytes_total(), common.quiet);
    let (count, bad) = old.as_ref().map_or((0, 0), |old| (old.rows(), old.bad()));
    progress.advance(count, rows.reader().bytes_read());
    let output = match &old {
        Some(old) => Output::resume(&files.output, old.end())?,
        None => Output::create(target)?,
    };
    let mut run = Run {
        rows,
        writer: &writer,
        options,
        output,
        progress,
        quiet: common.quiet,
        read: 0,
        running: HashMap::new(),
        done: BTreeMap::new(),
        written: 0,
        bad,
    };
    loop {
        run.read_ahead(&mut courses)?;
        run.write()?;
        if courses.is_empty() {
            break;
        }
        writer.pass(&mut engine, &mut courses, |event| run.take(event))?;
    }
    let rows = count + run.written;
    if run.bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad: run.bad, rows }) }
}

/// A row whose text is being written.
struct Waiting {
    place: usize,
    row: Parsed<()>,
    prompt_tokens: usize,
}

/// One run over a file. A row's place counts the rows of this run from 0.
struct Run<'a> {
    rows: ShardRows<Parsed<String>>,
    writer: &'a Writer,
    options: DecodeOptions,
    output: Output,
    progress: Progress,
    quiet: bool,
    read: usize,
    running: HashMap<CourseId, Waiting>,
    /// Lines that wait for those before them.
    done: BTreeMap<usize, String>,
    written: usize,
    bad: usize,
}

impl Run<'_> {
    fn read_ahead(&mut self, courses: &mut Courses) -> Result<()> {
        while self.running.len() + self.done.len() < ROWS_AHEAD {
            let Some((index, Parsed { line, fields, value })) = self.rows.next(parse)? else { break };
            let place = self.read;
            self.read += 1;
            let row = Parsed { line, fields, value: Ok(()) };
            let begun = value.and_then(|prompt| self.begin(&prompt, index, courses));
            match begun {
                Ok((id, prompt_tokens)) => drop(self.running.insert(id, Waiting { place, row, prompt_tokens })),
                Err(problem) => self.fail(place, &row, &problem),
            }
        }
        Ok(())
    }

    fn begin(&self, prompt: &str, index: usize, courses: &mut Courses) -> Result<(CourseId, usize), RowError> {
        let start: Start = self.writer.start(prompt).map_err(RowError::Turn)?;
        let prompt_tokens = start.source.as_ref().unwrap_or(&start.prompt).len();
        // Rows with the same seed would draw the same numbers. A row draws the same in every shard.
        let seed = self.options.seed.map(|seed| seed.wrapping_add(index as u64 + 1));
        let options = Arc::new(DecodeOptions { seed, ..self.options.clone() });
        let id = courses.add(options, start, Some(self.writer.speller()));
        Ok((id.map_err(|refused| RowError::Text(refused.to_string()))?, prompt_tokens))
    }

    fn take(&mut self, event: Event<'_>) {
        let (id, outcome) = match event {
            Event::Tokens(..) => return,
            Event::Done(id, texts) => {
                (id, texts.into_iter().next().ok_or_else(|| "it ended without a text".to_owned()))
            }
            Event::Failed(id, error) => (id, Err(error.to_string())),
        };
        let Some(Waiting { place, row, prompt_tokens }) = self.running.remove(&id) else { return };
        match outcome {
            Ok(text) => {
                let line = self.line_of(&row.fields, prompt_tokens, &text);
                self.done.insert(place, line);
            }
            Err(problem) => self.fail(place, &row, &RowError::Text(problem)),
        }
    }

    fn line_of(&self, fields: &Fields, prompt_tokens: usize, generated: &Generated) -> String {
        let mut stream = grice_core::text::Stream::new(self.writer.speller(), &self.options.stop_strings);
        let mut text: String = generated.tokens.iter().map(|&token| stream.push(token)).collect();
        text += &stream.finish();
        let own = line_of(&text, prompt_tokens, generated).to_string();
        head_without(fields, |name| is_replaced(name, false)) + &own[1..]
    }

    fn fail(&mut self, place: usize, row: &Parsed<()>, problem: &RowError) {
        self.bad += 1;
        if !self.quiet {
            self.progress.report(&format!("{}:{}: {problem}", self.rows.reader().place(), row.line));
        }
        let head = head_without(&row.fields, |name| is_replaced(name, true));
        self.done.insert(place, head + &error_tail(row.line, problem));
    }

    /// Writes the rows whose turn it is.
    fn write(&mut self) -> Result<()> {
        let before = self.written;
        while let Some(line) = self.done.remove(&self.written) {
            self.output.write_line(&line)?;
            self.written += 1;
        }
        self.output.flush()?;
        self.progress.advance(self.written - before, self.rows.reader().bytes_read());
        Ok(())
    }
}

fn parse(reader: &RowReader, raw: crate::rows::RawRow) -> Parsed<String> {
    reader.parse_with(raw, |fields| text_of(fields, PROMPT))
}

/// Passes over the rows of an old output, which must be those of the input.
fn skip_old(rows: &mut ShardRows<Parsed<String>>, path: &Path) -> Result<Resume> {
    let mut old = Resume::open(path)?;
    loop {
        let Some((index, row)) = rows.next(parse)? else {
            old.finish()?;
            return Ok(old);
        };
        if old.step(row.line, &beginnings(&row))? == OldRow::Missing {
            rows.put_back(index, row);
            return Ok(old);
        }
    }
}

/// How the line of a row begins.
fn beginnings(row: &Parsed<String>) -> Beginnings {
    Beginnings {
        good: head_without(&row.fields, |name| is_replaced(name, false)) + &format!("\"{}\":", IN_TEXTS[0]),
        bad: head_without(&row.fields, |name| is_replaced(name, true)) + &format!("{BAD_TAIL}{},", row.line),
    }
}

fn is_replaced(name: &str, bad: bool) -> bool {
    IN_TEXTS.contains(&name) || (bad && name == "line")
}
