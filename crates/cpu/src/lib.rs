//! Batches in, logits out, on the processor through tract.
//!
//! Leaves out: text, files, queues.

mod plan;

pub use plan::CpuEngine;
