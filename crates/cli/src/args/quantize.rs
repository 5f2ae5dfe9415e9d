//! `quantize`.

use super::values::{parse_count, parse_share};
use clap::{Args as ClapArgs, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const QUANTIZE_EXAMPLES: &str = "\
Examples:
  int8 weights, activations scaled by each run; judged by labelled or unlabelled turns:
    grice quantize --model bundle --mode dynamic --data turns.jsonl --output smaller

  int8 with activation ranges found by 500 samples:
    grice quantize --model bundle --mode static --calibration turns.jsonl --method entropy --output smaller

  fp16 weights, into the bundle itself:
    grice quantize --model bundle --mode fp16 --data turns.jsonl --output bundle

  An ONNX file without a bundle; rows give `input_ids`, a list of token ids:
    grice quantize --model model.onnx --mode dynamic --data ids.jsonl --output model_int8.onnx

The result is judged by --data, or by the calibration rows: rows as for `grice eval` if they have `labels` (macro F1 before and \
after), else as for `grice detect` (decisions that stay the same). Below --floor the layers that hurt most are kept in fp32; if \
that does not help, nothing is written and the exit status is 1, unless --force is given.";

/// Arguments of `quantize`.
#[derive(Debug, ClapArgs)]
#[command(after_help = QUANTIZE_EXAMPLES)]
pub(crate) struct Quantize {
    /// How: int8 weights with activations scaled by each run (dynamic) or by calibration (static), or fp16 weights
    #[arg(long)]
    pub(crate) mode: QuantizeMode,
    /// Where to: a bundle's folder, new or the model's own; for an ONNX file a file
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Rows to calibrate with, one JSON object a line; needed for static
    #[arg(long, value_name = "FILE", help_heading = "Calibration")]
    pub(crate) calibration: Option<PathBuf>,
    /// At most so many of them, spread over the file
    #[arg(long, value_name = "ROWS", default_value = "500", help_heading = "Calibration", value_parser = parse_count)]
    pub(crate) samples: NonZeroUsize,
    /// How ranges are chosen: all values, the least divergence, or 99.99 % of the values
    #[arg(long, default_value = "minmax", help_heading = "Calibration")]
    pub(crate) method: QuantizeMethod,

    /// Rows to judge the result by, labelled or not [default: the calibration rows]
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub(crate) data: Option<PathBuf>,
    /// The share of macro F1, or without labels of decisions, that must be left
    #[arg(long, value_name = "SHARE", default_value = "0.99", value_parser = parse_share, help_heading = "Quality")]
    pub(crate) floor: f64,
    /// Write the model even if it is below the floor, or not judged at all
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
