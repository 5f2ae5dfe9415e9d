//! A program on a device: its weights uploaded once, its pipelines made.

use crate::buffers;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::geometry::Geometry;
use crate::model::Model;
use crate::record::record_forward;
use crate::recording::PipelineKey;
use crate::tune::Tiles;
use crate::uploaded::{Uploaded, binding_bytes_max};
use grice_kernels::release_free_memory;
use grice_model::{HeadPlan, Lookup, Precision, Program, Readout};
use std::sync::Arc;

/// A program whose weights lie on a device, to be shared by any number of engines.
#[derive(Clone)]
pub struct GpuPlan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) uploaded: Uploaded,
    pub(crate) model: Model,
    /// Words stay with the processor: the table of a large vocabulary is wider than what many devices bind.
    pub(crate) lookup: Lookup,
    /// Where it is something else than dense layers, and the processor runs it.
    pub(crate) head: Option<HeadPlan>,
    pub(crate) precision: Precision,
    pub(crate) labels: usize,
    /// How each product is made.
    pub(crate) tiles: Tiles,
    /// The most tokens of a pass.
    pub(crate) tokens_max: usize,
}

impl GpuPlan {
    /// Uploads the weights of a program that answers `labels` numbers a row, and makes its pipelines. Weights that nobody else
    /// holds are freed on the way.
    ///
    /// # Errors
    /// [`GpuError`], naming the step, limit or memory that is in the way.
    pub async fn new(gpu: &Gpu, program: Program, labels: usize) -> Result<GpuPlan, GpuError> {
        let (precision, weight_bytes) = (program.precision(), program.weight_bytes() as u64);
        let unable = |step: &str, reason: String| GpuError::Lowering { step: step.to_owned(), reason };
        if let Readout::Pooled { .. } = program.readout {
            return Err(unable("the readout", "vectors of whole texts are made on the CPU only".to_owned()));
        }
        let longest = program.longest();
        let (steps, mut parts) = program.into_steps(labels);
        let head = parts.head.take().map(|head| head.plan(steps.hidden, labels));
        let head = head.transpose().map_err(|error| unable("the head", error.to_string()))?;
        let binding_bytes_max = binding_bytes_max(gpu);
        let mut uploaded = Uploaded::new(gpu);
        let mut upload = |name: String, words: Vec<u32>| uploaded.upload(&name, &words);
        let lower = || Model::lower(steps, parts, binding_bytes_max, &mut upload);
        let (model, embedding) = gpu.attempt("the weights", weight_bytes, lower).await?;
        let lookup = Lookup::new(embedding).map_err(|error| unable("the embedding", error.to_string()))?.up_to(longest);
        release_free_memory();
        let tiles = Tiles::open(gpu, &model.encoder_linears())?;
        let tokens_max = buffers::tokens_max(&model, binding_bytes_max);
        GpuPlan::assemble(Inner { uploaded, model, lookup, head, precision, labels, tiles, tokens_max }).await
    }

    /// Checks that the parts fit each other, and makes the pipelines.
    pub(crate) async fn assemble(inner: Inner) -> Result<GpuPlan, GpuError> {
        if inner.lookup.columns() != inner.model.embedding.columns {
            let reason = "its rows are not as long as its norm".to_owned();
            return Err(GpuError::Lowering { step: "the embedding".to_owned(), reason });
        }
        warm(&inner.uploaded.gpu, &pipelines_of(&inner.model, &inner.tiles, inner.tokens_max)?).await?;
        Ok(GpuPlan { inner: Arc::new(inner) })
    }

    /// The precision of the program.
    pub fn precision(&self) -> Precision {
        self.inner.precision
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.uploaded.bytes()
    }
}

/// The pipelines that batches up to so many tokens ask for, each once: natively all of them; in a browser, which takes longer over
/// each, those of a few lengths, and the others when they are first asked for.
fn pipelines_of(model: &Model, tiles: &Tiles, tokens_max: usize) -> Result<Vec<PipelineKey>, GpuError> {
    let mut keys: Vec<PipelineKey> = Vec::new();
    let (first, times) = if cfg!(target_arch = "wasm32") { (8, 8) } else { (1, 2) };
    let lengths = std::iter::successors(Some(first), |length| Some(length * times));
    let lengths = lengths.take_while(|length| *length <= tokens_max);
    for length in lengths {
        let recording = record_forward(model, &Geometry::new(&[0, length as u32]), tiles)?;
        for dispatch in recording.dispatches {
            if !keys.contains(&dispatch.pipeline) {
                keys.push(dispatch.pipeline);
            }
        }
    }
    Ok(keys)
}

/// Makes pipelines ahead, so that a first batch does not wait for them.
///
/// # Errors
/// [`GpuError::Refused`], naming the shader, where the device does not take one.
async fn warm(gpu: &Gpu, keys: &[PipelineKey]) -> Result<(), GpuError> {
    for key in keys {
        let what = format!("the shader {} with {:?}", key.shader.name, key.constants);
        let make = || {
            gpu.pipelines().get(gpu.device(), key);
            Ok(())
        };
        gpu.attempt(&what, 0, make).await?;
    }
    gpu.pipelines().keep();
    Ok(())
}
