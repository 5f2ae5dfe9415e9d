//! Activations over slices.

use crate::Isa;
use crate::linear::Activation;
use crate::vector;

/// Each number through the activation.
pub(crate) fn apply(isa: Isa, activation: Activation, numbers: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Gelu => vector::gelu(isa, numbers),
        Activation::GeluTanh => vector::gelu_tanh(isa, numbers),
        Activation::Relu => vector::relu(isa, numbers),
        Activation::Tanh => vector::tanh(isa, numbers),
    }
}

/// Adds `others` to `numbers`.
pub(crate) fn add(numbers: &mut [f32], others: &[f32]) {
    for (number, other) in numbers.iter_mut().zip(others) {
        *number += other;
    }
}
