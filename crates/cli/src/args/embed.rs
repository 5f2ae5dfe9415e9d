//! `embed`.

use super::common::On;
use super::values::{Delimiter, Format, parse_count};
use clap::{ArgGroup, Args as ClapArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const EMBED_EXAMPLES: &str = "\
Examples:
  One vector a line, as a JSON list:
    grice embed --model all-MiniLM-L6-v2 \"How was the film?\" \"The film was good.\"

  A file; each row keeps its fields and gets `embedding`:
    grice embed --model all-MiniLM-L6-v2 --input replies.jsonl --field response --output vectors.jsonl
    grice embed --model all-MiniLM-L6-v2 --precision int8 --input replies.csv --output vectors.jsonl

The model is a sentence-transformers folder: modules.json, 1_Pooling/config.json, config.json, model.safetensors and tokenizer.json, of the \
families bert, roberta, xlm-roberta, camembert, distilbert and mpnet, with mean or CLS pooling. A text that is longer than the model reads is \
cut, and a note counts such texts. A row without a vector becomes a row with `line` and `error`, and the exit status is 1.";

/// Arguments of `embed`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EMBED_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["texts", "input"]))]
pub(crate) struct Embed {
    /// The texts
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,

    /// Options for files.
    #[command(flatten)]
    pub(crate) files: EmbedFiles,
}

/// Arguments of `embed` that concern files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct EmbedFiles {
    /// Embed the rows of this file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// The field of a row with its text
    #[arg(long, value_name = "NAME", default_value = "text", conflicts_with = "texts")]
    pub(crate) field: String,
    /// Write the rows to this file; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "texts")]
    pub(crate) output: PathBuf,
    /// Format of the input; `auto` uses the file's extension, and JSONL for standard input. `jsonl` also reads JSON arrays, and
    /// objects over several lines
    #[arg(long, default_value = "auto", conflicts_with = "texts")]
    pub(crate) format: Format,
    /// Delimiter of the CSV file: one character, or `tab` [default: detected from the header: , ; tab or |]
    #[arg(long, value_name = "CHARACTER", conflicts_with = "texts")]
    pub(crate) delimiter: Option<Delimiter>,
    /// Replace the output file if it exists
    #[arg(long, conflicts_with = "texts")]
    pub(crate) overwrite: bool,
    /// Number of rows to embed and write together
    #[arg(long, value_name = "ROWS", default_value = "256", conflicts_with = "texts", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}
