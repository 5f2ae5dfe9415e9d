//! `eval`.

use super::common::On;
use super::values::{Threshold, parse_count};
use clap::Args as ClapArgs;
use grice_core::Precision;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const EVAL_EXAMPLES: &str = "\
Examples:
  grice eval --input labelled.jsonl
  grice eval --input labelled.jsonl --json > figures.json
  grice eval --input labelled.jsonl --model BUNDLE --compare fp32,fp16,int8

Rows are those of `grice detect` plus `labels` {\"quantity\", \"quality\", \"relation\", \"manner\"}, each 0, 1, true or false, \
and optionally `violation_type`, a name to group rows by. A row may instead hold what people answered to one question: `violated` \
(0, 1, true or false), `maxim` (the one that the question is about; null or absent for any violation), and optionally `set` and \
`question`, which name it, and `group` (a dialogue, say), by which intervals are drawn.";

/// Arguments of `eval`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct Eval {
    /// Rows with `labels`, or with `violated` and `maxim` where people answered one question; one JSON object a line; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Print the figures as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// One table over several precisions: quality, latency and memory of each, measured on this machine
    #[arg(long, value_name = "PRECISION,…", value_delimiter = ',')]
    pub(crate) compare: Vec<Precision>,
    /// Thresholds in place of the model's: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Rows that are judged together
    #[arg(long, value_name = "ROWS", default_value = "64", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
