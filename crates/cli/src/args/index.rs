//! `index`.

use super::common::On;
use super::values::{Delimiter, Format, parse_count};
use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const INDEX_EXAMPLES: &str = "\
Examples:
  grice index replies.jsonl --model models/embed-mini --output replies
  grice index replies.csv --field response --model models/embed-mini --output replies --licence CC-BY-4.0
  grice search replies --model models/embed-mini \"How was the film?\"

Rows without visible text are left out and counted; any other row without a vector ends the run. The folder appears when all is written. It holds \
grice.json, texts.jsonl (each text with the other fields of its row) and vectors.safetensors (8 bits a number), and names its embedder: `search` \
refuses another one.";

/// Arguments of `index`.
#[derive(Debug, ClapArgs)]
#[command(after_help = INDEX_EXAMPLES)]
pub(crate) struct Index {
    /// The file of texts: JSONL or CSV; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The folder to write, or a table of PostgreSQL with pgvector: postgres://user@host/database?table=NAME
    #[arg(long, short, value_name = "FOLDER|URL")]
    pub(crate) output: PathBuf,
    /// The field of a row with its text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) field: String,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,

    /// Name of the corpus [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Version of the corpus
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    pub(crate) corpus_version: String,
    /// Licence of the texts
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) licence: String,
    /// What stands before every text: the name of a prompt in the model's config_sentence_transformers.json, or the prompt itself
    #[arg(long, value_name = "NAME|TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// What `search` puts before every query, likewise
    #[arg(long, value_name = "NAME|TEXT", allow_hyphen_values = true)]
    pub(crate) query_prompt: Option<String>,
    /// Format of the input; `auto` uses the file's extension, and JSONL for standard input. `jsonl` also reads JSON arrays, and
    /// objects over several lines
    #[arg(long, default_value = "auto")]
    pub(crate) format: Format,
    /// Delimiter of the CSV file: one character, or `tab` [default: detected from the header: , ; tab or |]
    #[arg(long, value_name = "CHARACTER")]
    pub(crate) delimiter: Option<Delimiter>,
    /// Replace the folder or table if it holds a corpus
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Number of rows to embed together
    #[arg(long, value_name = "ROWS", default_value = "256", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}
