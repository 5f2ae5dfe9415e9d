//! `hardware`.

use super::values::parse_price;
use clap::Args as ClapArgs;
use std::path::PathBuf;

const HARDWARE_EXAMPLES: &str = "\
Examples:
  grice bench --models detector,repair,generator,pipeline --output here
  grice hardware here/results.json --euros-per-hour 0.10
  grice hardware docs/results/*.json --output docs/hardware.md

One line for each file: a machine that ran `grice bench`. What was not measured there is empty.";

/// Arguments of `hardware`.
#[derive(Debug, ClapArgs)]
#[command(after_help = HARDWARE_EXAMPLES)]
pub(crate) struct Hardware {
    /// Files that `grice bench --output` wrote; without any, the page says that no machine was measured
    #[arg(value_name = "RESULTS")]
    pub(crate) results: Vec<PathBuf>,
    /// Price of the machine of each file, in their order; one price is for all. Adds turns per euro
    #[arg(long, value_name = "EUROS,…", value_delimiter = ',', value_parser = parse_price)]
    pub(crate) euros_per_hour: Vec<f64>,
    /// Write the page to this file [default: print it]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
