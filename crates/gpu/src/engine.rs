//! What runs a program on a device: batches in, logits out.

use crate::adapter::Adapter;
use crate::buffers::{Buffers, Capacity};
use crate::error::GpuError;
use crate::gather::write_rows;
use crate::geometry::Geometry;
use crate::plan::{GpuPlan, Inner};
use crate::readback::{Waiting, read_bytes};
use crate::record::record_forward;
use crate::recording::{Arena, Recording};
use crate::submit::submit;
use crate::timing::Timing;
use grice_model::{Batch, EngineError, EngineInfo, HeadPlan, HeadRunner, Logits, Span, Trace};
use std::ops::Range;
use std::time::Duration;

/// Runs a program on a GPU.
pub struct GpuEngine {
    plan: GpuPlan,
    /// None where the device runs it.
    head: Option<HeadRunner>,
    /// None before the first batch.
    buffers: Option<Buffers>,
}

impl GpuEngine {
    pub(crate) fn new(plan: GpuPlan, head: Option<HeadRunner>) -> GpuEngine {
        GpuEngine { plan, head, buffers: None }
    }

    /// Logits `[batch.rows(), labels]`, in the order of the batch's rows. Waits without blocking the thread; natively that
    /// keeps it busy, and [`Engine::forward`](grice_model::Engine::forward) sleeps instead.
    ///
    /// # Errors
    /// [`EngineError`], naming the id or step at fault; after [`EngineError::DeviceLost`] everything from
    /// [`Gpu::open`](crate::Gpu::open) on must be made anew.
    pub async fn run(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        self.run_batch(batch, Waiting::Awaiting, None).await
    }

    /// As [`GpuEngine::run`], with the time of every step on the device.
    ///
    /// # Errors
    /// As [`GpuEngine::run`], and where steps cannot be timed: see [`Settings::timestamps`](crate::Settings::timestamps).
    pub async fn run_traced(&mut self, batch: &Batch) -> Result<(Logits, Trace), EngineError> {
        let mut spans = Vec::new();
        let logits = self.run_batch(batch, Waiting::Awaiting, Some(&mut spans)).await?;
        Ok((logits, Trace::of(spans)))
    }

    /// What it is and runs on.
    pub fn info(&self) -> EngineInfo {
        let kernels = match self.adapter().backend {
            "vulkan" => "wgpu vulkan",
            "metal" => "wgpu metal",
            "dx12" => "wgpu dx12",
            "webgpu" => "wgpu webgpu",
            _ => "wgpu",
        };
        EngineInfo { device: "gpu", precision: self.plan.precision(), threads: 1, kernels }
    }

    /// Bytes on the device: the plan's weights and the buffers of this engine.
    pub fn memory(&self) -> u64 {
        self.plan.weight_bytes() + self.buffers.as_ref().map_or(0, Buffers::bytes)
    }

    /// The adapter that it runs on.
    pub fn adapter(&self) -> &Adapter {
        self.plan.inner.uploaded.gpu.adapter()
    }

    async fn run_batch(
        &mut self,
        batch: &Batch,
        waiting: Waiting,
        mut spans: Option<&mut Vec<Span>>,
    ) -> Result<Logits, EngineError> {
        let plan = self.plan.inner.clone();
        plan.uploaded.gpu.take_trouble("what came before").or_else(|error| match error {
            GpuError::Lost(reason) => Err(EngineError::DeviceLost(reason)),
            // It was told to whom it concerned, or concerned nobody.
            _ => Ok(()),
        })?;
        plan.lookup.check(batch)?;
        plan.check_lengths(batch)?;
        let mut logits = Logits::zeros(batch.rows(), plan.labels);
        for rows in batch.split(plan.tokens_max) {
            let answers = self.compute(&plan, batch, rows.clone(), waiting, spans.as_deref_mut()).await;
            let answers = answers.map_err(|error| {
                // Nobody knows what state they are in.
                self.buffers = None;
                failed(plan.uploaded.gpu.explain(error))
            })?;
            let values = match &mut self.head {
                Some(head) => head.run(&answers)?,
                None => answers,
            };
            for (row, values) in rows.zip(values.chunks_exact(plan.labels)) {
                logits.row_mut(row).copy_from_slice(values);
            }
        }
        Ok(logits)
    }

    /// What the device answers to some rows: [`Model::answers`](crate::model::Model::answers), without gaps.
    async fn compute(
        &mut self,
        plan: &Inner,
        batch: &Batch,
        rows: Range<usize>,
        waiting: Waiting,
        spans: Option<&mut Vec<Span>>,
    ) -> Result<Vec<f32>, GpuError> {
        let gpu = &plan.uploaded.gpu;
        let (ids, cu_seqlens) = batch.part(rows);
        let geometry = Geometry::new(&cu_seqlens);
        let recording = record_forward(&plan.model, &geometry, &plan.tiles)?;
        self.fit_buffers(plan, &geometry, &recording).await?;
        let Some(buffers) = &mut self.buffers else { return Ok(Vec::new()) };
        write_rows(plan, buffers, ids, &cu_seqlens)?;
        let write = |arena, bytes: &[u8]| -> Result<(), GpuError> {
            gpu.queue().write_buffer(buffers.arena(arena)?, 0, bytes);
            Ok(())
        };
        write(Arena::Starts, bytemuck::cast_slice(&geometry.starts))?;
        write(Arena::Blocks, bytemuck::cast_slice(&geometry.blocks))?;
        let timing = match &spans {
            Some(_) => Some(Timing::new(gpu, recording.dispatches.len()).await?),
            None => None,
        };
        let answers = plan.model.answers(geometry.rows());
        let bytes = (answers.rows * answers.stride * 4) as u64;
        submit(&plan.uploaded, buffers, &recording, answers.buffer, bytes, timing.as_ref())?;
        let answer = read_bytes(gpu, buffers.arena(Arena::Answers)?, bytes, waiting).await?;
        if let (Some(timing), Some(spans)) = (timing, spans) {
            let start = spans.last().map_or(Duration::ZERO, |last| last.start + last.duration);
            spans.extend(timing.spans(gpu, &recording, start, waiting).await?);
        }
        let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(&answer);
        let rows = numbers.chunks_exact(answers.stride);
        Ok(rows.flat_map(|row| row[..answers.columns].iter().copied()).collect())
    }

    /// Sees to it that the buffers hold a pass.
    async fn fit_buffers(&mut self, plan: &Inner, geometry: &Geometry, recording: &Recording) -> Result<(), GpuError> {
        let needed = Capacity::of(geometry, recording, plan.tokens_max);
        let held = self.buffers.as_ref().map(Buffers::capacity);
        let wanted = held.map_or(needed, |held| held.max(needed));
        if held != Some(wanted) {
            // The old ones first: both together may be more than there is.
            self.buffers = None;
            self.buffers = Some(Buffers::allocate(&plan.uploaded.gpu, &plan.model, wanted).await?);
        }
        Ok(())
    }
}

impl GpuPlan {
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
        let head = self.inner.head.as_ref().map(HeadPlan::runner).transpose().map_err(unable)?;
        Ok(GpuEngine::new(self.clone(), head))
    }
}

impl Inner {
    /// Says whether every sequence fits a pass by itself.
    fn check_lengths(&self, batch: &Batch) -> Result<(), EngineError> {
        let longest = (0..batch.rows()).map(|row| batch.sequence(row).len()).max().unwrap_or(0);
        match longest > self.tokens_max {
            false => Ok(()),
            true => Err(EngineError::Run(format!(
                "a sequence of {longest} tokens is longer than the {} that the GPU runs at once; run it on the CPU instead",
                self.tokens_max
            ))),
        }
    }
}

fn failed(error: GpuError) -> EngineError {
    match error {
        GpuError::Lost(reason) => EngineError::DeviceLost(reason),
        error => EngineError::Run(error.to_string()),
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl grice_model::Engine for GpuEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        pollster::block_on(self.run_batch(batch, Waiting::Blocking, None))
    }

    fn info(&self) -> EngineInfo {
        GpuEngine::info(self)
    }
}
