//! `profile`: measures a model's latency, memory and steps.

mod latency;
mod memory;
mod ops;
mod requests;
mod statistics;
mod subject;
mod text;

pub(crate) use latency::{Measured, measure_latency};
pub(crate) use memory::footprint_in_child;
pub(crate) use statistics::digits_for;
pub(crate) use subject::{Subject, is_onnx, load_subject, synthetic_batch};

use crate::args::{Common, Profile, ProfileWhat};
use crate::error::Result;

/// Runs the selected measurement and prints it.
///
/// # Errors
/// Errors of the model.
pub(crate) fn run(args: &Profile, common: &Common) -> Result<()> {
    match &args.what {
        ProfileWhat::Latency(latency) if latency.stdin => requests::run(common),
        ProfileWhat::Latency(latency) => latency::run(latency, common),
        ProfileWhat::Memory(memory) => memory::run(memory, common),
        ProfileWhat::Ops(ops) => ops::run(ops, common),
        ProfileWhat::Text(text) => text::run(text, common),
    }
}
