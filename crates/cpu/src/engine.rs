//! The engine: one of two ways to run a network.

use crate::fused::Fused;
use crate::packed::Packed;
#[cfg(feature = "onnx")]
use crate::padded::{PaddedEngine, PaddedPlan};
use grice_kernels::Isa;
#[cfg(feature = "onnx")]
use grice_model::MASKED;
use grice_model::{Batch, BetweenSteps, Engine, EngineError, EngineInfo, Logits, Network, Precision, Program, Trace};
use std::sync::Arc;

/// A network made ready for the processor at hand, to be shared by any number of engines: the encoder as packed weights for
/// the kernels where it fused, a plan of the whole graph for tract where it did not.
#[derive(Clone)]
pub struct CpuPlan {
    form: Form,
    labels: usize,
    embedding_rows: Option<usize>,
    precision: Precision,
}

#[derive(Clone)]
enum Form {
    Fused(Arc<Packed>),
    #[cfg(feature = "onnx")]
    Padded(PaddedPlan),
}

impl CpuPlan {
    /// Packs or plans a network. Weights that nobody else holds are freed on the way.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if the network cannot be run.
    pub fn new(network: Network, precision: Precision) -> Result<CpuPlan, EngineError> {
        CpuPlan::with_isa(network, precision, Isa::best())
    }

    /// As [`CpuPlan::new`], for an instruction set of this processor. tract, which runs heads and what did not fuse, takes its own choice.
    ///
    /// # Errors
    /// As [`CpuPlan::new`].
    pub fn with_isa(network: Network, precision: Precision, isa: Isa) -> Result<CpuPlan, EngineError> {
        let (labels, embedding_rows) = (network.labels(), network.embedding_rows());
        let form = match network.into_program() {
            Ok(program) => Form::Fused(Arc::new(Packed::new(program, labels, isa)?)),
            #[cfg(feature = "onnx")]
            Err(network) => Form::Padded(PaddedPlan::new(&network)?),
            #[cfg(not(feature = "onnx"))]
            Err(_) => return Err(EngineError::Plan("this build runs no ONNX graphs".to_owned())),
        };
        // What the importer and the packing left is as long as the file.
        grice_kernels::release_free_memory();
        Ok(CpuPlan { form, labels, embedding_rows, precision })
    }

    /// Packs a program that answers `labels` numbers a row, for an instruction set of this processor.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for parts that do not fit each other.
    pub fn of(program: Program, labels: usize, precision: Precision, isa: Isa) -> Result<CpuPlan, EngineError> {
        let embedding_rows = Some(program.encoder.embedding.words.rows());
        let form = Form::Fused(Arc::new(Packed::new(program, labels, isa)?));
        Ok(CpuPlan { form, labels, embedding_rows, precision })
    }

    /// An engine with `threads` threads of its own (at least one is used; on wasm32 exactly one).
    ///
    /// # Errors
    /// [`EngineError::Plan`] if its state cannot be made.
    pub fn engine(&self, threads: usize) -> Result<CpuEngine, EngineError> {
        let threads = if cfg!(target_arch = "wasm32") { 1 } else { threads.max(1) };
        let runner = match &self.form {
            Form::Fused(packed) => Runner::Fused(Box::new(Fused::new(packed.clone(), self.labels, threads)?)),
            #[cfg(feature = "onnx")]
            Form::Padded(plan) => Runner::Padded(PaddedEngine::new(plan.clone(), threads)?),
        };
        let CpuPlan { labels, embedding_rows, precision, .. } = *self;
        Ok(CpuEngine { runner, labels, embedding_rows, precision, threads })
    }

    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.embedding_rows
    }

    /// Whether a sequence has the same answer with padding as without. If not, its tokens may be [`MASKED`].
    pub fn hides_padding(&self) -> bool {
        match &self.form {
            Form::Fused(_) => true,
            #[cfg(feature = "onnx")]
            Form::Padded(plan) => plan.hides_padding(),
        }
    }

    /// The precision of the file.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

/// Runs a network on the CPU.
pub struct CpuEngine {
    runner: Runner,
    #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "fused programs know theirs"))]
    labels: usize,
    #[cfg_attr(not(feature = "onnx"), allow(dead_code, reason = "fused programs know theirs"))]
    embedding_rows: Option<usize>,
    precision: Precision,
    threads: usize,
}

enum Runner {
    Fused(Box<Fused>),
    #[cfg(feature = "onnx")]
    Padded(PaddedEngine),
}

impl CpuEngine {
    /// A plan of the network and one engine for it.
    ///
    /// # Errors
    /// As [`CpuPlan::new`] and [`CpuPlan::engine`].
    pub fn new(network: Network, precision: Precision, threads: usize) -> Result<CpuEngine, EngineError> {
        CpuPlan::new(network, precision)?.engine(threads)
    }

    /// As [`Engine::forward`], recording every step. A network that did not fuse has one step.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn forward_traced(&mut self, batch: &Batch, trace: &mut Trace) -> Result<Logits, EngineError> {
        self.run(batch, Some(trace))
    }

    fn run(&mut self, batch: &Batch, trace: Option<&mut Trace>) -> Result<Logits, EngineError> {
        match &mut self.runner {
            Runner::Fused(fused) => fused.forward(batch, trace),
            #[cfg(feature = "onnx")]
            Runner::Padded(padded) => {
                check_ids(batch, self.embedding_rows)?;
                padded.forward(batch, self.labels, trace)
            }
        }
    }
}

/// Whether every id, masked or not, has a row of words, of which there are so many.
#[cfg(feature = "onnx")]
fn check_ids(batch: &Batch, rows: Option<usize>) -> Result<(), EngineError> {
    let Some(rows) = rows else { return Ok(()) };
    match batch.ids().iter().map(|id| id & !MASKED).find(|&id| id as usize >= rows) {
        Some(id) => Err(EngineError::TokenId { id, rows }),
        None => Ok(()),
    }
}

impl Engine for CpuEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        self.run(batch, None)
    }

    /// A graph that did not fuse has no steps.
    fn set_between_steps(&mut self, between: BetweenSteps) {
        match &mut self.runner {
            Runner::Fused(fused) => fused.between = Some(between),
            #[cfg(feature = "onnx")]
            Runner::Padded(_) => {}
        }
    }

    fn info(&self) -> EngineInfo {
        let kernels = match &self.runner {
            Runner::Fused(fused) => fused.isa(),
            #[cfg(feature = "onnx")]
            Runner::Padded(_) => "tract",
        };
        EngineInfo { device: "cpu", precision: self.precision, threads: self.threads, kernels }
    }
}
