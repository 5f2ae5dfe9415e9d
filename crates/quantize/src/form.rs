//! What the weights of a checkpoint become.

use serde::Serialize;
use std::fmt;

/// The form of a checkpoint's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Dense layers in 8 bits with a scale for each output; activations are rounded while the model runs, with a scale for each token.
    Int8,
    /// Dense layers in 4 bits with a scale for each `group` of inputs of an output.
    Int4 {
        /// How many inputs make a group: a multiple of 8.
        group: usize,
    },
    /// Everything in IEEE half precision.
    Fp16,
    /// Everything in bfloat16.
    Bf16,
}

impl Form {
    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Form::Int8 => "int8",
            Form::Int4 { .. } => "int4",
            Form::Fp16 => "fp16",
            Form::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A dense layer whose weights stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftLayer {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}
