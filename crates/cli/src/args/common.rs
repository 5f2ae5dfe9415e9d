//! Options that several commands have.

use super::values::parse_threads;
use clap::{Args as ClapArgs, ValueEnum};
use grice_core::{Device, Precision};
use std::path::PathBuf;

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The model: a bundle's folder or .tar file [default: the built-in model]
    #[arg(long, global = true, value_name = "PATH", env = "GRICE_MODEL", hide_env_values = true)]
    pub(crate) model: Option<PathBuf>,
    /// Precision of the weights: fp32, fp16 or int8 [default: the most exact one in the bundle]
    #[arg(long, global = true, env = "GRICE_PRECISION", hide_env_values = true)]
    pub(crate) precision: Option<Precision>,
    /// Number of threads for the model [default: all available cores]
    #[arg(long, global = true, value_name = "N", env = "GRICE_THREADS", hide_env_values = true)]
    #[arg(value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Where to run it: copied from [`On`] by the commands that have it.
    #[arg(skip)]
    pub(crate) device: Device,
    /// Use colours in the output; `auto` respects NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Print no progress bar, no warnings and no reports of single rows
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Where to run, for commands that run one model. `serve` has its own list.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub(crate) struct On {
    /// Device to run on: cpu, gpu, gpu:N (adapter N of `grice doctor`), or auto (a GPU if possible)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: Device,
}

/// When to use colours. Comments on the variants would only make the help text longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}
