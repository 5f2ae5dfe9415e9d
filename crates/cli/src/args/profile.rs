//! `profile`.

use super::common::On;
use super::values::{Shape, parse_count};
use clap::{Args as ClapArgs, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const PROFILE_EXAMPLES: &str = "\
Examples:
  grice profile latency --shapes 1x32,1x128 --runs 50
  grice profile latency --model model.onnx --precision int8 --threads 2 --json
  grice profile memory --shapes 1x128,64x128
  grice profile ops --shape 8x128 --trace trace.json
  grice profile text --model gpt2-medium --precision int8 --shapes 1x64,8x64 --new-tokens 80

Measures the built-in model, a bundle, or a bare ONNX file, with synthetic tokens.";

/// Arguments of `profile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = PROFILE_EXAMPLES)]
pub(crate) struct Profile {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) what: ProfileWhat,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileWhat {
    /// Measure the time of whole batches: mean, deviation, P50, P95, P99, throughput
    Latency(ProfileLatency),
    /// Measure the memory of the process after loading and after each batch
    Memory(ProfileMemory),
    /// Measure the time of each step, as a table and as a trace
    Ops(ProfileOps),
    /// Measure a model that writes texts: time to the first token and between tokens, tokens per second, memory
    Text(ProfileText),
}

impl ProfileWhat {
    /// Where to run.
    pub(crate) fn on(&self) -> &On {
        match self {
            ProfileWhat::Text(text) => &text.on,
            ProfileWhat::Latency(latency) => &latency.on,
            ProfileWhat::Memory(memory) => &memory.on,
            ProfileWhat::Ops(ops) => &ops.on,
        }
    }
}

/// Arguments of `profile latency`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileLatency {
    /// Batches to run, as rows x tokens
    #[arg(long, value_name = "ROWSxTOKENS,…", value_delimiter = ',', default_value = "1x32,1x128,8x128")]
    pub(crate) shapes: Vec<Shape>,
    /// Measured runs per shape
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Warm-up runs that are not measured
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) warmup: usize,
    /// For scripts: read one batch per line from standard input, as `8x128 5` or `31,17,90 5` (token counts, then the number
    /// of runs), and answer each with one JSON line of times
    #[arg(long, conflicts_with_all = ["shapes", "runs", "warmup", "json", "output"])]
    pub(crate) stdin: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the JSON object to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `profile memory`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileMemory {
    /// Batches to run, as rows x tokens, one after the other
    #[arg(long, value_name = "ROWSxTOKENS,…", value_delimiter = ',', default_value = "1x32,1x128,8x128,64x128")]
    pub(crate) shapes: Vec<Shape>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the JSON object to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `profile text`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileText {
    /// Texts at the same time and the tokens of their prompts, as texts x tokens
    #[arg(long, value_name = "TEXTSxTOKENS,…", value_delimiter = ',', default_value = "1x64,8x64")]
    pub(crate) shapes: Vec<Shape>,
    /// New tokens of each text
    #[arg(long, value_name = "TOKENS", default_value = "48", value_parser = parse_count)]
    pub(crate) new_tokens: NonZeroUsize,
    /// Measured runs per shape
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Warm-up runs that are not measured
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) warmup: usize,
    /// Where to run; models that write run on the CPU
    #[arg(skip)]
    pub(crate) on: On,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the JSON object to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `profile ops`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileOps {
    /// The batch to run, as rows x tokens
    #[arg(long, value_name = "ROWSxTOKENS", default_value = "1x128")]
    pub(crate) shape: Shape,
    /// Measured runs
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Warm-up runs that are not measured
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) warmup: usize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Write the steps of the last run to this file, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
