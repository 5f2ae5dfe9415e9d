//! An engine for a graph alone, without the text around it.

use crate::{Error, Options, Result};
use grice_cpu::CpuEngine;
use grice_model::{Engine, Network, Precision};

/// Plans an ONNX file of a detector with `labels` output columns. `path` is for messages. `as_written` runs its operators one by
/// one as the file has them, where else the engine may run equal layers in a way of its own: a static int8 file with the ranges
/// that it holds, say, rather than with ranges of each token.
///
/// # Errors
/// [`Error::Model`] for a graph that cannot be imported, [`Error::Engine`] for one that cannot be planned.
pub fn plan_engine(
    path: &str,
    onnx: &[u8],
    labels: usize,
    as_written: bool,
    options: &Options,
) -> Result<impl Engine + use<>> {
    let imported = if as_written { Network::import_graph(onnx, labels) } else { Network::import(onnx, labels) };
    let network = imported.map_err(|source| Error::Model { path: path.to_owned(), source })?;
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Ok(CpuEngine::new(network, precision, options.threads.unwrap_or(1))?)
}
