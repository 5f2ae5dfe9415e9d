//! A program on a device: its weights uploaded once, its pipelines made.

use crate::buffers;
use crate::device::Gpu;
use crate::engine::GpuEngine;
use crate::error::GpuError;
use crate::model::Model;
use crate::pipelines::warm;
use crate::record::{Buffer, Geometry, PipelineKey, record_forward};
use crate::tune::Tiles;
use grice_kernels::release_free_memory;
use grice_model::{Head, Lookup, Precision, Program};
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
    pub(crate) head: Option<Head>,
    pub(crate) precision: Precision,
    pub(crate) labels: usize,
    /// How each product is made.
    pub(crate) tiles: Tiles,
    /// The most tokens of a pass.
    pub(crate) tokens_max: usize,
}

/// The weights, by number.
pub(crate) struct Uploaded {
    pub(crate) gpu: Gpu,
    weights: Vec<wgpu::Buffer>,
    pub(crate) nothing: wgpu::Buffer,
    bytes: u64,
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
        let head = match &program.head_layers {
            Ok(layers) if layers.last().is_some_and(|last| last.linear.outputs() == labels) => None,
            _ => Some(Head::new(&program, labels).map_err(|error| unable("the head", error.to_string()))?),
        };
        let Program { embedding, layers, head_layers, .. } = program;
        let head_layers = head_layers.ok().filter(|_| head.is_none()).unwrap_or_default();
        let binding_bytes_max = binding_bytes_max(gpu);
        let mut uploaded = Uploaded::new(gpu);
        let mut upload = |name: String, words: Vec<u32>| uploaded.upload(&name, &words);
        let lower = || Model::lower(&embedding, layers, &head_layers, binding_bytes_max, &mut upload);
        let model = gpu.attempt("the weights", weight_bytes, lower).await?;
        let lookup = Lookup::new(embedding).map_err(|error| unable("the embedding", error.to_string()))?;
        release_free_memory();
        let tiles = Tiles::open(gpu, &model.all_products().collect::<Vec<_>>())?;
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

    /// An engine with buffers of its own, which it allocates when it has a batch.
    ///
    /// # Errors
    /// [`GpuError::Lowering`] if the head cannot be made ready, [`GpuError::Lost`] if the device is gone.
    pub fn engine(&self) -> Result<GpuEngine, GpuError> {
        if let Some(reason) = self.inner.uploaded.gpu.lost() {
            return Err(GpuError::Lost(reason));
        }
        let unable = |error: grice_model::EngineError| GpuError::Lowering {
            step: "the head".to_owned(),
            reason: error.to_string(),
        };
        let head = self.inner.head.as_ref().map(Head::runner).transpose().map_err(unable)?;
        Ok(GpuEngine::new(self.clone(), head))
    }
}

/// Bytes of the largest buffer that a shader sees as a whole.
pub(crate) fn binding_bytes_max(gpu: &Gpu) -> u64 {
    let limits = gpu.device().limits();
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
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

impl Uploaded {
    /// Nothing yet.
    pub(crate) fn new(gpu: &Gpu) -> Uploaded {
        let usage = wgpu::BufferUsages::STORAGE;
        let descriptor = wgpu::BufferDescriptor { label: Some("nothing"), size: 256, usage, mapped_at_creation: false };
        let nothing = gpu.device().create_buffer(&descriptor);
        Uploaded { gpu: gpu.clone(), weights: Vec::new(), nothing, bytes: 256 }
    }

    /// Puts words on the device.
    pub(crate) fn upload(&mut self, name: &str, words: &[u32]) -> Result<Buffer, GpuError> {
        let device = self.gpu.device();
        let size = (4 * words.len() as u64).next_multiple_of(16).max(16);
        let limits = device.limits();
        let limit = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        if size > limit {
            let name_of_limit = "maxStorageBufferBindingSize";
            return Err(GpuError::Limit { what: name.to_owned(), needed: size, limit, name: name_of_limit });
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let label = Some(name);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false });
        self.gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        // What was staged goes on its way now, rather than all of it at the end.
        self.gpu.queue().submit([]);
        self.weights.push(buffer);
        self.bytes += size;
        Ok(Buffer::Weight(self.weights.len() - 1))
    }

    /// Of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The n-th that was uploaded.
    ///
    /// # Errors
    /// [`GpuError::Refused`] if there are fewer.
    pub(crate) fn weight(&self, number: usize) -> Result<&wgpu::Buffer, GpuError> {
        let missing = || GpuError::Refused { what: format!("weight {number}"), reason: "there is none".to_owned() };
        self.weights.get(number).ok_or_else(missing)
    }
}
