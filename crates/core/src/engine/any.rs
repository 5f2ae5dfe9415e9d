//! One enum for all engines.

use grice_cpu::CpuEngine;
use grice_model::{Batch, BetweenSteps, Engine, EngineError, EngineInfo, Logits, Trace};
use std::time::Duration;

/// The error of blocking calls in a browser.
pub(super) const NO_WAITING: &str = "a browser cannot block on a GPU; use the asynchronous function";

/// An engine on either device.
pub enum AnyEngine {
    /// On the processor.
    Cpu(CpuEngine),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<grice_gpu::GpuEngine>),
}

impl AnyEngine {
    /// As [`Engine::forward`], without blocking while a GPU works: what browsers need.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub async fn run(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        match self {
            AnyEngine::Cpu(engine) => engine.forward(batch),
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => engine.run(batch).await,
        }
    }

    /// Bytes on the GPU, including weights shared with other engines; 0 for an engine on the processor.
    pub fn device_bytes(&self) -> Option<u64> {
        match self {
            AnyEngine::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => Some(engine.memory()),
        }
    }

    /// The name of the GPU.
    pub fn adapter(&self) -> Option<&str> {
        match self {
            AnyEngine::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => Some(&engine.adapter().name),
        }
    }

    /// As [`Engine::forward`], with the time of every step. `clock` returns the time since any fixed moment; it is ignored on a GPU,
    /// which has its own.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`EngineError::Run`] if the GPU has no timestamps.
    pub fn forward_traced(&mut self, batch: &Batch, clock: fn() -> Duration) -> Result<(Logits, Trace), EngineError> {
        match self {
            AnyEngine::Cpu(engine) => {
                let mut trace = Trace::start(clock);
                Ok((engine.forward_traced(batch, &mut trace)?, trace))
            }
            #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
            AnyEngine::Gpu(engine) => pollster::block_on(engine.run_traced(batch)),
            #[cfg(all(feature = "gpu", target_arch = "wasm32"))]
            AnyEngine::Gpu(_) => Err(EngineError::Run(NO_WAITING.to_owned())),
        }
    }
}

impl Engine for AnyEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        match self {
            AnyEngine::Cpu(engine) => engine.forward(batch),
            #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
            AnyEngine::Gpu(engine) => engine.forward(batch),
            #[cfg(all(feature = "gpu", target_arch = "wasm32"))]
            AnyEngine::Gpu(_) => Err(EngineError::Run(NO_WAITING.to_owned())),
        }
    }

    fn set_between_steps(&mut self, between: BetweenSteps) {
        match self {
            AnyEngine::Cpu(engine) => engine.set_between_steps(between),
            // Its steps are the card's.
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(_) => drop(between),
        }
    }

    fn info(&self) -> EngineInfo {
        match self {
            AnyEngine::Cpu(engine) => engine.info(),
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => engine.info(),
        }
    }
}
