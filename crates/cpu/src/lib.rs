//! The CPU engine: packed batches in, logits out.
//!
//! ```text
//!            ┌─► fused: kernels for the encoder, tract for the head
//! Network ──►┤
//!            └─► padded: the whole graph through tract, for what did not fuse
//! ```
//!
//! Leaves out text, files and queues. Only this crate and `kernels` start threads.

mod engine;
mod fused;
mod packed;
mod padded;

pub use engine::{CpuEngine, CpuPlan};
