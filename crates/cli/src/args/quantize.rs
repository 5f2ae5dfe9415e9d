//! `quantize`.

use super::values::{parse_count, parse_share};
use clap::{Args as ClapArgs, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const QUANTIZE_EXAMPLES: &str = "\
Examples:
  int8 weights, activations scaled in each run; quality measured with labelled or unlabelled turns:
    grice quantize --model bundle --mode dynamic --data turns.jsonl --output smaller

  int8 with activation ranges from 500 samples:
    grice quantize --model bundle --mode static --calibration turns.jsonl --method entropy -o small

  fp16 weights, added to the same bundle:
    grice quantize --model bundle --mode fp16 --data turns.jsonl --output bundle

  An ONNX file without a bundle; rows have `input_ids`, a list of token ids:
    grice quantize --model model.onnx --mode dynamic --data ids.jsonl --output model_int8.onnx

The quality of the result is measured with --data, or with the calibration rows. Rows with `labels`, as for `grice eval`, compare macro \
F1 before and after; other rows, as for `grice detect`, count the decisions that stay the same. Below --floor the worst layers are kept in \
fp32; if that does not help, nothing is written and the exit status is 1, unless --force is given.";

/// Arguments of `quantize`.
#[derive(Debug, ClapArgs)]
#[command(after_help = QUANTIZE_EXAMPLES)]
pub(crate) struct Quantize {
    /// Form of the result: int8 weights with activations scaled in each run (dynamic) or by calibration (static), or fp16 weights
    #[arg(long)]
    pub(crate) mode: QuantizeMode,
    /// Where to write: a bundle's folder (new, or the model's own); for an ONNX file, a file
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Replace existing output
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Rows for calibration, one JSON object per line; required for `static`
    #[arg(long, value_name = "FILE", help_heading = "Calibration")]
    pub(crate) calibration: Option<PathBuf>,
    /// Maximum number of calibration rows, spread evenly over the file
    #[arg(long, value_name = "ROWS", default_value = "500", help_heading = "Calibration", value_parser = parse_count)]
    pub(crate) samples: NonZeroUsize,
    /// How to choose ranges: all values (minmax), least divergence (entropy), or 99.99 % of the values (percentile)
    #[arg(long, default_value = "minmax", help_heading = "Calibration")]
    pub(crate) method: QuantizeMethod,

    /// Rows to measure the quality with, labelled or not [default: the calibration rows]
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub(crate) data: Option<PathBuf>,
    /// Minimum quality from 0 to 1: macro F1 after / before, or without labels the share of unchanged decisions
    #[arg(long, value_name = "SHARE", default_value = "0.99", value_parser = parse_share, help_heading = "Quality")]
    pub(crate) floor: f64,
    /// Write the model even if it is below the floor or was not measured
    #[arg(long, help_heading = "Quality")]
    pub(crate) force: bool,
}

/// Modes of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMode {
    Dynamic,
    Static,
    Fp16,
}

/// Calibration methods of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMethod {
    Minmax,
    Entropy,
    Percentile,
}
