//! The runtime that every target shares: a dialogue turn in, a verdict out.
//!
//! ```text
//! turn ─► text ─► tokens ─► engine ─► logits ─► verdict
//! ```
//!
//! Owns no file format but the bundle, no clock and no thread; the command line, the server and the browser are thin faces of it.

mod bundle;
mod detector;
mod dialogue;
#[cfg(feature = "embedded-model")]
mod embedded;
mod engine;
mod error;
mod reader;
mod readout;
pub mod schedule;
pub mod session;
pub mod text;
mod verdict;

pub use bundle::{Bundle, file_digest};
pub use detector::{Detector, Model, Options};
pub use dialogue::{Context, TEXT_BYTES_MAX, Turn, Utterance};
pub use engine::plan_engine;
pub use error::{Error, ErrorKind, Result};
pub use grice_cpu::{CpuEngine, CpuPlan, Span, Trace};
pub use grice_model::{
    Batch, Engine, EngineError, EngineInfo, Family, Logits, Manifest, Maxim, Network, NodeSummary, PerMaxim, Precision,
    Task,
};
pub use reader::Reader;
pub use verdict::Verdict;
