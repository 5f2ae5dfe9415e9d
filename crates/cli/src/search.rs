//! `search`: the texts of a corpus that are nearest to a query, or to each row of a file.

use crate::args::{Common, Search};
use crate::error::Result;
use crate::model::{quietly, threads};
use crate::output::write_stdout;
use crate::rows::{Fields, RowError, head_without};
use crate::texts::{Answer, Answers, note, note_of_cut, open, run as run_files};
use grice_core::{Embedder, NearText, Nearest};
use serde_json::Value;

/// Searches for what the arguments name.
///
/// # Errors
/// Errors of the corpus, the model, the texts or the files.
pub(crate) fn run(args: &Search, common: &Common) -> Result<()> {
    if let Some(minimum) = args.min_similarity.filter(|minimum| !minimum.is_finite()) {
        return Err(grice_core::Error::MinimumSimilarity(minimum).into());
    }
    let open = || -> Result<Neighbours> {
        let corpus = crate::corpus::open(&args.corpus, threads(common))?;
        let mut embedder = open(common)?;
        corpus.prepare(&mut embedder)?;
        Ok(Neighbours { corpus, embedder, top: args.top.get(), minimum: args.min_similarity })
    };
    match (&args.files.input, &args.query) {
        (Some(input), _) => run_files(input, &args.files, common, open),
        // The argument group requires one of them; an empty query would be refused.
        (None, query) => one(query.as_deref().unwrap_or_default(), &mut open()?, common),
    }
}

/// Prints a JSON object for each text that was found.
fn one(query: &str, neighbours: &mut Neighbours, common: &Common) -> Result<()> {
    let vector = quietly(|| neighbours.embedder.embed(query))??;
    if let Some(text) = note_of_cut(usize::from(vector.truncated), neighbours.tokens_max()) {
        note(common, &text);
    }
    let hits = neighbours.find(&vector.values)?;
    if let (true, Some(minimum)) = (hits.is_empty(), neighbours.minimum) {
        note(common, &format!("no text has a similarity of at least {minimum}"));
    }
    let lines: String = hits.iter().map(|hit| json_of(hit) + "\n").collect();
    write_stdout(lines.as_bytes())
}

/// A corpus and its embedder.
struct Neighbours {
    corpus: Box<dyn Nearest>,
    embedder: Embedder,
    top: usize,
    minimum: Option<f32>,
}

/// The most that a similarity differs between two machines, with a margin.
const TOLERANCE: f64 = 0.01;

impl Neighbours {
    fn find(&self, vector: &[f32]) -> grice_core::Result<Vec<NearText>> {
        self.corpus.nearest(vector, self.top, self.minimum)
    }
}

/// The row of a text, after its number and its similarity.
fn json_of(near: &NearText) -> String {
    // Rows are checked when they are read.
    let fields: Fields = serde_json::from_str(&near.row).unwrap_or_default();
    let head = head_without(&fields, |name| name == "index" || name == "similarity");
    let similarity = serde_json::to_string(&near.similarity).unwrap_or_default();
    format!("{{\"index\":{},\"similarity\":{similarity},{}}}", near.index, head[1..].trim_end_matches(','))
}

impl Answers for Neighbours {
    const FIELD: &'static str = "nearest";
    const WHAT: [&'static str; 2] = ["list of texts", "corpus"];

    fn answer(&mut self, texts: &[String]) -> Result<Vec<Result<Answer, RowError>>> {
        let vectors = quietly(|| self.embedder.embed_batch(texts))??.into_iter();
        let answer = |vector: grice_core::task::Vector| {
            let hits = self.find(&vector.values)?;
            let rows: Vec<String> = hits.iter().map(json_of).collect();
            Ok(Answer { json: format!("[{}]", rows.join(",")), cut: vector.truncated })
        };
        Ok(vectors.map(|vector| vector.and_then(answer).map_err(RowError::Turn)).collect())
    }

    fn tokens_max(&self) -> usize {
        self.embedder.tokens_max()
    }

    fn agree(old: &Value, new: &Value) -> bool {
        let similarities = |value: &Value| {
            let rows = value.as_array()?.iter();
            rows.map(|row| row["similarity"].as_f64()).collect::<Option<Vec<f64>>>()
        };
        let (Some(old), Some(new)) = (similarities(old), similarities(new)) else { return old == new };
        old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| (a - b).abs() <= TOLERANCE)
    }
}
