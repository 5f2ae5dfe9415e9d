//! A program on a device, and what runs it.

use crate::adapter::Adapter;
use crate::device::Gpu;
use crate::error::GpuError;
use grice_model::{Batch, EngineError, EngineInfo, Logits, Precision, Program, Trace};

/// A program whose weights lie on a device, to be shared by any number of engines.
#[derive(Clone)]
pub struct GpuPlan {
    gpu: Gpu,
    precision: Precision,
}

impl GpuPlan {
    /// Uploads the weights of a program that answers `labels` numbers a row, and makes its pipelines.
    ///
    /// # Errors
    /// [`GpuError`], naming the step, limit or memory that is in the way.
    pub async fn new(gpu: &Gpu, program: Program, labels: usize) -> Result<GpuPlan, GpuError> {
        let _ = (gpu, program, labels);
        Err(GpuError::Lowering { step: "every step".to_owned(), reason: "there are no shaders yet".to_owned() })
    }

    /// The precision of the program.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        0
    }

    /// An engine with buffers of its own.
    ///
    /// # Errors
    /// [`GpuError`] if they cannot be had.
    pub fn engine(&self) -> Result<GpuEngine, GpuError> {
        Ok(GpuEngine { plan: self.clone() })
    }
}

/// Runs a program on a GPU.
pub struct GpuEngine {
    plan: GpuPlan,
}

impl GpuEngine {
    /// Logits `[batch.rows(), labels]`, in the order of the batch's rows. Waits without blocking the thread.
    ///
    /// # Errors
    /// [`EngineError`], naming the id or step at fault; after [`EngineError::DeviceLost`] everything from [`Gpu::open`] on must be
    /// made anew.
    pub async fn run(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        Ok(self.run_traced(batch).await?.0)
    }

    /// As [`GpuEngine::run`], with the time of every step on the device.
    ///
    /// # Errors
    /// As [`GpuEngine::run`], and where steps cannot be timed.
    pub async fn run_traced(&mut self, batch: &Batch) -> Result<(Logits, Trace), EngineError> {
        let _ = batch;
        Err(EngineError::Run("there are no shaders yet".to_owned()))
    }

    /// What it is and runs on.
    pub fn info(&self) -> EngineInfo {
        EngineInfo { device: "gpu", precision: self.plan.precision, threads: 1, kernels: "wgpu" }
    }

    /// Bytes on the device: the plan's weights and the buffers of this engine.
    pub fn memory(&self) -> u64 {
        self.plan.weight_bytes()
    }

    /// The adapter that it runs on.
    pub fn adapter(&self) -> &Adapter {
        self.plan.gpu.adapter()
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl grice_model::Engine for GpuEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        pollster::block_on(self.run(batch))
    }

    fn info(&self) -> EngineInfo {
        GpuEngine::info(self)
    }
}
