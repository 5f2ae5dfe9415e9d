//! Options for running a model.

use crate::{Bundle, Device};
use grice_model::{PerMaxim, Precision};
use std::path::PathBuf;

/// Options for running a model: precision, threads, thresholds and device.
///
/// ```
/// use grice_core::{Bundle, Detector, Options, PerMaxim, Turn};
///
/// # fn main() -> grice_core::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/tiny-bert");
/// // No probability is above a threshold of 1, so nothing is a violation.
/// let options = Options { threads: Some(2), thresholds: PerMaxim::from_fn(|_| Some(1.0)), ..Options::default() };
/// let mut detector = Detector::load(&Bundle::open(folder)?, &options)?;
/// assert!(detector.detect(&Turn::new("Where is the station?", "Yes."))?.cooperative);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// One of the bundle's precisions; the most exact one if `None`.
    pub precision: Option<Precision>,
    /// Threads for the engine; one if `None`.
    pub threads: Option<usize>,
    /// Thresholds that replace the manifest's.
    pub thresholds: PerMaxim<Option<f32>>,
    /// The device; the processor by default.
    pub device: Device,
    /// A folder for the GPU's cache: compiled pipelines and the best tiles. `None` for no cache.
    pub gpu_cache: Option<PathBuf>,
}

impl Options {
    /// The precision to use with a bundle.
    pub(crate) fn precision_of(&self, bundle: &Bundle) -> Precision {
        self.precision.unwrap_or_else(|| bundle.manifest().default_precision())
    }
}
