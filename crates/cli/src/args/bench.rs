//! `bench`.

use super::common::On;
use super::values::parse_count;
use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const BENCH_EXAMPLES: &str = "\
Examples:
  grice bench
  grice bench --models mini.tar,detector.onnx --batch-sizes 1,8,64 --output report
  grice bench --model mini.tar --write-config grice.toml

The report names the optimal batch size of each model: the smallest one within 3 % of the highest throughput. Run it on an idle \
machine.";

/// Arguments of `bench`.
#[derive(Debug, ClapArgs)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// Models to measure: bundles or ONNX files [default: the model of --model]
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    pub(crate) models: Vec<PathBuf>,
    /// Batch sizes to measure, in sequences
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32,64", value_parser = parse_count)]
    pub(crate) batch_sizes: Vec<NonZeroUsize>,
    /// Tokens per sequence
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_count)]
    pub(crate) tokens: NonZeroUsize,
    /// Measured runs per batch size
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Write the optimal batch size (of one model) to this TOML file, as `batch-rows-max` in section [serve]; nothing else
    /// in the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config: Option<PathBuf>,
    /// Write results.json, report.md and throughput.svg to this folder
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
