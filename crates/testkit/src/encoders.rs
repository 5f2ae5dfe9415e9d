//! Random small encoders with ONNX Runtime's results at every length, made by `training/random_encoders.py`.

use crate::fixtures::fixtures_folder;
use crate::operators::{Values, take_values, unpack};
use grice_model::{Batch, Engine};
use serde::Deserialize;
use std::path::Path;

/// Tolerance for different orders of sums over several layers.
const ORDER: f32 = 1e-3;
/// Tolerance if activations are rounded to bytes: with one scale per token here, with one per tensor in ONNX Runtime.
const ROUNDING: f32 = 0.2;
/// Tolerance if both round in the same way: an activation at the edge between two steps may fall to either side.
const STEPS: f32 = 0.1;

/// One encoder.
pub struct Encoder {
    /// Its seed.
    pub name: String,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// Length of the longest sequence in tokens.
    pub longest: usize,
    /// Quantization of its weights and activations: `none`, `dynamic`, `static` or `static all`.
    pub quantizers: String,
    rows: Vec<Vec<u32>>,
    expected: Values,
    unrounded: Option<Values>,
}

#[derive(Deserialize)]
struct Index {
    encoders: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    longest: usize,
    rows: Vec<Vec<u32>>,
    quantizers: String,
    unrounded: bool,
    onnx: usize,
}

impl Encoder {
    /// The committed sample.
    pub fn all() -> Vec<Encoder> {
        Encoder::in_pack(&fixtures_folder().join("encoders.bin"))
    }

    /// The encoders in a pack.
    pub fn in_pack(path: &Path) -> Vec<Encoder> {
        let (index, mut rest) = unpack::<Index>(path);
        let encoders = index.encoders.into_iter().map(|entry| {
            let onnx = rest.drain(..entry.onnx).collect();
            let shape = [entry.rows.len(), 4];
            let expected = take_values(&mut rest, &shape);
            let unrounded = entry.unrounded.then(|| take_values(&mut rest, &shape));
            let Entry { name, longest, rows, quantizers, .. } = entry;
            Encoder { name, onnx, longest, quantizers, rows, expected, unrounded }
        });
        encoders.collect()
    }

    /// Runs every sequence alone, and all of them in one batch, also if the graph does not mask padding. The first answer that is too far
    /// from ONNX Runtime's for the sequence alone is an error. `fused` says whether the engine runs fused layers.
    ///
    /// # Errors
    /// The difference and its length; errors of the engine.
    pub fn compare(&self, engine: &mut impl Engine, fused: bool) -> Result<(), String> {
        let alone = self.rows.iter().map(|row| vec![row.clone()]);
        let mut first = 0;
        for rows in alone.chain([self.rows.clone()]) {
            let batch = Batch::pack(&rows).map_err(|error| error.to_string())?;
            let logits = engine.forward(&batch).map_err(|error| error.to_string())?;
            for (row, ids) in rows.iter().enumerate() {
                let place = (first + row) % self.rows.len();
                if let Some(difference) = self.difference(place, logits.row(row), fused) {
                    let beside = if rows.len() > 1 { " beside others" } else { "" };
                    return Err(format!("{} tokens{beside}: off by {difference}", ids.len()));
                }
            }
            first += rows.len();
        }
        Ok(())
    }

    /// The distance of a row of logits from the nearest correct answer, if it is too large.
    fn difference(&self, place: usize, found: &[f32], fused: bool) -> Option<f32> {
        let (rounded, unrounded) = match (self.quantizers.as_str(), fused) {
            ("none", _) => (ORDER, 0.0),
            (_, true) => (ROUNDING, ROUNDING),
            // Weights are stored as bytes, activations are not rounded.
            ("dynamic", false) => (STEPS, ORDER),
            (_, false) => (STEPS, 0.0),
        };
        let far = |expected: &Values| {
            let pairs = found.iter().zip(&expected.elements[place * 4..][..4]);
            // Written so that a NaN counts as far.
            pairs.fold(0.0f32, |far, (found, expected)| {
                let difference = (found - expected).abs() / expected.abs().max(1.0);
                if difference <= far { far } else { difference }
            })
        };
        let rounded_far = far(&self.expected);
        let is_near = rounded_far <= rounded || self.unrounded.as_ref().is_some_and(|values| far(values) <= unrounded);
        (!is_near).then_some(rounded_far)
    }
}
