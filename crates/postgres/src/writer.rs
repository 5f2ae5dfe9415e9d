//! Writes a corpus to a table, in one transaction.

use crate::description::Description;
use crate::place::Place;
use grice_core::{CorpusEmbedder, Embedder, Error, NewCorpus, Result, check_query, corpus_row};
use postgres::Client;
use std::fmt::Write as _;
use std::io::Write as _;

/// Bytes that are sent together.
const CHUNK_BYTES: usize = 1 << 20;

/// A table that is being written. Other connections see it after [`PostgresWriter::finish`].
pub struct PostgresWriter {
    place: Place,
    client: Client,
    description: Description,
    /// Lines of COPY that wait.
    lines: String,
}

impl PostgresWriter {
    /// Begins a table, in place of a corpus that is there if `overwrite`. Vectors must come from the embedder with the corpus's prompt.
    ///
    /// # Errors
    /// [`Error::CorpusServer`]: no connection, no pgvector, another table of that name; those of [`Embedder::digest`].
    pub fn create(place: Place, embedder: &Embedder, new: NewCorpus, overwrite: bool) -> Result<PostgresWriter> {
        let NewCorpus { name, version, licence, prompt, query_prompt } = new;
        let digest = embedder.digest(&prompt, &query_prompt)?;
        let made = CorpusEmbedder { name: embedder.name().to_owned(), digest, prompt, query_prompt };
        let dims = embedder.columns();
        let description = Description::new(name, version, licence, dims, made);
        let mut client = place.connect()?;
        begin(&place, &mut client, dims, overwrite)?;
        Ok(PostgresWriter { place, client, description, lines: String::new() })
    }

    /// Appends a text and its vector. `fields` are further fields, as JSON without braces (`"id":3`), or nothing.
    ///
    /// # Errors
    /// As [`grice_core::CorpusWriter::push`], and [`Error::CorpusServer`].
    pub fn push(&mut self, text: &str, fields: &str, vector: &[f32]) -> Result<()> {
        let row = corpus_row(text, fields)?;
        check_query(vector, self.description.dims, None)?;
        // Writing to a String does not fail.
        _ = write!(self.lines, "{}\t", self.description.rows);
        push_escaped(&mut self.lines, &row);
        self.lines.push('\t');
        push_vector(&mut self.lines, vector);
        self.lines.push('\n');
        self.description.rows += 1;
        if self.lines.len() >= CHUNK_BYTES { self.send() } else { Ok(()) }
    }

    /// How many texts it has.
    pub fn rows(&self) -> usize {
        self.description.rows as usize
    }

    /// Sends the rest, and lets others see the table.
    ///
    /// # Errors
    /// [`Error::CorpusServer`], also for a corpus without texts.
    pub fn finish(mut self) -> Result<()> {
        if self.description.rows == 0 {
            return Err(self.place.refuse("there is no text to find"));
        }
        self.send()?;
        let json = serde_json::to_string(&self.description).map_err(|error| self.place.refuse(error.to_string()))?;
        // Backslashes are plain characters only where the server's setting says so; `E''` does not depend on it.
        let comment = json.replace('\\', "\\\\").replace('\'', "''");
        let end = format!("COMMENT ON TABLE {} IS E'{comment}'; COMMIT; ANALYZE {0}", self.place.table());
        self.client.batch_execute(&end).map_err(|error| self.place.error(&error))
    }

    fn send(&mut self) -> Result<()> {
        let copy = format!("COPY {} (index, row, embedding) FROM STDIN", self.place.table());
        let place = &self.place;
        let mut writer = self.client.copy_in(copy.as_str()).map_err(|error| place.error(&error))?;
        writer.write_all(self.lines.as_bytes()).map_err(|error| place.refuse(error.to_string()))?;
        writer.finish().map_err(|error| place.error(&error))?;
        self.lines.clear();
        Ok(())
    }
}

fn begin(place: &Place, client: &mut Client, dims: usize, overwrite: bool) -> Result<()> {
    let failed = |error: postgres::Error| place.error(&error);
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS vector").map_err(|error| {
        place.refuse(format!("{}; the server needs the extension pgvector", place_text(place.error(&error))))
    })?;
    client.batch_execute("BEGIN").map_err(failed)?;
    if let Some(found) = describe(place, client)? {
        match (overwrite, Description::parse(found.as_deref())) {
            (false, _) => return Err(place.refuse("the table exists already; name another one, or give --overwrite")),
            (true, Err(cause)) => return Err(place.refuse(format!("{cause}, so it is not replaced"))),
            (true, Ok(_)) => client.batch_execute(&format!("DROP TABLE {}", place.table())).map_err(failed)?,
        }
    }
    let table = place.table();
    let create = format!(
        "CREATE TABLE {table} (index bigint PRIMARY KEY, row text NOT NULL, embedding vector({dims}) NOT NULL)"
    );
    client.batch_execute(&create).map_err(failed)
}

/// What an error says without the place.
fn place_text(error: Error) -> String {
    match error {
        Error::CorpusServer { cause, .. } => cause,
        other => other.to_string(),
    }
}

/// The comment of the table, if there is such a table.
pub(crate) fn describe(place: &Place, client: &mut Client) -> Result<Option<Option<String>>> {
    let name = place.table_text();
    let ask = format!("SELECT obj_description(to_regclass({name})) WHERE to_regclass({name}) IS NOT NULL");
    let row = client.query_opt(ask.as_str(), &[]).map_err(|error| place.error(&error))?;
    row.map(|row| row.try_get(0).map_err(|error| place.error(&error))).transpose()
}

/// As a column of COPY's text format.
fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c => line.push(c),
        }
    }
}

/// As pgvector reads it. Numbers are written so that they are read as the same f32.
pub(crate) fn push_vector(text: &mut String, vector: &[f32]) {
    text.push('[');
    for (index, number) in vector.iter().enumerate() {
        _ = write!(text, "{}{number}", if index == 0 { "" } else { "," });
    }
    text.push(']');
}
