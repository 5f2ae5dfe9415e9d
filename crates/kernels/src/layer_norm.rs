//! Layer normalisation over the last axis.

/// The parameters of a layer normalisation: `(x - mean) / sqrt(variance + epsilon) · gamma + beta` over a row, as in ONNX
/// LayerNormalization.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// One factor a column.
    pub gamma: Vec<f32>,
    /// One summand a column.
    pub beta: Vec<f32>,
    /// Added to the variance, so that a constant row does not divide by zero.
    pub epsilon: f32,
}
