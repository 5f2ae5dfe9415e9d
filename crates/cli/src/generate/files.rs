//! Files of prompts: all run together, each row is written as soon as those before it are.

use super::options;
use super::report::{line_of, memory};
use crate::args::{Common, Generate};
use crate::error::{CliError, Result};
use crate::model::threads;
use crate::output::write_stdout;
use grice_core::Writer;
use grice_core::generate::{CourseId, DecodeOptions, Event, Generated};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

/// Rows that are read ahead: enough to fill passes, few enough that a long file is not held in memory.
const ROWS_AHEAD: usize = 256;

/// A row that was read.
struct Row {
    line: u64,
    fields: Map<String, Value>,
    stops: Vec<String>,
    prompt_tokens: usize,
}

/// Rows that are not written yet.
#[derive(Default)]
struct Rows {
    running: HashMap<CourseId, Row>,
    done: BTreeMap<u64, Value>,
    written: u64,
    bad: usize,
}

/// Generates for each row of a file.
pub(super) fn run(input: &Path, args: &Generate, common: &Common, writer: &Writer) -> Result<()> {
    let options = options::of(&args.how, writer)?;
    let (mut engine, mut courses) = writer.engine(threads(common), memory(args))?;
    let mut out = open_output(args)?;
    let mut lines = open_input(input)?.lines();
    let (mut rows, mut read) = (Rows::default(), 0);
    loop {
        while rows.running.len() + rows.done.len() < ROWS_AHEAD {
            let Some(line) = lines.next() else { break };
            let line = line.map_err(|source| CliError::Read { place: place_of(input, "standard input"), source })?;
            if line.trim().is_empty() {
                continue;
            }
            read += 1;
            match begin(&line, read, writer, &options) {
                Ok((row, start, options)) => match courses.add(options, start, Some(writer.speller())) {
                    Ok(id) => drop(rows.running.insert(id, row)),
                    Err(error) => rows.fail(read, row.fields, &error.to_string()),
                },
                Err(error) => rows.fail(read, Map::new(), &error),
            }
        }
        rows.write(&mut out, args)?;
        if courses.is_empty() {
            break;
        }
        writer.pass(&mut engine, &mut courses, |event| rows.take(event, writer))?;
    }
    rows.write(&mut out, args)?;
    match rows.bad {
        0 => Ok(()),
        bad => Err(CliError::BadRows { bad, rows: read as usize }),
    }
}

type Begun = (Row, grice_core::generate::Start, Arc<DecodeOptions>);

fn begin(text: &str, line: u64, writer: &Writer, options: &DecodeOptions) -> Result<Begun, String> {
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err("a row must be a JSON object".to_owned()),
        Err(error) => return Err(format!("it is no JSON: {error}")),
    };
    let prompt = match fields.get("prompt") {
        Some(Value::String(prompt)) => prompt,
        Some(_) => return Err("field `prompt`: it must be a text".to_owned()),
        None => return Err("field `prompt` is missing".to_owned()),
    };
    let start = writer.start(prompt).map_err(|error| error.to_string())?;
    let prompt_tokens = start.source.as_ref().unwrap_or(&start.prompt).len();
    // Rows with the same seed would draw the same numbers.
    let seed = options.seed.map(|seed| seed.wrapping_add(line));
    let options = Arc::new(DecodeOptions { seed, ..options.clone() });
    let row = Row { line, fields, stops: options.stop_strings.clone(), prompt_tokens };
    Ok((row, start, options))
}

impl Rows {
    fn take(&mut self, event: Event<'_>, writer: &Writer) {
        match event {
            Event::Tokens(..) => {}
            Event::Done(id, texts) => {
                let Some(row) = self.running.remove(&id) else { return };
                match texts.first() {
                    Some(text) => self.finish(row, text, writer),
                    None => self.fail(row.line, row.fields, "it ended without a text"),
                }
            }
            Event::Failed(id, error) => {
                let Some(row) = self.running.remove(&id) else { return };
                self.fail(row.line, row.fields, &error.to_string());
            }
        }
    }

    fn finish(&mut self, mut row: Row, generated: &Generated, writer: &Writer) {
        let text = writer.written(generated, &row.stops);
        if let Value::Object(new) = line_of(&text, row.prompt_tokens, generated) {
            row.fields.extend(new);
        }
        self.done.insert(row.line, Value::Object(row.fields));
    }

    fn fail(&mut self, line: u64, mut fields: Map<String, Value>, error: &str) {
        fields.insert("line".to_owned(), line.into());
        fields.insert("error".to_owned(), error.into());
        self.bad += 1;
        self.done.insert(line, Value::Object(fields));
    }

    /// Writes the rows whose turn it is.
    fn write(&mut self, out: &mut Option<io::BufWriter<std::fs::File>>, args: &Generate) -> Result<()> {
        while let Some(row) = self.done.remove(&(self.written + 1)) {
            self.written += 1;
            let line = row.to_string() + "\n";
            match out {
                None => write_stdout(line.as_bytes())?,
                Some(file) => {
                    let written = file.write_all(line.as_bytes()).and_then(|()| file.flush());
                    written.map_err(|source| CliError::Write { place: args.output.display().to_string(), source })?;
                }
            }
        }
        Ok(())
    }
}

fn open_input(input: &Path) -> Result<Box<dyn BufRead>> {
    if input == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = std::fs::File::open(input);
    let file = file.map_err(|source| CliError::Read { place: input.display().to_string(), source })?;
    Ok(Box::new(io::BufReader::new(file)))
}

/// The output file; `None` for standard output.
fn open_output(args: &Generate) -> Result<Option<io::BufWriter<std::fs::File>>> {
    if args.output == Path::new("-") {
        return Ok(None);
    }
    let place = args.output.display().to_string();
    if args.input.as_deref() == Some(&args.output) {
        return Err(CliError::SameFile(place));
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(!args.overwrite).create(true).truncate(true);
    match options.open(&args.output) {
        Ok(file) => Ok(Some(io::BufWriter::new(file))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(CliError::TargetExists(place)),
        Err(source) => Err(CliError::Write { place, source }),
    }
}

fn place_of(path: &Path, standard: &str) -> String {
    if path == Path::new("-") { standard.to_owned() } else { path.display().to_string() }
}
