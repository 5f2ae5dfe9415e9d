//! `embed`: texts from the command line, or a file of rows.

use crate::args::{Common, Embed};
use crate::error::Result;
use crate::model::quietly;
use crate::output::write_stdout;
use crate::rows::RowError;
use crate::texts::{Answer, Answers, note, note_of_cut, open, prompt_of, run as run_files};
use grice_core::Embedder;
use grice_core::task::Vector;
use serde_json::Value;

/// Embeds what the arguments name.
///
/// # Errors
/// Errors of the model, the texts or the files.
pub(crate) fn run(args: &Embed, common: &Common) -> Result<()> {
    let open = || -> Result<Embedder> {
        let mut embedder = open(common)?;
        let prompt = prompt_of(args.prompt.as_deref(), &embedder, common);
        embedder.set_prompt(&prompt)?;
        Ok(embedder)
    };
    match &args.files.input {
        Some(input) => run_files(input, &args.files, common, || Ok(Vectors(open()?))),
        None => embed_texts(&args.texts, &mut open()?, common),
    }
}

/// Prints a list for each text, or nothing if one has no vector.
fn embed_texts(texts: &[String], embedder: &mut Embedder, common: &Common) -> Result<()> {
    let vectors = quietly(|| embedder.embed_batch(texts))??;
    let vectors = vectors.into_iter().collect::<grice_core::Result<Vec<Vector>>>()?;
    let cut = vectors.iter().filter(|vector| vector.truncated).count();
    if let Some(text) = note_of_cut(cut, embedder.tokens_max()) {
        note(common, &text);
    }
    let lines: String = vectors.iter().map(|vector| json_of(vector) + "\n").collect();
    write_stdout(lines.as_bytes())
}

/// Numbers as short as they can be read back.
fn json_of(vector: &Vector) -> String {
    // Finite numbers always have a JSON form.
    serde_json::to_string(&vector.values).unwrap_or_default()
}

/// Vectors for the rows of a file.
struct Vectors(Embedder);

/// The most that a number of a vector differs between two machines, of the largest one, with a margin.
const TOLERANCE: f64 = 0.02;

impl Answers for Vectors {
    const FIELD: &'static str = "embedding";
    const WHAT: [&'static str; 2] = ["vector", "prompt"];

    fn answer(&mut self, texts: &[String]) -> Result<Vec<Result<Answer, RowError>>> {
        let vectors = quietly(|| self.0.embed_batch(texts))??.into_iter();
        let answer = |vector: Vector| Answer { json: json_of(&vector), cut: vector.truncated };
        Ok(vectors.map(|vector| vector.map(answer).map_err(RowError::Turn)).collect())
    }

    fn tokens_max(&self) -> usize {
        self.0.tokens_max()
    }

    fn agree(old: &Value, new: &Value) -> bool {
        let numbers = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let (Some(old), Some(new)) = (numbers(old), numbers(new)) else { return old == new };
        let largest = new.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| (a - b).abs() <= TOLERANCE * largest)
    }
}
