//! The embedding as dispatches: rows of words that the processor gathered in `Wide`, embedded tokens out in `Hidden`.

use super::encoder::SCRATCH;
use super::shaders::EMBED;
use super::{Arena, Buffer, Dispatch, PipelineKey, Recording, Step, View};
use crate::error::GpuError;
use crate::gemm::Product;
use crate::model::{EmbeddingPlan, Model};
use crate::tune::Tiles;
use grice_kernels::Activation;

/// Records the sum of rows and its norm, and its projection if it has one, by way of `Attended`.
///
/// # Errors
/// As [`Product::record`] and [`Tiles::choose`].
pub(super) fn record_embedding(
    recording: &mut Recording,
    model: &Model,
    tokens: usize,
    tiles: &Tiles,
) -> Result<(), GpuError> {
    let hidden = model.hidden_view(Arena::Hidden, tokens);
    let Some(weights) = &model.embedding.projection else {
        record_sum(recording, &model.embedding, hidden);
        return Ok(());
    };
    let narrow = View::whole(Buffer::Arena(Arena::Attended), tokens, model.embedding.columns);
    record_sum(recording, &model.embedding, narrow);
    let (step, activation) = (Step::new(None, "project"), Activation::Identity);
    let product = Product { step, x: narrow, weights, activation, residual: None, y: hidden, scratch: SCRATCH };
    recording.multiply(&product, tiles)
}

/// Records the sum of rows and its norm. `Wide` holds the rows of the tokens' words as [`Form`](crate::model::Form) says, `Scales` the
/// factors of those in 8 bits, `Places` the position of each token if there are positions.
pub(super) fn record_sum(recording: &mut Recording, plan: &EmbeddingPlan, y: View) {
    let EmbeddingPlan { form, positions, parameters, constant, epsilon, .. } = plan;
    let arena_if = |is: bool, arena: Arena| if is { Buffer::Arena(arena) } else { Buffer::Nothing };
    let (table, rows) = positions.map_or((Buffer::Nothing, 1), |positions| (positions.table, positions.rows));
    let sides = [("POSITIONS", positions.is_some()), ("CONSTANT", *constant)];
    let mut constants = vec![("FORM", form.code())];
    constants.extend(sides.map(|(name, is)| (name, u32::from(is))));
    let sizes = [y.rows, y.columns, form.row_bytes(y.columns) / 4, y.stride, rows];
    let mut uniforms: Vec<u32> = sizes.iter().map(|&size| size as u32).collect();
    uniforms.push(epsilon.to_bits());
    recording.push(Dispatch {
        step: Step::new(None, "embed"),
        pipeline: PipelineKey { shader: &EMBED, constants },
        buffers: vec![
            Buffer::Arena(Arena::Wide),
            arena_if(form.has_scales(), Arena::Scales),
            arena_if(positions.is_some(), Arena::Places),
            table,
            *parameters,
            y.buffer,
        ],
        workgroups: [y.rows as u32, 1, 1],
        uniforms,
    });
}
