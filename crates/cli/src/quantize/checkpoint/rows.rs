//! Rows with texts to judge a model by.

use crate::error::{CliError, Result};
use crate::rows::{Row, RowError, RowReader, kind_of, value_of};
use grice_core::generate::{DecodeOptions, Event, Search};
use grice_core::{KnownText, Memory, Writer};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Tokens that a model writes where a row has no text to measure.
const NEW_TOKENS: usize = 64;
/// Memory for the keys and values of these.
const MEMORY_BYTES: usize = 512 << 20;
/// The fields of what follows a prompt.
const TEXTS: [&str; 2] = ["text", "response"];

/// A row as it is written.
struct Prompt {
    line: u64,
    prompt: String,
    text: Option<String>,
}

/// The texts of a file's rows. Where a row has nothing to predict, the model itself goes on with it, always with the likeliest token.
///
/// # Errors
/// [`CliError::BadSample`] with the line, [`CliError::NoSamples`], errors of the file.
pub(super) fn read(path: &Path, writer: &Writer, threads: usize) -> Result<Vec<KnownText>> {
    let mut reader = RowReader::open_json(path)?;
    let place = reader.place().to_owned();
    let bad = |line, cause| CliError::BadSample { place: place.clone(), line, cause };
    let (mut texts, mut open) = (Vec::new(), Vec::new());
    while let Some(raw) = reader.next()? {
        let row = reader.parse(raw);
        let line = row.line;
        let row = parse(row).map_err(|cause| bad(line, cause))?;
        let known = writer.known_text(&row.prompt, row.text.as_deref());
        let known = known.map_err(|error| bad(line, RowError::Turn(error)))?;
        if known.predictions() == 0 && row.text.is_none() {
            open.push((texts.len(), row));
        }
        texts.push(known);
    }
    write_on(writer, threads, &open, &mut texts)?;
    match texts.iter().all(|text| text.predictions() == 0) {
        true => Err(CliError::NoSamples(place)),
        false => Ok(texts),
    }
}

fn parse(row: Row) -> Result<Prompt, RowError> {
    let text_of = |name: &'static str| match value_of(&row.fields, name)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let (field, found) = (name.to_owned(), kind_of(&other).to_owned());
            Err(RowError::FieldType { field, expected: "text", found })
        }
    };
    let texts = TEXTS.map(text_of);
    match (text_of("prompt")?, row.turn) {
        (Some(prompt), _) => {
            let [text, response] = texts;
            Ok(Prompt { line: row.line, prompt, text: text?.or(response?) })
        }
        // An invalid row is reported before a missing field.
        (None, Err(cause)) if !matches!(cause, RowError::MissingField(_)) => Err(cause),
        (None, _) => Err(RowError::MissingField("prompt".to_owned())),
    }
}

/// Replaces the texts of open rows by what the model writes.
fn write_on(writer: &Writer, threads: usize, open: &[(usize, Prompt)], texts: &mut [KnownText]) -> Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    let stop_tokens = writer.options().stop_tokens;
    let options =
        DecodeOptions { search: Search::Greedy, max_new_tokens: NEW_TOKENS, stop_tokens, ..Default::default() };
    let options = Arc::new(options);
    let (mut engine, mut courses) = writer.engine(threads, Memory::Bytes(MEMORY_BYTES))?;
    let mut places = HashMap::new();
    for (at, row) in open {
        let start = writer.start(&row.prompt)?;
        let failed = |error: String| CliError::Generate(format!("row of line {}: {error}", row.line));
        let id = courses.add(options.clone(), start, None).map_err(|error| failed(error.to_string()))?;
        places.insert(id, (*at, row));
    }
    let mut outcome = Ok(());
    writer.run(&mut engine, &mut courses, |event| {
        let written = match event {
            Event::Tokens(..) => Ok(()),
            Event::Failed(id, error) => {
                let line = places.get(&id).map_or(0, |(_, row)| row.line);
                Err(CliError::Generate(format!("row of line {line}: {error}")))
            }
            Event::Done(id, written) => match (places.get(&id), written.first()) {
                (Some((at, row)), Some(written)) => writer
                    .start(&row.prompt)
                    .and_then(|start| writer.continued(start, &written.tokens))
                    .map(|known| texts[*at] = known)
                    .map_err(CliError::Core),
                _ => Ok(()),
            },
        };
        if outcome.is_ok() {
            outcome = written;
        }
    })?;
    outcome
}
