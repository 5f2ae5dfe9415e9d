//! `profile`: how long a model takes, in what memory, and in which of its steps.

mod latency;
mod memory;
mod ops;
mod requests;
mod statistics;
mod subject;

pub(crate) use latency::{Measured, measure_latency};
pub(crate) use memory::footprint_in_child;
pub(crate) use statistics::digits_for;
pub(crate) use subject::{Subject, is_onnx, load_subject, synthetic_batch};

use crate::args::{Common, Profile, ProfileWhat};
use crate::error::Result;

/// `1 thread`, `2 threads`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// Measures what was asked for and prints it.
///
/// # Errors
/// What the model is at fault of.
pub(crate) fn run(args: &Profile, common: &Common) -> Result<()> {
    match &args.what {
        ProfileWhat::Latency(latency) => latency::run(latency, common),
        ProfileWhat::Memory(memory) => memory::run(memory, common),
        ProfileWhat::Ops(ops) => ops::run(ops, common),
    }
}
