//! A recording onto the device: one encoder, one pass, one submission, and one copy of what is read back.

use crate::buffers::{Buffers, UNIFORM_BYTES};
use crate::error::GpuError;
use crate::recording::{Arena, Buffer, Dispatch, Recording, UNIFORM_WORDS};
use crate::timing::Timing;
use crate::uploaded::Uploaded;

/// Encodes and submits dispatches, and the copy of the first `answer_bytes` of `from` to where they are read. With `timing`
/// each dispatch is a pass of its own, between two timestamps.
///
/// # Errors
/// [`GpuError`] where a buffer is not there; what the device has against it, it says later.
pub(crate) fn submit(
    uploaded: &Uploaded,
    buffers: &mut Buffers,
    recording: &Recording,
    from: Buffer,
    answer_bytes: u64,
    timing: Option<&Timing>,
) -> Result<(), GpuError> {
    let gpu = &uploaded.gpu;
    gpu.queue().write_buffer(buffers.arena(Arena::Uniforms)?, 0, &uniform_bytes(recording));
    let mut bound = Vec::with_capacity(recording.dispatches.len());
    for dispatch in &recording.dispatches {
        let pipeline = gpu.pipelines().get(gpu.device(), &dispatch.pipeline);
        let shader = dispatch.pipeline.shader.name;
        let group =
            buffers.group(shader, &dispatch.buffers, |buffers| bind(uploaded, buffers, dispatch, &pipeline.layout))?;
        bound.push((pipeline, group));
    }
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("forward") });
    let run = |pass: &mut wgpu::ComputePass<'_>, index: usize| {
        let (pipeline, group) = &bound[index];
        let [x, y, z] = recording.dispatches[index].workgroups;
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, group, &[(index * UNIFORM_BYTES) as u32]);
        pass.dispatch_workgroups(x, y, z);
    };
    match timing {
        None => {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            (0..bound.len()).for_each(|index| run(&mut pass, index));
        }
        Some(timing) => {
            for index in 0..bound.len() {
                let mut pass = encoder.begin_compute_pass(&timing.pass(index));
                run(&mut pass, index);
            }
            timing.resolve(&mut encoder);
        }
    }
    encoder.copy_buffer_to_buffer(find(uploaded, buffers, from)?, 0, buffers.arena(Arena::Answers)?, 0, answer_bytes);
    gpu.queue().submit([encoder.finish()]);
    Ok(())
}

/// All uniform blocks, each where its dispatch looks for it.
fn uniform_bytes(recording: &Recording) -> Vec<u8> {
    let mut bytes = vec![0; recording.dispatches.len() * UNIFORM_BYTES];
    for (block, dispatch) in bytes.chunks_exact_mut(UNIFORM_BYTES).zip(&recording.dispatches) {
        let words = &dispatch.uniforms[..dispatch.uniforms.len().min(UNIFORM_WORDS)];
        block[..4 * words.len()].copy_from_slice(bytemuck::cast_slice(words));
    }
    bytes
}

fn find<'a>(uploaded: &'a Uploaded, buffers: &'a Buffers, buffer: Buffer) -> Result<&'a wgpu::Buffer, GpuError> {
    match buffer {
        Buffer::Weight(number) => uploaded.weight(number),
        Buffer::Arena(arena) => buffers.arena(arena),
        Buffer::Nothing => Ok(&uploaded.nothing),
    }
}

fn bind(
    uploaded: &Uploaded,
    buffers: &Buffers,
    dispatch: &Dispatch,
    layout: &wgpu::BindGroupLayout,
) -> Result<wgpu::BindGroup, GpuError> {
    let block = wgpu::BufferBinding {
        buffer: buffers.arena(Arena::Uniforms)?,
        offset: 0,
        size: wgpu::BufferSize::new(4 * UNIFORM_WORDS as u64),
    };
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(block) }];
    for (index, buffer) in dispatch.buffers.iter().enumerate() {
        let buffer = find(uploaded, buffers, *buffer)?;
        entries.push(wgpu::BindGroupEntry { binding: index as u32 + 1, resource: buffer.as_entire_binding() });
    }
    let label = Some(dispatch.pipeline.shader.name);
    Ok(uploaded.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor { label, layout, entries: &entries }))
}
