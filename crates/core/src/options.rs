//! How a model is to run.

use crate::{Bundle, Device};
use grice_model::{PerMaxim, Precision};
use std::path::PathBuf;

/// How a detector is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which of the bundle's precisions; the most exact one if `None`.
    pub precision: Option<Precision>,
    /// Threads for the engine; one if `None`.
    pub threads: Option<usize>,
    /// Thresholds in place of the manifest's.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Where to run it; the processor by default.
    pub device: Device,
    /// A folder in which a GPU keeps what it need not find out twice: compiled pipelines, the best tiles. None is kept if `None`.
    pub gpu_cache: Option<PathBuf>,
}

impl Options {
    /// The precision that they mean for a bundle.
    pub(crate) fn precision_of(&self, bundle: &Bundle) -> Precision {
        self.precision.unwrap_or_else(|| bundle.manifest().default_precision())
    }
}
