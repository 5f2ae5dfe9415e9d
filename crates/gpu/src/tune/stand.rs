//! Runs a few dispatches by themselves, to time them and to see what they compute.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::pipelines::Pipeline;
use crate::recording::{Buffer, Dispatch, UNIFORM_WORDS};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A device and buffers, for products one at a time. Pipelines are the device's, so that what is timed here is what runs later.
pub(crate) struct Stand<'a> {
    gpu: &'a Gpu,
    buffers: HashMap<Buffer, wgpu::Buffer>,
}

impl<'a> Stand<'a> {
    pub(crate) fn new(gpu: &'a Gpu) -> Stand<'a> {
        Stand { gpu, buffers: HashMap::new() }
    }

    /// A buffer of some bytes in the place of `name`, with these at its start and zeros after them.
    ///
    /// # Errors
    /// [`GpuError`] if there is no room for it.
    pub(crate) fn put(&mut self, name: Buffer, size: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let size = size.max(bytes.len() as u64).next_multiple_of(16).max(16);
        let make = || {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            let buffer = self.gpu.device().create_buffer(&descriptor);
            if !bytes.is_empty() {
                self.gpu.queue().write_buffer(&buffer, 0, bytes);
            }
            Ok(buffer)
        };
        let buffer = pollster::block_on(self.gpu.attempt("a matrix to try products with", size, make))?;
        self.buffers.insert(name, buffer);
        Ok(())
    }

    /// Runs dispatches, all of them `repeats` times over, and says how long that took.
    ///
    /// # Errors
    /// [`GpuError`] if the device refuses them or is lost.
    pub(crate) fn run(&self, dispatches: &[Dispatch], repeats: u32) -> Result<Duration, GpuError> {
        let encode = || {
            let bound = dispatches.iter().map(|dispatch| self.bind(dispatch)).collect::<Result<Vec<_>, _>>()?;
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("products") };
            let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..repeats {
                for (dispatch, (pipeline, group)) in dispatches.iter().zip(&bound) {
                    let [x, y, z] = dispatch.workgroups;
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, group, &[0]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            drop(pass);
            Ok(encoder.finish())
        };
        let commands = pollster::block_on(self.gpu.attempt("a product", 0, encode))?;
        // What was written to buffers is there before the clock starts.
        self.gpu.queue().submit([]);
        self.wait()?;
        let start = Instant::now();
        self.gpu.queue().submit([commands]);
        self.wait()?;
        let taken = start.elapsed();
        self.gpu.take_trouble("a product")?;
        Ok(taken)
    }

    /// The bytes of a buffer.
    pub(crate) fn read(&self, name: Buffer) -> Result<Vec<u8>, GpuError> {
        let refused = |reason: String| GpuError::Refused { what: "a read-back".to_owned(), reason };
        let buffer = self.buffers.get(&name).ok_or_else(|| refused(format!("{name:?} is not there")))?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false };
        let copy = self.gpu.device().create_buffer(&descriptor);
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        self.gpu.queue().submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| {});
        self.wait()?;
        let view = copy.get_mapped_range(..).map_err(|error| refused(error.to_string()))?;
        Ok(view.to_vec())
    }

    fn wait(&self) -> Result<(), GpuError> {
        let waited = self.gpu.device().poll(wgpu::PollType::wait_indefinitely());
        waited.map_err(|error| GpuError::Lost(error.to_string()))?;
        self.gpu.lost().map_or(Ok(()), |reason| Err(GpuError::Lost(reason)))
    }

    fn bind(&self, dispatch: &Dispatch) -> Result<(Arc<Pipeline>, wgpu::BindGroup), GpuError> {
        let device = self.gpu.device();
        let pipeline = self.gpu.pipelines().get(device, &dispatch.pipeline);
        let mut words = dispatch.uniforms.clone();
        words.resize(UNIFORM_WORDS, 0);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = 4 * UNIFORM_WORDS as u64;
        let uniforms =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        self.gpu.queue().write_buffer(&uniforms, 0, bytemuck::cast_slice(&words));
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniforms.as_entire_binding() }];
        for (binding, name) in (1..).zip(&dispatch.buffers) {
            let reason = format!("{name:?} is not there");
            let missing = || GpuError::Refused { what: "a product".to_owned(), reason };
            let buffer = self.buffers.get(name).ok_or_else(missing)?;
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
        let group = device.create_bind_group(&descriptor);
        Ok((pipeline, group))
    }
}
