//! `bench`.

use super::common::On;
use super::values::{parse_bound, parse_count};
use crate::bench::{Kind, Named};
use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const BENCH_EXAMPLES: &str = "\
Examples:
  grice bench
  grice bench --models detector,repair,generator,pipeline --batch-sizes 1,8,16,32,64 --output report
  grice bench --models mini.tar,detector.onnx,generator=gpt2-medium,embedder=all-MiniLM-L6-v2
  grice bench --models detector,pipeline --against report/results.json --fail-on-regression
  grice bench --results new/results.json --against old/results.json

A model is a kind (detector, repair, generator, pipeline: the built-in model), KIND=PATH, or a path alone. A pipeline uses the detector, \
repair and generator of the list, and built-in models for the others. Rounds take turns over all models and batch sizes, so that other \
load on the machine affects all of them. Each figure is a median; its interval holds the medians of the rounds.";

/// Arguments of `bench`.
#[derive(Debug, ClapArgs)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// Models to measure: detector, repair, generator, embedder=PATH, pipeline, KIND=PATH or a path [default: the model of --model]
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    pub(crate) models: Vec<Named>,
    /// Batch sizes to measure: sequences, texts or turns at the same time
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32,64", value_parser = parse_count)]
    pub(crate) batch_sizes: Vec<NonZeroUsize>,
    /// Tokens of a sequence, or of a prompt
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_count)]
    pub(crate) tokens: NonZeroUsize,
    /// New tokens of each text, for models that write
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse_count)]
    pub(crate) new_tokens: NonZeroUsize,
    /// Rounds over all models and batch sizes
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count)]
    pub(crate) rounds: NonZeroUsize,
    /// Runs of a batch in a round [default: as many as fit in 0.2 s, at most 50]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) runs: Option<NonZeroUsize>,
    /// Compare with these results, and say what got better or worse beyond noise
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    /// Take these results in place of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "write_config"])]
    pub(crate) results: Option<PathBuf>,
    /// Changes of up to this many percent are noise
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_bound, requires = "against")]
    pub(crate) tolerance: f64,
    /// Exit with 1 if anything got worse beyond noise
    #[arg(long, requires = "against")]
    pub(crate) fail_on_regression: bool,
    /// Write the optimal batch size (of one model) to this TOML file, as `batch-rows-max` in section [serve]; nothing else
    /// in the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config: Option<PathBuf>,
    /// Write results.json and report.html to this folder
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Arguments of the process that measures one model for `bench`. It reads one request per line and answers each with one line.
#[derive(Debug, ClapArgs)]
pub(crate) struct BenchModel {
    /// What the model is
    #[arg(long)]
    pub(crate) kind: Kind,
    /// Of a pipeline: its detector
    #[arg(long)]
    pub(crate) detector: Option<PathBuf>,
    /// Of a pipeline: its model that repairs
    #[arg(long)]
    pub(crate) repair: Option<PathBuf>,
    /// Of a pipeline: its model that answers
    #[arg(long)]
    pub(crate) generator: Option<PathBuf>,
    /// Tokens of a sequence, or of a prompt
    #[arg(long, value_parser = parse_count)]
    pub(crate) tokens: NonZeroUsize,
    /// New tokens of each text
    #[arg(long, value_parser = parse_count)]
    pub(crate) new_tokens: NonZeroUsize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
