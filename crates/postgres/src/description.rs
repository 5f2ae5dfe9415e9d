//! What a table says of itself, as JSON in its comment.

use grice_core::CorpusEmbedder;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const TASK: &str = "corpus";

/// As the `grice.json` of a corpus, without digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    format: u32,
    task: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) licence: String,
    pub(crate) rows: u64,
    pub(crate) dims: usize,
    pub(crate) embedder: CorpusEmbedder,
}

impl Description {
    pub(crate) fn new(name: String, version: String, licence: String, dims: usize, embedder: CorpusEmbedder) -> Self {
        Self { format: FORMAT, task: TASK.to_owned(), name, version, licence, rows: 0, dims, embedder }
    }

    /// Reads a comment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(comment: Option<&str>) -> Result<Self, String> {
        let how = "make it with `grice index … --output`";
        let comment = comment.ok_or_else(|| format!("the table is no corpus: it has no comment; {how}"))?;
        let read: Self = serde_json::from_str(comment)
            .map_err(|error| format!("the table is no corpus: its comment is not a corpus's ({error}); {how}"))?;
        match (read.task.as_str(), read.format) {
            (TASK, FORMAT) => Ok(read),
            (TASK, format) => Err(format!("the table has format {format}; supported is {FORMAT}")),
            (task, _) => Err(format!("the table is no corpus: its comment names the task `{task}`; {how}")),
        }
    }
}
