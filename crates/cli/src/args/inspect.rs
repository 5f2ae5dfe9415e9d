//! `inspect`.

use super::common::On;
use clap::Args as ClapArgs;

const INSPECT_EXAMPLES: &str = "\
Examples:
  grice inspect
  grice inspect --model bundle --json
  grice inspect --model bundle --prove";

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(crate) struct Inspect {
    /// Compare each model's fused program with its graph at every length up to `max_tokens`, and store the result in the bundle's
    /// grice.json, so that later starts skip the comparison
    #[arg(long)]
    pub(crate) prove: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
