//! A plan in a file: what the device was given, word for word, so that another start on the same device neither reads the ONNX file nor packs
//! its weights.
//!
//! ```text
//! GpuPlan, Program ─► header + blobs ─► file ─► checked ─► GpuPlan
//! ```
//!
//! The file belongs to one model, one adapter with one driver, and one release. Whatever else it is, or if a byte of it changed, it is
//! refused with a reason, and whoever asked makes the plan from the ONNX file.

#[cfg(not(target_arch = "wasm32"))]
mod check;
#[cfg(not(target_arch = "wasm32"))]
mod container;
#[cfg(not(target_arch = "wasm32"))]
mod embedding;
#[cfg(not(target_arch = "wasm32"))]
mod header;
#[cfg(not(target_arch = "wasm32"))]
mod plan;
#[cfg(not(target_arch = "wasm32"))]
mod seal;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

#[cfg(not(target_arch = "wasm32"))]
pub use header::{Answers, Origin};
#[cfg(not(target_arch = "wasm32"))]
pub use plan::CompiledPlan;
