//! Options that several commands have.

use super::values::parse_threads;
use clap::{Args as ClapArgs, ValueEnum};
use grice_core::{Device, Precision};
use std::path::PathBuf;

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The model: a bundle's folder, or a .tar of one [default: the one compiled in]
    #[arg(long, global = true, value_name = "PATH", env = "GRICE_MODEL", hide_env_values = true)]
    pub(crate) model: Option<PathBuf>,
    /// Precision of the weights: fp32, fp16 or int8 [default: the most exact one the bundle has]
    #[arg(long, global = true, env = "GRICE_PRECISION", hide_env_values = true)]
    pub(crate) precision: Option<Precision>,
    /// Threads to run the model on [default: all that are available]
    #[arg(long, global = true, value_name = "N", env = "GRICE_THREADS", hide_env_values = true)]
    #[arg(value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Where to run it: copied from [`On`] by those commands that have one.
    #[arg(skip)]
    pub(crate) device: Device,
    /// Colours in the output; `auto` honours NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// No progress bar, no warnings, no report of single rows
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Where to run, of commands that run one model. `serve` has a list of its own.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct On {
    /// Where to run: cpu, gpu, gpu:N for adapter N of `grice doctor`, or auto
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
