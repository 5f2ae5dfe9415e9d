//! Products of constants, computed once at load.

use crate::weights::Linear;
use grice_kernels::{Activation, Epilogue, Kernels, PackedLinear, ShapeError, WeightData, WeightPart};

/// `x · weights + bias` in single precision: `[rows, inputs]` → `out`, `[rows, outputs]`.
pub(crate) fn project(x: &[f32], linear: &Linear, out: &mut [f32]) -> Result<(), ShapeError> {
    let kernels = Kernels::new(1);
    let weights = linear.weights.to_f32();
    let part = WeightPart { n: linear.outputs(), data: WeightData::F32(&weights), bias: linear.bias.as_deref() };
    let packed = PackedLinear::pack(kernels.isa(), linear.inputs(), &[part])?;
    let epilogue = Epilogue { activation: Activation::Identity, residual: None, norm: None };
    kernels.linear(x, x.len() / linear.inputs().max(1), &packed, &epilogue, out)
}
