//! `detect`.

use super::common::On;
use super::values::{Delimiter, Format, Shard, Threshold, parse_count};
use clap::{ArgGroup, Args as ClapArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const DETECT_EXAMPLES: &str = "\
Examples:
  One turn:
    grice detect --context \"What did you think of the film?\" --response \"Yes.\"
    grice detect --context \"Where is the station?\" --response \"Two streets on.\" --json
    grice detect --evidence \"The bridge opened in 1937.\" --response \"It opened in 1950.\" --explain

  A file, one row per line; the output keeps the input's fields and adds the verdict's:
    grice detect --input turns.jsonl --output verdicts.jsonl
    grice detect --input turns.csv --output verdicts.jsonl --thresholds quantity=0.6,manner=0.4

  Continue after an interruption, with the same options as before:
    grice detect --input turns.jsonl --output verdicts.jsonl --resume

  Divide the rows between three machines:
    grice detect --input turns.jsonl --output part1.jsonl --shard 1/3

  In a pipe, row by row:
    tail -f turns.jsonl | grice detect --input - --batch-size 1

Rows have `response` (text), and optionally `context` (text, or a list of texts or of {\"speaker\", \"text\"}, oldest first) and \
`evidence` (text). Output rows add `probabilities`, `violations`, `cooperative` and `truncated`, and \
`unknown_share` if the tokenizer does not know all of the response; with `--explain` also `explanation`, with places in Unicode characters. NaN in other fields becomes null. A row that cannot be judged \
is reported with its line number and becomes a row with `line` and `error`; the other rows are judged, and the exit status is 1.";

/// Arguments of `detect`.
#[derive(Debug, ClapArgs)]
#[command(after_help = DETECT_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["response", "input"]))]
pub(crate) struct Detect {
    /// The response to judge
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "One turn")]
    pub(crate) response: Option<String>,
    /// The conversation before the response
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "response", conflicts_with = "input")]
    #[arg(help_heading = "One turn")]
    pub(crate) context: Option<String>,
    /// Facts that the response may use
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "response", conflicts_with = "input")]
    #[arg(help_heading = "One turn")]
    pub(crate) evidence: Option<String>,
    /// Print the verdict as one JSON object
    #[arg(long, conflicts_with = "input", help_heading = "One turn")]
    pub(crate) json: bool,

    /// Name the words that moved each violated maxim most: the change of its probability without the word. Takes up to 96 more runs for a turn
    #[arg(long)]
    pub(crate) explain: bool,
    /// Thresholds that replace the model's, from 0 to 1: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,

    /// Options for files. They come last, because their heading also applies to later options.
    #[command(flatten)]
    pub(crate) files: DetectFiles,
}

/// Arguments of `detect` that concern files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct DetectFiles {
    /// Judge the rows of this file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write the verdicts to this file; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "response")]
    pub(crate) output: PathBuf,
    /// Format of the input; `auto` uses the file's extension, and JSONL for standard input. `jsonl` also reads JSON arrays, and
    /// objects over several lines
    #[arg(long, default_value = "auto", conflicts_with = "response")]
    pub(crate) format: Format,
    /// Delimiter of the CSV file: one character, or `tab` [default: detected from the header: , ; tab or |]
    #[arg(long, value_name = "CHARACTER", conflicts_with = "response")]
    pub(crate) delimiter: Option<Delimiter>,
    /// Replace the output file if it exists
    #[arg(long, conflicts_with_all = ["response", "resume"])]
    pub(crate) overwrite: bool,
    /// Continue an interrupted run with the same output file
    #[arg(long, conflicts_with = "response")]
    pub(crate) resume: bool,
    /// Judge only part I of N: every N-th row, starting with row I. I may be K+1, for workers that are counted from 0
    #[arg(long, value_name = "I/N", conflicts_with = "response")]
    pub(crate) shard: Option<Shard>,
    /// Stop at the first row that cannot be judged
    #[arg(long, conflicts_with = "response")]
    pub(crate) strict: bool,
    /// Number of rows to judge and write together
    #[arg(long, value_name = "ROWS", default_value = "64", conflicts_with = "response", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}
