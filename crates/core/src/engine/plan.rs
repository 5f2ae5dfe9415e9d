//! A network prepared for one device.

use super::AnyEngine;
#[cfg(feature = "gpu")]
use crate::Error;
use crate::Result;
use grice_cpu::CpuPlan;
use grice_model::{Network, Precision};
use std::path::{Path, PathBuf};

/// The limits of a network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the word embedding, one more than the highest usable token id; `None` if unknown.
    pub embedding_rows: Option<usize>,
    /// Maximum number of tokens in a sequence; `None` if there is no limit, or it is unknown.
    pub longest: Option<usize>,
    /// Whether the graph was exported for exactly this length, padding included.
    pub is_fixed: bool,
}

impl Bounds {
    pub(super) fn of(network: &Network) -> Bounds {
        let (embedding_rows, longest) = (network.embedding_rows(), network.longest());
        Bounds { embedding_rows, longest, is_fixed: network.is_fixed() }
    }
}

/// A network prepared for one device; any number of engines can share it.
#[derive(Clone)]
pub struct Plan {
    pub(super) form: OnDevice,
    pub(super) bounds: Bounds,
    pub(super) fallback_reason: Option<String>,
    pub(super) compiled: Option<PathBuf>,
    pub(super) warnings: Vec<String>,
}

#[derive(Clone)]
pub(super) enum OnDevice {
    Cpu(CpuPlan),
    #[cfg(feature = "gpu")]
    Gpu(grice_gpu::Gpu, grice_gpu::GpuPlan),
}

impl Plan {
    /// An engine with its own `threads` threads; a GPU ignores the number.
    ///
    /// # Errors
    /// [`Error::Engine`] if its state cannot be created, [`Error::Gpu`] if its buffers cannot.
    pub fn engine(&self, threads: usize) -> Result<AnyEngine> {
        match &self.form {
            OnDevice::Cpu(plan) => Ok(AnyEngine::Cpu(plan.engine(threads)?)),
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(_, plan) => match plan.engine() {
                Ok(engine) => Ok(AnyEngine::Gpu(Box::new(engine))),
                Err(error) => Err(Error::Gpu(error.to_string())),
            },
        }
    }

    /// Rows of the word embedding, one more than the highest usable token id; `None` if unknown.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.bounds.embedding_rows
    }

    /// The limits of the network's input.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether padding does not change the answer. If it does, tokens of a sequence may be [`MASKED`](crate::MASKED).
    pub fn hides_padding(&self) -> bool {
        match &self.form {
            OnDevice::Cpu(plan) => plan.hides_padding(),
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(..) => true,
        }
    }

    /// The precision of the file.
    pub fn precision(&self) -> Precision {
        match &self.form {
            OnDevice::Cpu(plan) => plan.precision(),
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(_, plan) => plan.precision(),
        }
    }

    /// `"cpu"` or `"gpu"`.
    pub fn device(&self) -> &'static str {
        match &self.form {
            OnDevice::Cpu(_) => "cpu",
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(..) => "gpu",
        }
    }

    /// Problems on a GPU that did not stop it, such as an ignored cache or compiled engine. Each is a text for a log
    /// or a screen.
    pub fn warnings(&self) -> Vec<String> {
        let of_device = match &self.form {
            OnDevice::Cpu(_) => Vec::new(),
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(gpu, _) => gpu.warnings(),
        };
        self.warnings.iter().cloned().chain(of_device).collect()
    }

    /// The same plan with more warnings.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Plan {
        Plan { warnings, ..self }
    }

    /// The compiled engine that it was loaded from, if any.
    pub fn compiled(&self) -> Option<&Path> {
        self.compiled.as_deref()
    }

    /// Whether its device was lost; then it must be opened again.
    pub fn is_lost(&self) -> bool {
        match &self.form {
            OnDevice::Cpu(_) => false,
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(gpu, _) => gpu.lost().is_some(),
        }
    }

    /// The GPU that holds it.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&grice_gpu::Gpu> {
        match &self.form {
            OnDevice::Cpu(_) => None,
            OnDevice::Gpu(gpu, _) => Some(gpu),
        }
    }

    /// Why [`Device::Auto`](crate::Device::Auto) selected the processor.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }
}
