//! The GPU engine: packed batches in, logits out, through wgpu: Vulkan, Metal and DirectX 12 natively, WebGPU in a browser.
//!
//! ```text
//! Program ─► steps ───┐
//!                     ├─► record ─► submit ─► readback ─► head ─► logits
//! Batch ──► buffers ──┘   (pure)
//! ```
//!
//! Takes a fused [`grice_model::Program`] only. Leaves out text, files other than its caches, queues, and the choice between
//! processor and GPU.

mod adapter;
mod bits;
mod buffers;
mod compiled;
mod device;
mod engine;
mod error;
mod gather;
mod gemm;
mod geometry;
mod model;
mod pipelines;
mod plan;
mod readback;
mod record;
mod recording;
mod submit;
mod timing;
mod tune;
mod tuning;
mod uploaded;

pub use adapter::{Adapter, AdapterKind, AdapterLimits, Selector, list_adapters};
#[cfg(not(target_arch = "wasm32"))]
pub use compiled::{Answers, CompiledPlan, Origin};
pub use device::{Gpu, Settings};
pub use engine::GpuEngine;
pub use error::GpuError;
pub use plan::GpuPlan;
#[cfg(not(target_arch = "wasm32"))]
pub use tune::{TimedProduct, time_products};
pub use tuning::Tuning;
