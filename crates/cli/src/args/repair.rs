//! `repair` and `pipeline`.

use super::common::On;
use super::values::{Delimiter, Format, Shard, Threshold, parse_count};
use clap::{ArgGroup, Args as ClapArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const REPAIR_EXAMPLES: &str = "\
Examples:
  One response:
    grice repair --context \"What did you think of the film?\" \\
      --response \"I liked it. I liked it a lot. In other words, the film was liked by me a lot.\"
    grice repair --response \"It was released in the cinema.\" --violations manner --json

  A file, one row per line; the output keeps the input's fields:
    grice repair --input turns.jsonl --output repaired.jsonl
    grice repair --corpus models/replies-mini --embedder models/embed-mini --input turns.jsonl --output repaired.jsonl

  Only what a detector found before:
    grice detect --input turns.jsonl | grice repair --input - --output repaired.jsonl

A repair replaces the response only if the detector's highest probability falls and no maxim is violated that was not violated before. \
A response that is off topic is replaced with --corpus, by the best of the five nearest responses; without it only if the model has a recipe for \
relation. Rows have `response`, and optionally `context`, `evidence` and `violations` (an object of maxims and true or false, or a list of maxims); with \
`violations` the detector is not asked first. Output rows add `repaired`, `is_fallback` (a maxim is violated, and no repair was \
good enough), `before` and `after` (probabilities) and `rounds`.";

const PIPELINE_EXAMPLES: &str = "\
Examples:
  Write an answer, judge it, repair it, and show each step:
    grice pipeline --context \"What did you think of the film?\"
    grice pipeline --generator gricebench-generator --context \"What did you think of the film?\" --json

  A file; each row has a `context`, and optionally `evidence`:
    grice pipeline --input questions.jsonl --output answers.jsonl

Output rows add `generated` (the answer as it was written), `repaired` (the answer after all repairs), `is_fallback`, `before` and `after` \
(probabilities) and `rounds`.";

/// Arguments of `repair`.
#[derive(Debug, ClapArgs)]
#[command(after_help = REPAIR_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["response", "input"]))]
#[command(group = ArgGroup::new("one").arg("response"))]
pub(crate) struct Repair {
    /// The response to repair
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "One turn")]
    pub(crate) response: Option<String>,
    /// The conversation before the response
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input", help_heading = "One turn")]
    pub(crate) context: Option<String>,
    /// Facts that the response may use
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input", help_heading = "One turn")]
    pub(crate) evidence: Option<String>,
    /// Repair the violations of these maxims, without asking the detector first: quantity,manner
    #[arg(long, value_name = "MAXIM,…", value_delimiter = ',', conflicts_with = "input", help_heading = "One turn")]
    pub(crate) violations: Vec<Named>,
    /// What both commands have.
    #[command(flatten)]
    pub(crate) how: RepairHow,
    /// Options for files. They come last, because their heading also applies to later options.
    #[command(flatten)]
    pub(crate) files: RepairFiles,
}

/// Arguments of `pipeline`.
#[derive(Debug, ClapArgs)]
#[command(after_help = PIPELINE_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["context", "input"]))]
#[command(group = ArgGroup::new("one").arg("context"))]
pub(crate) struct Pipeline {
    /// The conversation to answer
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "One turn")]
    pub(crate) context: Option<String>,
    /// Facts that the answer may use
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input", help_heading = "One turn")]
    pub(crate) evidence: Option<String>,
    /// The model that writes answers: a folder with a recipe for them [default: the model that repairs]
    #[arg(long, value_name = "PATH")]
    pub(crate) generator: Option<PathBuf>,
    /// What both commands have.
    #[command(flatten)]
    pub(crate) how: RepairHow,
    /// Options for files.
    #[command(flatten)]
    pub(crate) files: RepairFiles,
}

/// How responses are repaired.
#[derive(Debug, ClapArgs)]
pub(crate) struct RepairHow {
    /// The most repairs of a response
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_rounds)]
    pub(crate) rounds: u32,
    /// Print the result and all steps as one JSON object; in a file, add the steps to each row as `trace`
    #[arg(long)]
    pub(crate) json: bool,
    /// The detector: a bundle's folder or .tar file [default: the built-in model]
    #[arg(long, value_name = "PATH")]
    pub(crate) detector: Option<PathBuf>,
    /// Thresholds that replace the detector's, from 0 to 1: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Where responses come from that replace those off topic: a folder made by `grice index`. Needs --embedder
    #[arg(long, value_name = "PATH", requires = "embedder")]
    pub(crate) corpus: Option<PathBuf>,
    /// The model that made the corpus: a sentence-transformers folder
    #[arg(long, value_name = "PATH", requires = "corpus")]
    pub(crate) embedder: Option<PathBuf>,
    /// The least similarity of a response of the corpus and the context's last utterance, -1 to 1
    #[arg(long, value_name = "COSINE", default_value = "0.3", allow_negative_numbers = true, requires = "corpus")]
    pub(crate) min_similarity: f32,
    /// What random draws depend on; the same seed gives the same texts
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
    /// Memory for keys and values of a model that writes, in MiB
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = parse_count)]
    pub(crate) memory: NonZeroUsize,
    /// Where the detector runs.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Arguments that concern files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct RepairFiles {
    /// Take the rows of this file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write the rows to this file; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "one")]
    pub(crate) output: PathBuf,
    /// Format of the input; `auto` uses the file's extension, and JSONL for standard input. `jsonl` also reads JSON arrays, and
    /// objects over several lines
    #[arg(long, default_value = "auto", conflicts_with = "one")]
    pub(crate) format: Format,
    /// Delimiter of the CSV file: one character, or `tab` [default: detected from the header: , ; tab or |]
    #[arg(long, value_name = "CHARACTER", conflicts_with = "one")]
    pub(crate) delimiter: Option<Delimiter>,
    /// Replace the output file if it exists
    #[arg(long, conflicts_with_all = ["one", "resume"])]
    pub(crate) overwrite: bool,
    /// Continue an interrupted run with the same output file
    #[arg(long, conflicts_with = "one")]
    pub(crate) resume: bool,
    /// Only part I of N: every N-th row, starting with row I. I may be K+1, for workers that are counted from 0
    #[arg(long, value_name = "I/N", conflicts_with = "one")]
    pub(crate) shard: Option<Shard>,
    /// Stop at the first row at fault
    #[arg(long, conflicts_with = "one")]
    pub(crate) strict: bool,
    /// Number of rows to run and write together
    #[arg(long, value_name = "ROWS", default_value = "32", conflicts_with = "one", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}

/// A maxim by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) grice_core::Maxim);

impl std::str::FromStr for Named {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let maxim = grice_core::Maxim::ALL.into_iter().find(|maxim| maxim.name() == text.trim());
        maxim.map(Named).ok_or_else(|| format!("`{text}` is not one of quantity, quality, relation and manner"))
    }
}

fn parse_rounds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(rounds) if rounds <= 100 => Ok(rounds),
        _ => Err("it must be a whole number from 0 to 100".to_owned()),
    }
}
