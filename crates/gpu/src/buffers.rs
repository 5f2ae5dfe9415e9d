//! The buffers of an engine: as many bytes as a number of tokens asks for, allocated anew only when a batch outgrows them.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::quantized_bytes;
use crate::geometry::{BLOCK_QUERIES, Geometry};
use crate::model::{Model, stride};
use crate::recording::{Arena, Buffer, Recording};
use grice_model::{Extent, Slot};
use std::collections::{BTreeMap, HashMap};

/// Tokens run together: more are run in turn, since a device gains nothing by more at once.
const TOKENS_MAX: usize = 8192;
/// The least that is planned for.
const TOKENS_MIN: usize = 256;
const ROWS_MIN: usize = 8;
/// Bytes from one uniform block to the next: WebGPU's `minUniformBufferOffsetAlignment`.
pub(crate) const UNIFORM_BYTES: usize = 256;

/// What is planned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Tokens of all sequences.
    pub(crate) tokens: usize,
    /// Sequences.
    pub(crate) rows: usize,
    /// Calls of shaders in a pass.
    pub(crate) dispatches: usize,
    /// Sums over shares of k.
    pub(crate) shares_bytes: u64,
}

impl Capacity {
    /// What a pass asks for, in powers of two so that it is seldom outgrown, but with no more tokens than `tokens_max`.
    pub(crate) fn of(geometry: &Geometry, recording: &Recording, tokens_max: usize) -> Capacity {
        Capacity {
            tokens: geometry.tokens.next_power_of_two().max(TOKENS_MIN).min(tokens_max.max(geometry.tokens)),
            rows: geometry.rows().next_power_of_two().max(ROWS_MIN),
            dispatches: recording.dispatches.len().next_power_of_two(),
            shares_bytes: recording.shares_bytes.next_power_of_two(),
        }
    }

    /// What fits both.
    pub(crate) fn max(self, other: Capacity) -> Capacity {
        Capacity {
            tokens: self.tokens.max(other.tokens),
            rows: self.rows.max(other.rows),
            dispatches: self.dispatches.max(other.dispatches),
            shares_bytes: self.shares_bytes.max(other.shares_bytes),
        }
    }
}

/// The most tokens whose widest matrix fits a binding of so many bytes, were each a sequence.
pub(crate) fn tokens_max(model: &Model, binding_bytes_max: u64) -> usize {
    let one = Extent { tokens: 1, sequences: 1, pairs: 1, source_pairs: 0 };
    let widest = slot_bytes(model, &one).into_iter().map(|(_, bytes)| bytes).max().unwrap_or(1).max(1);
    usize::try_from(binding_bytes_max / widest).unwrap_or(usize::MAX).min(TOKENS_MAX)
}

/// Bytes of every buffer that steps name. `Wide` also takes the rows of words.
fn slot_bytes(model: &Model, extent: &Extent) -> Vec<(Slot, u64)> {
    let slots = model.steps.slots().into_iter().chain([Slot::Wide]);
    let bytes = slots.map(|slot| {
        let elements = model.steps.elements(slot, extent, stride) as u64;
        let words = if slot == Slot::Wide { model.embedding.form.row_bytes(model.embedding.columns) } else { 0 };
        (slot, (elements * 4).max((extent.tokens * words) as u64))
    });
    bytes.collect()
}

/// Bytes of every buffer for a capacity, on the device and for the way there and back.
pub(crate) fn plan_arenas(model: &Model, capacity: &Capacity) -> BTreeMap<Arena, u64> {
    let extent = Extent { tokens: capacity.tokens, sequences: capacity.rows, ..Extent::default() };
    let (tokens, rows) = (capacity.tokens as u64, capacity.rows as u64);
    let blocks = tokens / BLOCK_QUERIES as u64 + 2 * rows;
    let mut arenas = BTreeMap::from([
        (Arena::Blocks, blocks * 16),
        (Arena::Starts, rows * 4),
        (Arena::Uniforms, (capacity.dispatches * UNIFORM_BYTES) as u64),
        (Arena::Answers, rows * model.answers(1).stride as u64 * 4),
        (Arena::Shares, capacity.shares_bytes.max(16)),
    ]);
    arenas.extend(slot_bytes(model, &extent).into_iter().map(|(slot, bytes)| (Arena::Slot(slot), bytes)));
    let quantized = model.quantized_columns();
    if quantized > 0 {
        arenas.insert(Arena::Quantized, quantized_bytes(capacity.tokens, quantized));
    }
    if quantized > 0 || model.embedding.form.has_scales() {
        arenas.insert(Arena::Scales, tokens * 4);
    }
    if model.embedding.positions.is_some() {
        arenas.insert(Arena::Places, tokens * 4);
    }
    arenas
}

/// Allocated buffers, and bind groups over them.
pub(crate) struct Buffers {
    capacity: Capacity,
    arenas: HashMap<Arena, wgpu::Buffer>,
    groups: HashMap<(&'static str, Vec<Buffer>), wgpu::BindGroup>,
    bytes: u64,
}

impl Buffers {
    /// Allocates what a capacity asks for.
    ///
    /// # Errors
    /// [`GpuError::Limit`] for what no buffer of the device holds, [`GpuError::OutOfMemory`].
    pub(crate) async fn allocate(gpu: &Gpu, model: &Model, capacity: Capacity) -> Result<Buffers, GpuError> {
        let plan = plan_arenas(model, &capacity);
        let limits = gpu.device().limits();
        let limit = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        if let Some((arena, &needed)) = plan.iter().find(|(_, bytes)| **bytes > limit) {
            let what = format!("{arena:?} of {} tokens", capacity.tokens);
            return Err(GpuError::Limit { what, needed, limit, name: "maxStorageBufferBindingSize" });
        }
        let bytes = plan.values().sum();
        let allocate = || {
            let buffers = plan.iter().map(|(&arena, &size)| (arena, make_buffer(gpu.device(), arena, size)));
            Ok(buffers.collect())
        };
        let arenas = gpu.attempt(&format!("{} tokens", capacity.tokens), bytes, allocate).await?;
        Ok(Buffers { capacity, arenas, groups: HashMap::new(), bytes })
    }

    /// What it was allocated for.
    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The buffer of a role that the plan has.
    ///
    /// # Errors
    /// [`GpuError::Refused`] if it has none.
    pub(crate) fn arena(&self, arena: Arena) -> Result<&wgpu::Buffer, GpuError> {
        let missing = || GpuError::Refused { what: format!("{arena:?}"), reason: "it was not planned for".to_owned() };
        self.arenas.get(&arena).ok_or_else(missing)
    }

    /// The bind group made before for a shader and these buffers, or a new one.
    pub(crate) fn group(
        &mut self,
        shader: &'static str,
        buffers: &[Buffer],
        make: impl FnOnce(&Buffers) -> Result<wgpu::BindGroup, GpuError>,
    ) -> Result<wgpu::BindGroup, GpuError> {
        let key = (shader, buffers.to_vec());
        if let Some(group) = self.groups.get(&key) {
            return Ok(group.clone());
        }
        let group = make(self)?;
        self.groups.insert(key, group.clone());
        Ok(group)
    }
}

fn make_buffer(device: &wgpu::Device, arena: Arena, bytes: u64) -> wgpu::Buffer {
    use wgpu::BufferUsages as Usages;
    let usage = match arena {
        Arena::Uniforms => Usages::UNIFORM | Usages::COPY_DST,
        Arena::Answers => Usages::MAP_READ | Usages::COPY_DST,
        _ => Usages::STORAGE | Usages::COPY_DST | Usages::COPY_SRC,
    };
    let label = format!("{arena:?}");
    let size = bytes.next_multiple_of(16);
    device.create_buffer(&wgpu::BufferDescriptor { label: Some(&label), size, usage, mapped_at_creation: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lengths: &[u32], tokens_max: usize, expected: (usize, usize)) {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        let recording = Recording { dispatches: Vec::new(), shares_bytes: 1000 };
        let capacity = Capacity::of(&Geometry::new(&offsets), &recording, tokens_max);
        assert_eq!((capacity.tokens, capacity.rows, capacity.shares_bytes), (expected.0, expected.1, 1024));
    }

    #[test]
    fn capacities_grow_in_steps_up_to_the_limit() {
        check(&[1], 8192, (256, 8));
        check(&[128; 8], 8192, (1024, 8));
        check(&[128; 9], 8192, (2048, 16));
        check(&[512; 12], 7000, (7000, 16));
        check(&[1; 100], 8192, (256, 128));
        let small = Capacity { tokens: 1, rows: 9, dispatches: 3, shares_bytes: 0 };
        let other = Capacity { tokens: 2, rows: 1, dispatches: 3, shares_bytes: 8 };
        assert_eq!(small.max(other), Capacity { tokens: 2, rows: 9, dispatches: 3, shares_bytes: 8 });
    }
}
