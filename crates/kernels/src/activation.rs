//! Activations, and what they make of slices.

use crate::Isa;
use crate::vector;

/// What becomes of a product, number by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `x·Φ(x)`, as in ONNX Gelu with `approximate="none"`.
    Gelu,
    /// The approximation of it by a hyperbolic tangent, as in ONNX Gelu with `approximate="tanh"`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x / (1 + e^-x)`, as in ONNX Swish with `alpha = 1`.
    Silu,
}

/// Each number through the activation.
pub(crate) fn apply(isa: Isa, activation: Activation, numbers: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Gelu => vector::gelu(isa, numbers),
        Activation::GeluTanh => vector::gelu_tanh(isa, numbers),
        Activation::Relu => vector::relu(isa, numbers),
        Activation::Tanh => vector::tanh(isa, numbers),
        Activation::Silu => vector::silu(isa, numbers),
    }
}

/// Adds `others` to `numbers`.
pub(crate) fn add(numbers: &mut [f32], others: &[f32]) {
    for (number, other) in numbers.iter_mut().zip(others) {
        *number += other;
    }
}
