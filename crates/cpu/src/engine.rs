//! The engine: one of two ways to run a network.

use crate::fused::Fused;
use crate::padded::PaddedEngine;
use crate::trace::Trace;
use grice_model::{Batch, Engine, EngineError, EngineInfo, Logits, Network, Precision};

/// Runs a network on the CPU: the encoder by kernels where it fused, everything through tract where it did not.
pub struct CpuEngine {
    runner: Runner,
    labels: usize,
    embedding_rows: Option<usize>,
    precision: Precision,
    threads: usize,
}

enum Runner {
    Fused(Box<Fused>),
    Padded(PaddedEngine),
}

impl CpuEngine {
    /// Prepares a network for `threads` threads (at least one is used; on wasm32 exactly one). Weights are packed for the
    /// processor at hand; those of a network that nobody else holds are freed on the way.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if the network cannot be run.
    pub fn new(network: Network, precision: Precision, threads: usize) -> Result<CpuEngine, EngineError> {
        let threads = if cfg!(target_arch = "wasm32") { 1 } else { threads.max(1) };
        let (labels, embedding_rows) = (network.labels(), network.embedding_rows());
        let runner = match network.into_program() {
            Ok(program) => Runner::Fused(Box::new(Fused::new(program, labels, threads)?)),
            Err(network) => Runner::Padded(PaddedEngine::new(&network, threads)?),
        };
        Ok(CpuEngine { runner, labels, embedding_rows, precision, threads })
    }

    /// Another engine with threads of its own that shares this one's weights.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if its state cannot be made.
    pub fn replica(&self) -> Result<CpuEngine, EngineError> {
        let runner = match &self.runner {
            Runner::Fused(fused) => Runner::Fused(Box::new(fused.replica(self.threads)?)),
            Runner::Padded(padded) => Runner::Padded(padded.replica(self.threads)?),
        };
        Ok(CpuEngine { runner, ..*self })
    }

    /// As [`Engine::forward`], recording every step. A network that did not fuse has one step.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn forward_traced(&mut self, batch: &Batch, trace: &mut Trace) -> Result<Logits, EngineError> {
        self.run(batch, Some(trace))
    }

    fn run(&mut self, batch: &Batch, trace: Option<&mut Trace>) -> Result<Logits, EngineError> {
        self.check_ids(batch)?;
        match &mut self.runner {
            Runner::Fused(fused) => fused.forward(batch, trace),
            Runner::Padded(padded) => padded.forward(batch, self.labels, trace),
        }
    }

    fn check_ids(&self, batch: &Batch) -> Result<(), EngineError> {
        let Some(rows) = self.embedding_rows else { return Ok(()) };
        match batch.ids().iter().find(|&&id| id as usize >= rows) {
            Some(&id) => Err(EngineError::TokenId { id, rows }),
            None => Ok(()),
        }
    }
}

impl Engine for CpuEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        self.run(batch, None)
    }

    fn info(&self) -> EngineInfo {
        let kernels = match &self.runner {
            Runner::Fused(fused) => fused.isa(),
            Runner::Padded(_) => "tract",
        };
        EngineInfo { device: "cpu", precision: self.precision, threads: self.threads, kernels }
    }
}
