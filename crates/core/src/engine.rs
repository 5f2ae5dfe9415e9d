//! An engine for a graph alone, without the text around it.

use crate::{Error, Options, Result};
use grice_cpu::CpuEngine;
use grice_model::{Engine, Network, Precision};

/// Plans an ONNX file of a detector with `labels` output columns. `path` is for messages.
///
/// # Errors
/// [`Error::Model`] for a graph that cannot be imported, [`Error::Engine`] for one that cannot be planned.
pub fn plan_engine(path: &str, onnx: &[u8], labels: usize, options: &Options) -> Result<impl Engine + use<>> {
    let imported = Network::import(onnx, labels);
    let network = imported.map_err(|source| Error::Model { path: path.to_owned(), source })?;
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Ok(CpuEngine::new(network, precision, options.threads.unwrap_or(1))?)
}
