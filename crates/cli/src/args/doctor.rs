//! `doctor`.

use super::common::On;
use clap::Args as ClapArgs;

/// Arguments of `doctor`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Only ask the server at this address whether it is ready: exit status 0 if it is, for a container's health check
    #[arg(long, value_name = "URL", conflicts_with = "json")]
    pub(crate) health: Option<String>,
}
