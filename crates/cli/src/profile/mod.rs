//! `profile`: measures a model's latency, memory and steps.

mod latency;
mod memory;
mod ops;
mod requests;
mod statistics;
mod subject;
mod text;
mod texting;

pub(crate) use latency::{gpu_busy, measure_latency};
pub(crate) use memory::{books, footprint_in_child, reset_peak};
pub(crate) use ops::{OpCost, clock, sum_ops, trace_batch};
pub(crate) use statistics::{Statistics, digits_for, rounded};
pub(crate) use subject::{Subject, is_onnx, load_embedder, load_subject, synthetic_batch, synthetic_tokens};
pub(crate) use text::open_writer;
pub(crate) use texting::{TextRun, Texting};

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
