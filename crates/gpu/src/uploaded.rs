//! Weights on a device, by number.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::recording::Buffer;

/// The weights, by number.
pub(crate) struct Uploaded {
    pub(crate) gpu: Gpu,
    weights: Vec<wgpu::Buffer>,
    pub(crate) nothing: wgpu::Buffer,
    bytes: u64,
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

/// Bytes of the largest buffer that a shader sees as a whole.
pub(crate) fn binding_bytes_max(gpu: &Gpu) -> u64 {
    let limits = gpu.device().limits();
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}
