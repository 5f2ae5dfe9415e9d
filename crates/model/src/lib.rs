//! What a model is: manifest and ONNX graph in, an importable network and the nouns that every engine speaks out.
//!
//! Knows nothing of text, of devices or of where files come from; tract is its only importer.

mod attributes;
mod batch;
mod contrib;
mod encoding;
mod engine;
mod equal;
mod error;
mod family;
mod fold;
mod framework;
mod fuse;
mod head;
mod lengths;
mod logits;
mod lookup;
mod manifest;
mod maxim;
mod observe;
mod onnx;
mod prepare;
mod program;
mod proto;
mod quantizers;
mod rewrite;
mod threshold;
mod trace;
mod weights;

pub use batch::{Batch, MASKED, Padded};
pub use encoding::{BOM, utf16_hint, without_bom};
pub use engine::{Engine, EngineError, EngineInfo};
pub use error::{Error, Result};
pub use family::{Family, positions_begin_later};
pub use fuse::Unfused;
pub use head::{Head, HeadRunner};
pub use lengths::{Lengths, Proof};
pub use logits::Logits;
pub use lookup::Lookup;
pub use manifest::{Manifest, Precision, Task};
pub use maxim::{Maxim, PerMaxim};
pub use observe::Observed;
pub use onnx::{Network, NodeSummary};
pub use prepare::{FixedAxes, ReadBeside, embed_external, external_files};
pub use program::{Attention, Dense, Embedding, Layer, Positions, Program, Relative};
pub use threshold::{THRESHOLD_EXPECTED, is_threshold, is_violated};
pub use trace::{Span, Trace, record_step};
pub use weights::{Along, Linear, Matrix, Values};
