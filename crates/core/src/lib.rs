//! The runtime that every target shares: a dialogue turn in, a verdict out.
//!
//! ```text
//! turn ─► text ─► tokens ─► engine ─► logits ─► verdict
//! ```
//!
//! Owns no file format but the bundle, no clock and no thread; the command line, the server and the browser are thin faces of it.

mod bundle;
mod detector;
mod device;
mod dialogue;
#[cfg(feature = "embedded-model")]
mod embedded;
mod engine;
mod error;
mod isolate;
mod planner;
mod reader;
mod readout;
pub mod schedule;
pub mod session;
pub mod text;
mod verdict;

pub use bundle::{Bundle, Embedded, file_digest, import_model_file, read_model_file};
pub use detector::{Detector, Model, Options};
pub use device::Device;
pub use dialogue::{Context, TEXT_BYTES_MAX, Turn, Utterance};
pub use engine::{AnyEngine, Bounds, Plan, plan_engine};
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use engine::{Compilation, compile, find_adapters};
pub use error::{Error, ErrorKind, Result};
pub use grice_cpu::{CpuEngine, CpuPlan};
#[cfg(feature = "gpu")]
pub use grice_gpu::Adapter;
pub use grice_model::{
    BOM, Batch, Engine, EngineError, EngineInfo, Family, Lengths, Logits, MASKED, Manifest, Maxim, Network,
    NodeSummary, PerMaxim, Precision, Proof, Span, THRESHOLD_EXPECTED, Task, Trace, is_threshold, utf16_hint,
    without_bom,
};
pub use isolate::{Rows, run_guarded, run_rows, run_rows_blocking};
pub use planner::Planner;
pub use reader::{Reader, Reading};
pub use readout::merge_thresholds;
pub use verdict::Verdict;
