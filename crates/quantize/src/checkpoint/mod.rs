//! Checkpoints of models that write text in fewer bits: a Hugging Face folder in, files of another one out.
//!
//! ```text
//! RawCheckpoint ─► plan ─► shards ─► round ─► files
//!                  what becomes      bytes of one tensor at a time
//!                  of each tensor
//! ```
//!
//! Integers are stored as the format `compressed-tensors` stores them (<https://github.com/vllm-project/compressed-tensors>).

mod config;
mod plan;
mod round;
mod shards;

pub use shards::{Place, Sink};

use crate::{Error, Form, LeftLayer, Result};
use grice_model::{Folder, RawCheckpoint};
use plan::Plan;
use round::unreadable;
use serde_json::Value;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// `model_type` of its configuration.
    pub family: String,
    /// How many dense layers were quantized; 0 for casts.
    pub layers: usize,
    /// Dense layers that keep their weights as they are, with the reason.
    pub left: Vec<LeftLayer>,
    /// Bytes of its tensors before.
    pub bytes_before: u64,
    /// Bytes of its tensors now.
    pub bytes: u64,
}

/// Writes `config.json` and the weights of a checkpoint in another form; memory holds one tensor at a time. A file of weights gets at most
/// `file_bytes_max` bytes of tensors, unless one tensor alone has more.
///
/// # Errors
/// [`Error::Checkpoint`] for a folder that cannot be read, [`Error::AlreadyQuantized`], [`Error::Overflow`], [`Error::Layers`],
/// [`Error::Write`].
pub fn convert(folder: &dyn Folder, form: Form, file_bytes_max: u64, place: &dyn Place) -> Result<Converted> {
    let source = RawCheckpoint::open(folder).map_err(unreadable)?;
    if source.config().get("quantization_config").is_some_and(|config| !config.is_null()) {
        return Err(Error::AlreadyQuantized);
    }
    let plan = Plan::new(&source, form)?;
    let config = Value::Object(config::changed(&source, form, &plan));
    shards::write_json(place, "config.json", &config)?;
    shards::write(place, &source, &plan, file_bytes_max)?;
    Ok(Converted {
        family: source.family().to_owned(),
        layers: plan.layers,
        bytes_before: plan.bytes_before,
        bytes: plan.jobs.iter().flat_map(|job| &job.pieces).map(|piece| piece.bytes).sum(),
        left: plan.left,
    })
}
