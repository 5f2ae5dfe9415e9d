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

Rows have the fields of `grice detect` plus `labels` {\"quantity\", \"quality\", \"relation\", \"manner\"}, each 0, 1, true or false, \
and optionally `violation_type`, a name to group rows by. Instead, a row may hold people's answer to one question: `violated` \
(0, 1, true or false), `maxim` (the maxim of the question; null or absent for any violation), optionally `set` and \
`question` (the names of data set and question), and optionally `group` (for example a dialogue), the unit of resampling for the intervals.";

/// Arguments of `eval`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct Eval {
    /// JSON file of rows with `labels`, or with `violated` and `maxim`, one object per line; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Print the results as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare several precisions in one table: quality, latency and memory, measured on this machine
    #[arg(long, value_name = "PRECISION,…", value_delimiter = ',')]
    pub(crate) compare: Vec<Precision>,
    /// Thresholds that replace the model's, from 0 to 1: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Number of rows to judge together
    #[arg(long, value_name = "ROWS", default_value = "64", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
