//! Converts an fp32 ONNX file to a smaller one, int8 (dynamic or static) or fp16, and measures the loss of quality. Checkpoints of models
//! that write text are converted by [`checkpoint`].
//!
//! ```text
//! bytes ─► Source ─► Activations ─► ranges ─► write ─► judge ─► bytes and a report
//!          layers    samples run    method    operators  kept in fp32 until the floor holds
//! ```
//!
//! Not in this crate: files, terminals, text, and the engine that runs models, which the caller passes as [`Evaluate`].

mod calibrate;
pub mod checkpoint;
mod error;
mod estimate;
mod form;
mod gate;
pub mod histogram;
pub mod numbers;
mod score;
mod source;
mod tensor;
mod texts;
mod threshold;
mod values;
mod write;

pub use calibrate::Activations;
pub use error::{Error, Result};
pub use form::{Form, LeftLayer};
pub use gate::{Effect, Evaluate, Gate, Judged, Phase, Report, quantize_within};
pub use numbers::Range;
pub use score::{Answers, Column, Rows, Score, compare};
pub use source::{Layer, LayerKind, Left, Mode, Source};
pub use texts::{TextBounds, TextComparison, TextScore};
pub use threshold::{Method, choose_range};
pub use write::Ranges;
