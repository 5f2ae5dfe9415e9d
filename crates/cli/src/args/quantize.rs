//! `quantize`.

use super::values::{parse_bound, parse_count, parse_share};
use clap::{ArgGroup, Args as ClapArgs, ValueEnum};
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

  A model that writes text, a Hugging Face folder, in 8 bits:
    grice quantize --model gpt2-medium --to int8 --judge rows.jsonl --output gpt2-medium-int8

For a detector, the quality of the result is measured with --data, or with the calibration rows. Rows with `labels`, as for `grice eval`, compare macro \
F1 before and after; other rows, as for `grice detect`, count the decisions that stay the same. Below --floor the worst layers are kept in \
fp32; if that does not help, nothing is written and the exit status is 1, unless --force is given.

A model that writes text is measured with the rows of --judge: each has a `prompt`, and `text` or `response` with what follows it. If it is \
outside --rise-max, --kl-max or --agreement-min, nothing is written and the exit status is 1, unless --force is given.";

/// Arguments of `quantize`.
#[derive(Debug, ClapArgs)]
#[command(after_help = QUANTIZE_EXAMPLES)]
#[command(group = ArgGroup::new("form").required(true).args(["mode", "to"]))]
pub(crate) struct Quantize {
    /// Form of a detector: int8 weights with activations scaled in each run (dynamic) or by calibration (static), or fp16 weights
    #[arg(long)]
    pub(crate) mode: Option<QuantizeMode>,
    /// Form of a model that writes text: 8-bit weights with activations scaled in each run (int8), 4-bit weights in groups (int4), or
    /// 16-bit numbers
    #[arg(long, value_name = "FORM", conflicts_with_all = ["calibration", "samples", "method", "floor"])]
    pub(crate) to: Option<QuantizeTo>,
    /// With --to int4: how many weights share a scale, 32, 64 or 128 [default: 32]
    #[arg(long, value_name = "WEIGHTS", value_parser = parse_group, conflicts_with = "mode")]
    pub(crate) group: Option<usize>,
    /// Where to write: a bundle's folder (new, or the model's own); for an ONNX file, a file; for a model that writes text, a new folder
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
    #[arg(long, visible_alias = "judge", value_name = "FILE", help_heading = "Quality")]
    pub(crate) data: Option<PathBuf>,
    /// Minimum quality from 0 to 1: macro F1 after / before, or without labels the share of unchanged decisions
    #[arg(long, value_name = "SHARE", default_value = "0.99", value_parser = parse_share, help_heading = "Quality")]
    pub(crate) floor: f64,
    /// With --to: the most that the perplexity may rise, as a share
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_bound, help_heading = "Quality")]
    #[arg(allow_negative_numbers = true)]
    #[arg(conflicts_with = "mode")]
    pub(crate) rise_max: f64,
    /// With --to: the largest mean divergence of the next token's probabilities, in nats
    #[arg(long, value_name = "NATS", default_value = "0.1", value_parser = parse_bound, help_heading = "Quality")]
    #[arg(allow_negative_numbers = true)]
    #[arg(conflicts_with = "mode")]
    pub(crate) kl_max: f64,
    /// With --to: the smallest share of equal greedy tokens, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.85", value_parser = parse_share, help_heading = "Quality")]
    #[arg(conflicts_with = "mode")]
    pub(crate) agreement_min: f64,
    /// Write the model even if its quality is too low or was not measured
    #[arg(long, help_heading = "Quality")]
    pub(crate) force: bool,
}

fn parse_group(text: &str) -> Result<usize, String> {
    let groups = [32, 64, 128];
    let group = text.parse().ok().filter(|group| groups.contains(group));
    group.ok_or_else(|| "it must be 32, 64 or 128".to_owned())
}

/// Modes of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMode {
    Dynamic,
    Static,
    Fp16,
}

/// Forms of checkpoints of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeTo {
    Int8,
    Int4,
    Fp16,
    Bf16,
}

/// Calibration methods of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMethod {
    Minmax,
    Entropy,
    Percentile,
}
