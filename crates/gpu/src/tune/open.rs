//! The choices for the products of a model on a device: checked and timed before its first batch.

use super::device_timer::Budget;
use super::{Class, Shape, Tiles, check};
use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::{Abilities, Weights};
use crate::tuning::Tuning;
use grice_model::Precision;

/// Rows that are timed; those between get what the next larger one got.
const ROWS: [usize; 6] = [1, 8, 32, 128, 512, 2048];

impl Tiles {
    /// Choices for products with `weights`. Cooperative matrices are among them only if they make the right products here; what was of no use is
    /// told to the device, for whoever asks it.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub(crate) fn open(gpu: &Gpu, weights: &[&Weights]) -> Result<Tiles, GpuError> {
        let is_half = weights.iter().any(|weights| weights.precision == Precision::Fp16);
        let mut abilities = gpu.abilities();
        if let Some(fragments) = abilities.cooperative {
            let fault = match is_half {
                true => check::cooperative_fault(gpu, fragments, &abilities)?,
                false => None,
            };
            if let Some(fault) = &fault {
                gpu.warn(format!("cooperative matrices are not used: {fault}"));
            }
            abilities = Abilities { cooperative: (is_half && fault.is_none()).then_some(fragments), ..abilities };
        }
        let mut tiles = Tiles::new(Class::of(gpu.adapter()), abilities);
        let wanted = match gpu.settings().tuning {
            Tuning::Auto => tiles.class != Class::Software && gpu.settings().cache.is_some(),
            Tuning::Off => false,
            Tuning::Always => true,
        };
        if wanted {
            let mut shapes: Vec<Shape> = Vec::new();
            for (weights, rows) in weights.iter().flat_map(|weights| ROWS.map(|rows| (weights, rows))) {
                let shape = Shape { precision: weights.precision, rows, k: weights.k, n: weights.n };
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
            // Those that most batches have come first, should time run out.
            shapes.sort_by_key(|shape| shape.rows.abs_diff(128));
            let warnings = tiles.time(gpu, &shapes, Budget::default(), gpu.settings().cache.as_deref())?;
            warnings.into_iter().for_each(|warning| gpu.warn(warning));
        }
        Ok(tiles)
    }
}
