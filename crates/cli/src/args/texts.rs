//! Options of the commands that read files of texts.

use super::values::{Delimiter, Format, Shard, parse_count};
use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// A file of texts, and the file that is written. The texts of the command line, which exclude all of this, are called `texts` everywhere.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct TextFiles {
    /// Read the texts in the rows of this file; `-` is standard input
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
    #[arg(long, conflicts_with_all = ["texts", "resume"])]
    pub(crate) overwrite: bool,
    /// Continue an interrupted run with the same output file
    #[arg(long, conflicts_with = "texts")]
    pub(crate) resume: bool,
    /// Only part I of N: every N-th row, starting with row I. I may be K+1, for workers that are counted from 0
    #[arg(long, value_name = "I/N", conflicts_with = "texts")]
    pub(crate) shard: Option<Shard>,
    /// Stop at the first row without an answer
    #[arg(long, conflicts_with = "texts")]
    pub(crate) strict: bool,
    /// Number of rows to embed and write together
    #[arg(long, value_name = "ROWS", default_value = "256", conflicts_with = "texts", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}
