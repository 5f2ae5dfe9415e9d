//! `y = act(x · w + bias) + residual` as dispatches; 8-bit weights are preceded by the rows of x in 8 bits.

use super::shaders::{LINEAR, QUANTIZE_ROWS};
use super::{Arena, Buffer, Dispatch, PipelineKey, Recording, Step, View};
use grice_kernels::Activation;

/// Weights on the device, `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedWeights {
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) form: WeightForm,
    /// The numbers: f32 `[k, n]`, f16 `[k, n]` two to a word, or 8-bit integers `[⌈k / 4⌉, n]`, four of k to a word; n padded to fours.
    pub(crate) values: Buffer,
    /// The bias of each column, then its scale: f32 `[2, n]`, n padded to fours.
    pub(crate) columns: Buffer,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WeightForm {
    /// Single precision.
    F32,
    /// Half precision; sums in single.
    F16,
    /// 8-bit integers with a scale a column; each row of x gets one of its own, and sums are exact.
    Int8,
}

/// A product to record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    pub(crate) step: Step,
    /// `[m, k]`.
    pub(crate) x: View,
    pub(crate) weights: &'a PackedWeights,
    pub(crate) activation: Activation,
    /// `[m, n]`.
    pub(crate) residual: Option<View>,
    /// `[m, n]`; none of the operands lies in its buffer.
    pub(crate) y: View,
}

/// Records a product.
pub(crate) fn record_linear(recording: &mut Recording, linear: &Linear<'_>) {
    let Linear { step, x, weights, activation, residual, y } = *linear;
    let step = step.with_operations(2 * (x.rows * weights.k * weights.n) as u64);
    let (x, scales) = match weights.form {
        WeightForm::Int8 => {
            (quantize_rows(recording, Step { operations: 0, op: "quantize", ..step }, x), Buffer::Arena(Arena::Scales))
        }
        WeightForm::F32 | WeightForm::F16 => (x, Buffer::Nothing),
    };
    let columns4 = weights.n.div_ceil(4);
    let form = match weights.form {
        WeightForm::F32 => 0,
        WeightForm::F16 => 1,
        WeightForm::Int8 => 2,
    };
    let activation = match activation {
        Activation::Identity => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
        Activation::Tanh => 4,
    };
    let constants = vec![("ACTIVATION", activation), ("RESIDUAL", u32::from(residual.is_some())), ("WEIGHTS", form)];
    let added = residual.unwrap_or(View { buffer: Buffer::Nothing, ..y });
    recording.push(Dispatch {
        step,
        pipeline: PipelineKey { shader: &LINEAR, constants },
        buffers: vec![x.buffer, weights.values, weights.columns, added.buffer, y.buffer, scales],
        workgroups: [columns4.div_ceil(16) as u32, x.rows.div_ceil(4) as u32, 1],
        uniforms: [
            x.rows,
            weights.k,
            columns4,
            x.stride,
            x.offset,
            y.stride / 4,
            y.offset / 4,
            added.stride / 4,
            added.offset / 4,
        ]
        .map(|number| number as u32)
        .into(),
    });
}

/// The rows of `x` in 8 bits, as a view of words.
fn quantize_rows(recording: &mut Recording, step: Step, x: View) -> View {
    let words = x.columns.div_ceil(4);
    let (quantized, scales) = (Buffer::Arena(Arena::Quantized), Buffer::Arena(Arena::Scales));
    recording.push(Dispatch {
        step,
        pipeline: PipelineKey { shader: &QUANTIZE_ROWS, constants: Vec::new() },
        buffers: vec![x.buffer, quantized, scales],
        workgroups: [x.rows as u32, 1, 1],
        uniforms: [x.rows, x.columns, x.stride, x.offset, words].map(|number| number as u32).into(),
    });
    View { buffer: quantized, rows: x.rows, columns: words, stride: words, offset: 0 }
}
