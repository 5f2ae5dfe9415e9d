//! What layers make of constants, computed once at load; the same bits on every machine, since activations beside it may be rounded to bytes.

use crate::weights::Linear;
use grice_kernels::{
    Activation, Epilogue, Kernels, LayerNorm, PackedLinear, Rounding, ShapeError, WeightData, WeightPart,
};

/// Normalises the rows of `x` in place.
pub(crate) fn normalize(x: &mut [f32], norm: &LayerNorm) -> Result<(), ShapeError> {
    let rows = x.len() / norm.gamma.len().max(1);
    Kernels::new(1).layer_norm_in_place(x, rows, norm)
}

/// `x · weights + bias` in single precision: `[rows, inputs]` → `out`, `[rows, outputs]`.
pub(crate) fn project(x: &[f32], linear: &Linear, out: &mut [f32]) -> Result<(), ShapeError> {
    let kernels = Kernels::new(1);
    let weights = linear.weights.to_f32();
    let part = WeightPart { n: linear.outputs(), data: WeightData::F32(&weights), bias: linear.bias.as_deref() };
    let packed = PackedLinear::pack(kernels.isa(), linear.inputs(), &[part], Rounding::Stepwise)?;
    let epilogue = Epilogue { activation: Activation::Identity, residual: None, norm: None };
    kernels.linear(x, x.len() / linear.inputs().max(1), &packed, &epilogue, out)
}
