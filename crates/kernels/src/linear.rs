//! `norm(act(x·W + b) + residual)` in one pass.

use crate::LayerNorm;

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
}

/// What follows a product: `out = norm(act(x·W + b) + residual)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Applied to the product with its bias.
    pub activation: Activation,
    /// Added to that, `[rows, n]`.
    pub residual: Option<&'a [f32]>,
    /// Applied to complete rows at the end.
    pub norm: Option<&'a LayerNorm>,
}
