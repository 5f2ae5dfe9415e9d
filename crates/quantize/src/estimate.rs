//! Estimates the quantization error of a layer's output from weights and activations, without running the model.

use crate::Result;
use crate::calibrate::{Activation, Activations};
use crate::numbers::{Int8Channels, Range, quantize_columns, quantize_rows, transpose};
use crate::source::{Layer, LayerKind, Mode, Source};
use crate::write::Ranges;
use tract_onnx::prelude::f16;

impl Source {
    /// The noise of each layer's output relative to the output, as mean squares, assuming independent channels of the
    /// activation: `(Σₖ E[xₖ²]·Σₙ ΔWₖₙ² + step²/12 · ΣW²) / Σₖ E[xₖ²]·Σₙ Wₖₙ²`. Only a cheap hint at which layers to measure first.
    ///
    /// # Errors
    /// Errors of reading the weights.
    pub fn estimate_noise(&self, activations: &Activations, ranges: &Ranges) -> Result<Vec<f64>> {
        self.layers().iter().map(|layer| self.estimate_layer(layer, activations, ranges)).collect()
    }

    fn estimate_layer(&self, layer: &Layer, activations: &Activations, ranges: &Ranges) -> Result<f64> {
        let floats = self.weights_of(layer)?;
        let (values, columns) = match *floats.dims.as_slice() {
            [rows, columns] if layer.transposed => (transpose(&floats.values, rows, columns), rows),
            [_, columns] => (floats.values, columns),
            _ => {
                let count = floats.values.len();
                (floats.values, count)
            }
        };
        let rounded = round_trip(&values, columns, layer.kind, self.mode());
        let inputs = self.inputs_of(layer);
        let input = inputs.first().and_then(|name| Some((name, activations.get(name)?)));
        let power = |row: usize| input.and_then(|(_, x)| x.channel_power(row)).unwrap_or(1.0);
        let (mut noise, mut signal, mut squares) = (0.0, 0.0, 0.0);
        for (row, (old, new)) in
            values.chunks_exact(columns.max(1)).zip(rounded.chunks_exact(columns.max(1))).enumerate()
        {
            let error: f64 = old.iter().zip(new).map(|(old, new)| f64::from(old - new).powi(2)).sum();
            let square: f64 = old.iter().map(|&value| f64::from(value).powi(2)).sum();
            noise += power(row) * error;
            signal += power(row) * square;
            squares += square;
        }
        if let Some((name, activation)) = input.filter(|_| self.mode() != Mode::Fp16) {
            let step_square = match ranges.get(name) {
                Some(range) => step_square(*range),
                None => activation.span_square_mean() / 255.0f64.powi(2),
            };
            noise += step_square / 12.0 * squares;
        }
        Ok(noise / signal.max(f64::MIN_POSITIVE))
    }
}

fn step_square(range: Range) -> f64 {
    f64::from(range.scale_and_zero().0).powi(2)
}

/// The weights of the quantized model.
fn round_trip(values: &[f32], columns: usize, kind: LayerKind, mode: Mode) -> Vec<f32> {
    let columns = columns.max(1);
    match (mode, kind) {
        (Mode::Fp16, _) => values.iter().map(|&value| f16::from_f32(value).to_f32()).collect(),
        (_, LayerKind::Embedding) => {
            let Int8Channels { values, scales } = quantize_rows(values, columns);
            values.iter().enumerate().map(|(place, &int8)| f32::from(int8) * scales[place / columns]).collect()
        }
        _ => {
            let Int8Channels { values, scales } = quantize_columns(values, columns);
            values.iter().enumerate().map(|(place, &int8)| f32::from(int8) * scales[place % columns]).collect()
        }
    }
}

impl Activation {
    /// Mean square of one channel.
    fn channel_power(&self, channel: usize) -> Option<f64> {
        self.channel_squares.get(channel).map(|sum| sum / self.vectors.max(1) as f64)
    }
}
