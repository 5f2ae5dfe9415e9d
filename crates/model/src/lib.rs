//! What a model is: manifest and ONNX graph in, an importable network and the nouns that every engine speaks out.
//!
//! Knows nothing of text, of devices or of where files come from; tract is its only importer.

#[cfg(feature = "onnx")]
mod attributes;
mod batch;
mod checkpoint;
#[cfg(feature = "onnx")]
mod contrib;
#[cfg(not(target_family = "wasm"))]
mod corpus;
mod encoding;
mod engine;
#[cfg(feature = "onnx")]
mod equal;
mod error;
mod family;
#[cfg(feature = "onnx")]
mod fold;
#[cfg(feature = "onnx")]
mod framework;
#[cfg(feature = "onnx")]
mod fuse;
mod generator;
mod gguf;
mod head;
#[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "the importer uses the rest"))]
mod lengths;
mod logits;
mod lookup;
mod manifest;
mod maxim;
#[cfg(feature = "onnx")]
mod names;
mod network;
#[cfg(feature = "onnx")]
mod observe;
#[cfg(feature = "onnx")]
mod onnx;
mod pass;
mod precision;
#[cfg(feature = "onnx")]
mod prepare;
mod program;
#[cfg(feature = "onnx")]
mod proto;
#[cfg(feature = "onnx")]
mod quantizers;
#[cfg(feature = "onnx")]
mod rewrite;
mod safetensors;
mod steps;
mod stored;
mod threshold;
mod trace;
mod weights;

pub use batch::{Batch, FixedAxes, MASKED, Padded};
pub use checkpoint::{
    Checkpoint, Folder, GenerationDefaults, GgufModel, GgufVocabulary, RawCheckpoint, RawTensor, Role, SentenceModel,
};
#[cfg(not(target_family = "wasm"))]
pub use corpus::{CORPUS_MANIFEST, CORPUS_TEXTS, CORPUS_VECTORS, CorpusEmbedder, CorpusManifest, CorpusVectors};
pub use encoding::{BOM, utf16_hint, without_bom};
pub use engine::{BetweenSteps, Engine, EngineError, EngineInfo};
pub use error::{Error, Result};
pub use family::{Family, positions_begin_later};
pub use generator::{Generator, Vocabulary};
pub use grice_kernels::PAGE_TOKENS;
pub use head::{HeadGraph, HeadPlan, HeadRunner};
pub use lengths::{Lengths, Proof};
pub use logits::Logits;
pub use lookup::Lookup;
pub use manifest::{Manifest, Task, check_template, is_inside};
pub use maxim::{Maxim, PerMaxim};
pub use network::{Network, NodeSummary};
#[cfg(feature = "onnx")]
pub use observe::Observed;
pub use pass::{GeneratorEngine, NewSource, Page, Pass, Past, SourcePast, pages_of};
pub use precision::Precision;
#[cfg(feature = "onnx")]
pub use prepare::{ReadBeside, embed_external, external_files};
pub use program::{
    Attention, Block, Body, Dense, Embedding, FeedForward, Head, Layer, Place, Pooling, Positions, Program, Readout,
    Relative, ScorePositions, Scores, Sees, Stack, Unfused, numbers_of,
};
pub use safetensors::Source;
pub use steps::{
    Action, Extent, GeneratorParts, GeneratorSteps, Memory, Op, Operand, Parts, Rows, Slot, Step, Steps, Then, Unsound,
};
pub use stored::{ProgramOrigin, StoredFile};
pub use threshold::{THRESHOLD_EXPECTED, is_threshold, is_violated};
pub use trace::{Span, Trace, record_step};
pub use weights::{Along, Linear, Matrix, Values};
