//! The CPU engine: packed batches in, logits out.
//!
//! ```text
//!            ┌─► fused: kernels for every step, tract for heads that are no dense layers
//! Network ──►┤
//!            └─► padded: the whole graph through tract, for what did not fuse
//! ```
//!
//! Leaves out text, files and queues. Only this crate and `kernels` start threads.

mod engine;
mod fused;
mod generator;
mod interpret;
#[cfg(not(target_family = "wasm"))]
mod nearest;
mod packed;
#[cfg(feature = "onnx")]
mod padded;

pub use engine::{CpuEngine, CpuPlan};
pub use generator::{CpuGenerator, CpuGeneratorPlan};
#[cfg(not(target_family = "wasm"))]
pub use nearest::NearestVectors;
