//! `inspect`.

use super::common::On;
use clap::Args as ClapArgs;

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Compare each model's fused program with its graph at every length up to `max_tokens`, and write into the bundle's grice.json
    /// that it was, so that it need not be done at each start
    #[arg(long)]
    pub(crate) prove: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
