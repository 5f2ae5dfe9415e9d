//! `inspect`.

use super::common::On;
use clap::Args as ClapArgs;

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}
