//! `search`.

use super::common::On;
use super::texts::TextFiles;
use super::values::parse_count;
use clap::{ArgGroup, Args as ClapArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const SEARCH_EXAMPLES: &str = "\
Examples:
  One text a line, the nearest first:
    grice search replies --model models/embed-mini \"How was the film?\"
    grice search replies --model models/embed-mini --top 20 --min-similarity 0.3 \"How was the film?\"

  A file; each row keeps its fields and gets `nearest`:
    grice search replies --model models/embed-mini --input questions.jsonl --field context --output near.jsonl

The corpus is a folder that `grice index` wrote, and the model must be the one that made its vectors. The similarity is the inner product of \
two vectors, the cosine for models that normalise; all vectors are compared, and of equally similar texts the first comes first.";

/// Arguments of `search`.
#[derive(Debug, ClapArgs)]
#[command(after_help = SEARCH_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["texts", "input"]))]
pub(crate) struct Search {
    /// The corpus: a folder, or the URL of a table
    #[arg(value_name = "FOLDER")]
    pub(crate) corpus: PathBuf,
    /// The text to find others for
    #[arg(id = "texts", value_name = "QUERY")]
    pub(crate) query: Option<String>,
    /// How many texts to find
    #[arg(long, short = 'k', value_name = "TEXTS", default_value = "5", value_parser = parse_count)]
    pub(crate) top: NonZeroUsize,
    /// Leave out texts that are less similar than this
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) min_similarity: Option<f32>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,

    /// Options for files.
    #[command(flatten)]
    pub(crate) files: TextFiles,
}
