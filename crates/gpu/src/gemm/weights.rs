//! Weights in the order in which the shaders read them.

use super::method::WORKGROUPS_MAX;
use crate::error::GpuError;
use crate::recording::Buffer;
use grice_model::{Linear, Matrix, Precision, Values};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The largest `k` whose sums of products of 8-bit integers, 127 · 128 each, stay below 2³¹.
const INT8_K_MAX: usize = 132_000;
/// Columns of the narrowest tile.
const TILE_COLUMNS_MIN: usize = 32;

/// Dense layers side by side, `[k, n]`, ready to be uploaded.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    pub(crate) precision: Precision,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Columns of all, in order; more than one part if they are too large for one buffer.
    pub(crate) parts: Vec<PackedPart>,
}

/// Some columns of the weights.
#[derive(Debug)]
pub(crate) struct PackedPart {
    /// Which ones.
    pub(crate) range: Range<usize>,
    /// f32: `[k, columns]`, a number a word. f16: the same, two numbers a word. 8 bits: `[k / 4, columns]`, four numbers along k a word.
    /// Columns are padded to fours, k to fours (8 bits: to sixteens), with zeros.
    pub(crate) words: Vec<u32>,
    /// Bits of f32 `[2, columns]`: biases, then the scales of 8-bit columns (zeros otherwise).
    pub(crate) columns: Vec<u32>,
}

/// Weights on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Weights {
    pub(crate) precision: Precision,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) parts: Vec<WeightPart>,
}

/// Some columns of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WeightPart {
    /// Which ones; starts at a multiple of four.
    pub(crate) range: Range<usize>,
    pub(crate) weights: Buffer,
    pub(crate) columns: Buffer,
}

impl PackedWeights {
    /// Packs layers of the same inputs side by side. If all are of one precision they stay so; otherwise all become f32.
    ///
    /// # Errors
    /// Layers of different inputs, or with more of them than exact sums allow; columns that are too long for a buffer.
    pub(crate) fn pack(step: &str, layers: &[&Linear], binding_bytes_max: u64) -> Result<PackedWeights, GpuError> {
        let refuse = |reason: String| GpuError::Lowering { step: step.to_owned(), reason };
        let (k, n) =
            (layers.first().map_or(0, |layer| layer.inputs()), layers.iter().map(|layer| layer.outputs()).sum());
        if k == 0 || n == 0 || layers.iter().any(|layer| layer.inputs() != k) {
            return Err(refuse(format!("its layers take {k} inputs, and others")));
        }
        let precision = common_precision(layers);
        if precision == Precision::Int8 && k > INT8_K_MAX {
            return Err(refuse(format!("8-bit weights of {k} inputs do not add up exactly; at most {INT8_K_MAX} do")));
        }
        let (rows, row_bytes) = row_of_words(precision, k);
        let column_bytes = rows as u64 * row_bytes;
        let columns_max = binding_bytes_max / column_bytes / 4 * 4;
        if columns_max == 0 {
            let (what, name) = (format!("a column of the weights of {step}"), "max_storage_buffer_binding_size");
            return Err(GpuError::Limit { what, needed: 4 * column_bytes, limit: binding_bytes_max, name });
        }
        let columns_max = (columns_max as usize).min(WORKGROUPS_MAX as usize * TILE_COLUMNS_MIN);
        let starts = (0..n).step_by(columns_max);
        let parts = starts.map(|start| pack_part(layers, precision, start..n.min(start + columns_max))).collect();
        Ok(PackedWeights { precision, k, n, parts })
    }

    /// Bytes of all parts.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| 4 * (part.words.len() + part.columns.len()) as u64).sum()
    }

    /// The weights where `upload` puts their words.
    pub(crate) fn upload<E>(self, mut upload: impl FnMut(Vec<u32>) -> Result<Buffer, E>) -> Result<Weights, E> {
        let (precision, k, n) = (self.precision, self.k, self.n);
        let mut parts = Vec::with_capacity(self.parts.len());
        for PackedPart { range, words, columns } in self.parts {
            let weights = upload(words)?;
            parts.push(WeightPart { range, weights, columns: upload(columns)? });
        }
        Ok(Weights { precision, k, n, parts })
    }
}

/// Rows of words that `k` takes, and bytes that a column takes in one.
pub(crate) fn row_of_words(precision: Precision, k: usize) -> (usize, u64) {
    match precision {
        // No shader multiplies by 4-bit weights: they are uploaded as numbers.
        Precision::Fp32 | Precision::Int4 => (k.next_multiple_of(4), 4),
        Precision::Fp16 => (k.next_multiple_of(4), 2),
        Precision::Int8 => (k.next_multiple_of(16) / 4, 4),
    }
}

fn common_precision(layers: &[&Linear]) -> Precision {
    // Scales along k do not come out of a sum; zeros do, but no shader takes them off.
    let precision = |layer: &&Linear| match layer.weights.values() {
        Values::F32(_) | Values::Int8Rows { .. } | Values::Int8Shifted { .. } | Values::Int4Groups { .. } => {
            Precision::Fp32
        }
        Values::F16(_) => Precision::Fp16,
        Values::Int8Columns { .. } => Precision::Int8,
    };
    let first = layers.first().map_or(Precision::Fp32, precision);
    if layers.iter().all(|layer| precision(layer) == first) { first } else { Precision::Fp32 }
}

fn pack_part(layers: &[&Linear], precision: Precision, range: Range<usize>) -> PackedPart {
    let padded = range.len().next_multiple_of(4);
    let k = layers.first().map_or(0, |layer| layer.inputs());
    let (rows, row_bytes) = row_of_words(precision, k);
    let mut words = vec![0u32; rows * padded * row_bytes as usize / 4];
    let mut columns = vec![0u32; 2 * padded];
    let mut first = 0;
    for layer in layers {
        // The columns of this layer that fall into the part, counted in the layer and in the part.
        let from = range.start.clamp(first, first + layer.outputs()) - first;
        let to = range.end.clamp(first, first + layer.outputs()) - first;
        if from < to {
            let place = Place { from, to, at: first + from - range.start, padded };
            place.copy(&layer.weights, precision, &mut words);
            if let Some(bias) = &layer.bias {
                columns[place.at..][..to - from].copy_from_slice(bytemuck::cast_slice(&bias[from..to]));
            }
            if let (Precision::Int8, Values::Int8Columns { scales, .. }) = (precision, layer.weights.values()) {
                columns[padded + place.at..][..to - from].copy_from_slice(bytemuck::cast_slice(&scales[from..to]));
            }
        }
        first += layer.outputs();
    }
    PackedPart { range, words, columns }
}

/// Columns `from..to` of a layer, which begin at column `at` of a part that is `padded` wide.
struct Place {
    from: usize,
    to: usize,
    at: usize,
    padded: usize,
}

impl Place {
    fn copy(&self, matrix: &Matrix, precision: Precision, words: &mut [u32]) {
        match (precision, matrix.values()) {
            (Precision::Fp16, Values::F16(values)) => {
                self.copy_rows(values, matrix.columns(), bytemuck::cast_slice_mut(words));
            }
            (Precision::Int8, Values::Int8Columns { values, .. }) => {
                let bytes: &mut [i8] = bytemuck::cast_slice_mut(words);
                for (row, values) in values.chunks_exact(matrix.columns()).enumerate() {
                    let places = bytes[(row / 4 * self.padded + self.at) * 4 + row % 4..].iter_mut().step_by(4);
                    for (place, &value) in places.zip(&values[self.from..self.to]) {
                        *place = value;
                    }
                }
            }
            (_, Values::F32(values)) => self.copy_rows(values, matrix.columns(), bytemuck::cast_slice_mut(words)),
            _ => self.copy_rows(&matrix.to_f32(), matrix.columns(), bytemuck::cast_slice_mut(words)),
        }
    }

    fn copy_rows<T: Copy>(&self, values: &[T], columns: usize, out: &mut [T]) {
        for (row, values) in values.chunks_exact(columns).enumerate() {
            out[row * self.padded + self.at..][..self.to - self.from].copy_from_slice(&values[self.from..self.to]);
        }
    }
}
