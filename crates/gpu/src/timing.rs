//! How long each dispatch took, by the device's own clock.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::readback::{Waiting, read_bytes};
use crate::recording::Recording;
use grice_model::Span;
use std::time::Duration;

/// Two timestamps for each dispatch of a recording.
pub(crate) struct Timing {
    queries: wgpu::QuerySet,
    count: u32,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
}

impl Timing {
    /// For so many dispatches.
    ///
    /// # Errors
    /// [`GpuError::Refused`] where the device was opened without timestamps, or has none, or the dispatches are too many for a
    /// query set.
    pub(crate) async fn new(gpu: &Gpu, dispatches: usize) -> Result<Timing, GpuError> {
        let refused = |reason: String| GpuError::Refused { what: "timing of steps".to_owned(), reason };
        if !gpu.times_steps() {
            return Err(refused("the device was opened without timestamps, or has none".to_owned()));
        }
        let count = 2 * dispatches as u32;
        if count > wgpu::QUERY_SET_MAX_QUERIES {
            return Err(refused(format!("{dispatches} steps are more than half of {}", wgpu::QUERY_SET_MAX_QUERIES)));
        }
        let make = || {
            let device = gpu.device();
            let (ty, label) = (wgpu::QueryType::Timestamp, Some("times"));
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor { label, ty, count });
            let buffer = |usage| {
                let size = u64::from(count) * 8;
                device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
            };
            use wgpu::BufferUsages as Usages;
            let resolved = buffer(Usages::QUERY_RESOLVE | Usages::COPY_SRC);
            let read = buffer(Usages::MAP_READ | Usages::COPY_DST);
            Ok(Timing { queries, count, resolved, read })
        };
        gpu.attempt("timestamps", u64::from(count) * 16, make).await
    }

    /// The pass of a dispatch, timed.
    pub(crate) fn pass(&self, index: usize) -> wgpu::ComputePassDescriptor<'_> {
        let first = 2 * index as u32;
        wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        }
    }

    /// To be encoded after the passes.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, u64::from(self.count) * 8);
    }

    /// The steps of a recording that has run, each as long as its dispatches; they follow each other from `start` on.
    ///
    /// # Errors
    /// As [`read_bytes`].
    pub(crate) async fn spans(
        &self,
        gpu: &Gpu,
        recording: &Recording,
        start: Duration,
        waiting: Waiting,
    ) -> Result<Vec<Span>, GpuError> {
        let bytes = read_bytes(gpu, &self.read, u64::from(self.count) * 8, waiting).await?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let period = f64::from(gpu.queue().get_timestamp_period());
        let duration = |ticks: u64| Duration::from_nanos((ticks as f64 * period) as u64);
        let first = ticks.first().copied().unwrap_or(0);
        let spans = recording.dispatches.iter().zip(ticks.chunks_exact(2)).map(|(dispatch, pair)| {
            let label = dispatch.label;
            let begin = start + duration(pair[0].saturating_sub(first));
            Span::new(label.layer, label.op, begin, duration(pair[1].saturating_sub(pair[0])), label.operations)
        });
        Ok(spans.collect())
    }
}
