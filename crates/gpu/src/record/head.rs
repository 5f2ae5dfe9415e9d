//! The head as dispatches: hidden states of token 0 in `Attended`, logits out where [`Model::answers`] says.

use super::encoder::SCRATCH;
use super::{Arena, Buffer, Recording, Step, View};
use crate::error::GpuError;
use crate::gemm::Product;
use crate::model::Model;
use crate::tune::Tiles;

/// Records the head's products, none where the processor makes them.
///
/// # Errors
/// As [`Product::record`] and [`Tiles::choose`].
pub(super) fn record_head(
    recording: &mut Recording,
    model: &Model,
    rows: usize,
    tiles: &Tiles,
) -> Result<(), GpuError> {
    let mut x = model.hidden_view(Arena::Attended, rows);
    for (number, dense) in model.head.iter().enumerate() {
        let y = View::whole(Buffer::Arena(Arena::of_head(number)), rows, dense.weights.n);
        let (step, weights, activation) = (Step::new(None, "head"), &dense.weights, dense.activation);
        recording.multiply(&Product { step, x, weights, activation, residual: None, y, scratch: SCRATCH }, tiles)?;
        x = y;
    }
    Ok(())
}
