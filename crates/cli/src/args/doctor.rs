//! `doctor`.

use super::common::On;
use clap::Args as ClapArgs;

const DOCTOR_EXAMPLES: &str = "\
Examples:
  grice doctor
  grice doctor --device gpu --model bundle
  grice doctor --health http://127.0.0.1:8080";

/// Arguments of `doctor`.
#[derive(Debug, ClapArgs)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Only check whether the server at this address is ready (exit status 0), for a container's health check
    #[arg(long, value_name = "URL", conflicts_with = "json")]
    pub(crate) health: Option<String>,
}
