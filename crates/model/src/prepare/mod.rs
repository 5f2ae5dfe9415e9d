//! A decoded file → one form, whoever exported it: weights inside, functions spelled out, single precision, int64 inputs, an output
//! named `logits`. Everything after (the fuser, the rewrites, tract) reads that form only.
//!
//! ```text
//! file ─► external ─► functions ─► order ─► half ─► inputs ─► attention ─► graph
//! ```

mod attention;
mod external;
mod functions;
mod half;
mod inputs;
mod order;
mod types;

pub(crate) use external::nothing_beside;
pub use external::{ReadBeside, embed_external, external_files};

use crate::network::Inputs;
use crate::{Error, Result};
use tract_onnx::pb::ModelProto;

/// Brings a file into the one form; what its graph takes.
///
/// # Errors
/// One of [`Error`]'s `Onnx…`, `ExternalData`, `Function` and `Graph…` variants.
pub(crate) fn prepare(model: &mut ModelProto, read: ReadBeside<'_>) -> Result<Inputs> {
    external::load(model, read)?;
    functions::inline(model)?;
    if let Some(graph) = &mut model.graph {
        order::sort(graph)?;
    }
    half::widen(model);
    let Some(graph) = &mut model.graph else {
        return Err(Error::OnnxSyntax("it holds no graph".to_owned()));
    };
    let inputs = inputs::normalize(graph)?;
    attention::spell_out(graph)?;
    crate::attributes::check(graph)?;
    Ok(inputs)
}
