//! The runtime that every target shares: a dialogue turn in, a verdict out.
//!
//! ```text
//! turn ─► text ─► tokens ─► engine ─► logits ─► verdict
//! ```
//!
//! This crate owns the bundle format, but no clock and no thread. The command line, the server and the browser are thin layers on it.
//!
//! Start with [`Bundle`], [`Detector`] and [`Turn`]; [`Runtime`] is for callers that run batches themselves.

mod bundle;
#[cfg(not(target_arch = "wasm32"))]
mod chat;
#[cfg(not(target_arch = "wasm32"))]
mod corpus;
mod detector;
mod device;
mod dialogue;
mod driver;
#[cfg(feature = "embedded-model")]
mod embedded;
#[cfg(not(target_arch = "wasm32"))]
mod embedder;
#[cfg(not(target_arch = "wasm32"))]
mod embedder_digest;
mod engine;
mod error;
pub mod generate;
mod isolate;
mod model;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
mod opened;
#[cfg(not(target_arch = "wasm32"))]
mod opened_disk;
mod options;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
mod pen;
#[cfg(not(target_arch = "wasm32"))]
mod pipeline_runner;
mod planner;
mod readout;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
mod recipe;
mod runtime;
pub mod schedule;
pub mod session;
pub mod task;
pub mod text;
#[cfg(not(target_arch = "wasm32"))]
mod text_reader;
mod verdict;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
mod workshop;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
mod writer;

pub use bundle::{Bundle, Bytes, DiskFolder, file_digest};
#[cfg(feature = "onnx")]
pub use bundle::{Embedded, import_model_file, read_model_file};
#[cfg(not(target_arch = "wasm32"))]
pub use chat::{CHAT_STACK_BYTES, Message, Role};
#[cfg(not(target_arch = "wasm32"))]
pub use corpus::{Corpus, CorpusWriter, Hit, NearText, Nearest, NewCorpus, check_query, corpus_row};
pub use detector::Detector;
pub use device::Device;
pub use dialogue::{Context, TEXT_BYTES_MAX, Turn, Utterance};
#[cfg(not(target_arch = "wasm32"))]
pub use embedder::Embedder;
#[cfg(feature = "onnx")]
pub use engine::plan_engine;
pub use engine::{AnyEngine, Bounds, Plan};
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use engine::{Compilation, compile, find_adapters};
#[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
pub use engine::{ProgramCompilation, compile_program};
pub use error::{Error, ErrorKind, Result};
pub use grice_cpu::{CpuEngine, CpuGenerator, CpuGeneratorPlan, CpuPlan};
#[cfg(feature = "gpu")]
pub use grice_gpu::Adapter;
#[cfg(not(target_arch = "wasm32"))]
pub use grice_model::CorpusEmbedder;
pub use grice_model::{
    BOM, Batch, BetweenSteps, Checkpoint, Engine, EngineError, EngineInfo, Family, Folder, GenerationDefaults,
    Generator, GeneratorEngine, GgufModel, Lengths, Logits, MASKED, Manifest, Maxim, Network, NewSource, NodeSummary,
    Pass, PerMaxim, Precision, Proof, Source, Span, THRESHOLD_EXPECTED, Task, Trace, is_threshold, utf16_hint,
    without_bom,
};
pub use isolate::{Rows, panic_text, run_each, run_guarded, run_rows, run_rows_blocking};
pub use model::Model;
pub use options::Options;
#[cfg(not(target_arch = "wasm32"))]
pub use pipeline_runner::{CANDIDATES, PipelineRunner, Retriever, SIMILARITY};
pub use planner::Planner;
pub use readout::merge_thresholds;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
pub use recipe::{Recipe, Recipes};
pub use runtime::{Next, Runtime, retry_after};
#[cfg(not(target_arch = "wasm32"))]
pub use text_reader::{KnownText, TextReader};
pub use verdict::{Reading, Verdict};
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
pub use workshop::{
    AnswerAsk, Ask, DetectorBrief, DraftNews, Fault, JobId, News, Repair, RepairAsk, Text, TextAsk, Told, Workshop,
    WorkshopInfo, WorkshopOptions,
};
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
pub use writer::{Memory, Writer};
