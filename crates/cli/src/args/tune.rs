//! `tune`.

use super::common::On;
use super::values::{parse_bound, parse_count};
use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const TUNE_EXAMPLES: &str = "\
Examples:
  grice tune
  grice tune --model detector.tar --p95-ms 20 --clients 64 --config grice.toml
  grice tune --dry-run --json

Finds threads, replicas, rows and tokens of a batch, and how long a batch that is not full waits, for a model that judges turns, by \
measuring the server's own schedule with simulated clients: each asks again as soon as it is answered. Without --p95-ms it looks for the \
most answers per second. It writes the result into section [serve] and changes nothing else in the file. Run it on an idle machine.";

/// Arguments of `tune`.
#[derive(Debug, ClapArgs)]
#[command(after_help = TUNE_EXAMPLES)]
pub(crate) struct Tune {
    /// Most answers per second with 95 % of them within so many milliseconds [default: most answers per second]
    #[arg(long, value_name = "MS", value_parser = parse_bound)]
    pub(crate) p95_ms: Option<f64>,
    /// Clients that ask at the same time
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse_count)]
    pub(crate) clients: NonZeroUsize,
    /// Tokens of a turn [default: those of 64 real turns, 19 to 240]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) tokens: Option<NonZeroUsize>,
    /// Time of one measurement in milliseconds
    #[arg(long, value_name = "MS", default_value = "500", value_parser = parse_count)]
    pub(crate) measure_ms: NonZeroUsize,
    /// Measure every setting instead of a tenth of them, to check the search
    #[arg(long)]
    pub(crate) exhaustive: bool,
    /// The file to write into
    #[arg(long, value_name = "FILE", default_value = "grice.toml")]
    pub(crate) config: PathBuf,
    /// Write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
