//! A network made ready for one device.

use super::AnyEngine;
#[cfg(feature = "gpu")]
use crate::Error;
use crate::Result;
use grice_cpu::CpuPlan;
use grice_model::{Network, Precision};
use std::path::{Path, PathBuf};

/// What a network can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub embedding_rows: Option<usize>,
    /// The most tokens of a sequence; `None` if there is no such bound, or none is known.
    pub longest: Option<usize>,
    /// Whether every sequence has that many, padding included, because the graph was exported so.
    pub is_fixed: bool,
}

impl Bounds {
    pub(super) fn of(network: &Network) -> Bounds {
        let (embedding_rows, longest) = (network.embedding_rows(), network.longest());
        Bounds { embedding_rows, longest, is_fixed: network.is_fixed() }
    }
}

/// A network made ready for one device, to be shared by any number of engines.
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
    /// An engine with `threads` threads of its own; a GPU ignores them.
    ///
    /// # Errors
    /// [`Error::Engine`] if its state cannot be made, [`Error::Gpu`] if its buffers cannot.
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

    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.bounds.embedding_rows
    }

    /// What the network can read.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether a sequence has the same answer with padding as without. If not, its tokens may be [`MASKED`](crate::MASKED).
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

    /// What went wrong on a GPU without stopping anybody, such as a cache or a compiled engine that was left aside. Each for a log
    /// or a screen.
    pub fn warnings(&self) -> Vec<String> {
        let of_device = match &self.form {
            OnDevice::Cpu(_) => Vec::new(),
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(gpu, _) => gpu.warnings(),
        };
        self.warnings.iter().cloned().chain(of_device).collect()
    }

    /// The same plan with more to warn of.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Plan {
        Plan { warnings, ..self }
    }

    /// The compiled engine that it came from, if it did.
    pub fn compiled(&self) -> Option<&Path> {
        self.compiled.as_deref()
    }

    /// Whether its device went away: then it has to be opened again.
    pub fn is_lost(&self) -> bool {
        match &self.form {
            OnDevice::Cpu(_) => false,
            #[cfg(feature = "gpu")]
            OnDevice::Gpu(gpu, _) => gpu.lost().is_some(),
        }
    }

    /// The GPU that it lies on.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&grice_gpu::Gpu> {
        match &self.form {
            OnDevice::Cpu(_) => None,
            OnDevice::Gpu(gpu, _) => Some(gpu),
        }
    }

    /// Why it runs on the processor where a GPU would have been welcome.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }
}
