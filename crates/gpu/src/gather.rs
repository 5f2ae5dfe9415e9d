//! The rows of words of a batch, from the processor's table straight to where the device fetches them.

use crate::buffers::Buffers;
use crate::error::GpuError;
use crate::model::Model;
use crate::plan::Inner;
use crate::recording::Arena;
use grice_kernels::{EmbeddingTable, Table};
use grice_model::Slot;

/// Writes what the recording of the embedding looks for. Ids are known to be rows of the table.
///
/// # Errors
/// [`GpuError::Refused`] where a buffer is missing or an id is beyond the table, [`GpuError::Lost`].
pub(crate) fn write_rows(plan: &Inner, buffers: &Buffers, ids: &[u32], cu_seqlens: &[u32]) -> Result<(), GpuError> {
    let Model { embedding, .. } = &plan.model;
    let (queue, words) = (plan.uploaded.gpu.queue(), plan.lookup.words());
    let refused = |reason: &str| GpuError::Refused { what: "the embedding".to_owned(), reason: reason.to_owned() };
    let row_bytes = embedding.form.row_bytes(embedding.columns);
    let size = wgpu::BufferSize::new((ids.len() * row_bytes) as u64);
    let size = size.ok_or_else(|| refused("a batch without tokens"))?;
    let Some(mut rows) = queue.write_buffer_with(buffers.arena(Arena::Slot(Slot::Wide))?, 0, size) else {
        plan.uploaded.gpu.ask_whether_lost()?;
        return Err(refused("its rows do not fit their buffer"));
    };
    for (token, &id) in ids.iter().enumerate() {
        let row = row_of(words, id as usize).ok_or_else(|| refused("an id beyond its table"))?;
        rows.slice(token * row_bytes..token * row_bytes + row.len()).copy_from_slice(row);
    }
    // What was written goes on its way when the view goes.
    drop(rows);
    if let Table::Int8 { scales, .. } = words.table() {
        let of_tokens: Option<Vec<f32>> = ids.iter().map(|&id| scales.get(id as usize).copied()).collect();
        let of_tokens = of_tokens.ok_or_else(|| refused("an id beyond its table"))?;
        queue.write_buffer(buffers.arena(Arena::Scales)?, 0, bytemuck::cast_slice(&of_tokens));
    }
    if embedding.positions.is_some() {
        let places = plan.lookup.places(ids, cu_seqlens, &[]);
        queue.write_buffer(buffers.arena(Arena::Places)?, 0, bytemuck::cast_slice(&places));
    }
    Ok(())
}

/// The bytes of a row as they are stored.
pub(crate) fn row_of(words: &EmbeddingTable, id: usize) -> Option<&[u8]> {
    let range = id.checked_mul(words.columns())?..id.checked_add(1)?.checked_mul(words.columns())?;
    Some(match words.table() {
        Table::Int8 { values, .. } => bytemuck::cast_slice(values.get(range)?),
        Table::F32(values) => bytemuck::cast_slice(values.get(range)?),
        Table::F16(bits) => bytemuck::cast_slice(bits.get(range)?),
        // A generator's; the tables of encoders are rows.
        Table::Columns(_) => return None,
    })
}
