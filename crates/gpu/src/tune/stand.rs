//! Runs a few dispatches by themselves, to time them and to see what they compute.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::record::{Access, Buffer, Dispatch, PipelineKey};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A device, pipelines and buffers, for products one at a time.
pub(crate) struct Stand<'a> {
    gpu: &'a Gpu,
    pipelines: HashMap<PipelineKey, Pipeline>,
    buffers: HashMap<Buffer, wgpu::Buffer>,
}

struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl<'a> Stand<'a> {
    pub(crate) fn new(gpu: &'a Gpu) -> Stand<'a> {
        Stand { gpu, pipelines: HashMap::new(), buffers: HashMap::new() }
    }

    /// A buffer of some bytes in the place of `name`, with these at its start and zeros after them.
    pub(crate) fn put(&mut self, name: Buffer, size: u64, bytes: &[u8]) {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let size = size.max(bytes.len() as u64).next_multiple_of(16).max(16);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.gpu.device().create_buffer(&descriptor);
        if !bytes.is_empty() {
            self.gpu.queue().write_buffer(&buffer, 0, bytes);
        }
        self.buffers.insert(name, buffer);
    }

    /// Runs dispatches, all of them `repeats` times over, and says how long that took.
    pub(crate) fn run(&mut self, dispatches: &[Dispatch], repeats: u32) -> Result<Duration, GpuError> {
        let device = self.gpu.device();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut bound = Vec::with_capacity(dispatches.len());
        for dispatch in dispatches {
            if !self.pipelines.contains_key(&dispatch.pipeline) {
                let pipeline = make_pipeline(device, &dispatch.pipeline);
                self.pipelines.insert(dispatch.pipeline.clone(), pipeline);
            }
            bound.push(self.bind(dispatch)?);
        }
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..repeats {
                for (dispatch, group) in dispatches.iter().zip(&bound) {
                    if let Some(pipeline) = self.pipelines.get(&dispatch.pipeline) {
                        pass.set_pipeline(&pipeline.pipeline);
                        pass.set_bind_group(0, group, &[]);
                        let [x, y, z] = dispatch.workgroups;
                        pass.dispatch_workgroups(x, y, z);
                    }
                }
            }
        }
        let start = Instant::now();
        self.gpu.queue().submit([encoder.finish()]);
        self.wait()?;
        let taken = start.elapsed();
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(GpuError::Refused { what: "a product".to_owned(), reason: error.to_string() }),
            None => Ok(taken),
        }
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

    fn bind(&self, dispatch: &Dispatch) -> Result<wgpu::BindGroup, GpuError> {
        let device = self.gpu.device();
        let bytes: &[u8] = bytemuck::cast_slice(&dispatch.uniforms);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = (bytes.len() as u64).next_multiple_of(16);
        let uniforms =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        self.gpu.queue().write_buffer(&uniforms, 0, bytes);
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniforms.as_entire_binding() }];
        for (binding, name) in (1..).zip(&dispatch.buffers) {
            let reason = format!("{name:?} is not there");
            let missing = || GpuError::Refused { what: "a product".to_owned(), reason };
            let buffer = self.buffers.get(name).ok_or_else(missing)?;
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        let Some(pipeline) = self.pipelines.get(&dispatch.pipeline) else {
            return Err(GpuError::Refused { what: "a product".to_owned(), reason: "no pipeline".to_owned() });
        };
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
        Ok(device.create_bind_group(&descriptor))
    }
}

fn make_pipeline(device: &wgpu::Device, key: &PipelineKey) -> Pipeline {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    let storage = |access: &Access| wgpu::BufferBindingType::Storage { read_only: *access == Access::Read };
    entries.extend((1..).zip(key.shader.bindings).map(|(binding, access)| entry(binding, storage(access))));
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(key.shader.name),
        source: wgpu::ShaderSource::Wgsl(key.shader.source.into()),
    });
    let constants: Vec<(&str, f64)> = key.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(key.shader.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(key.shader.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline { pipeline, layout }
}
