//! What the kernels compute, written as plainly as the formulas. Slow; the tests hold every instruction set to it.

mod attention;
mod embedding;
mod layer_norm;
mod linear;
mod softmax;
mod stepwise;
mod vector;

pub use attention::*;
pub use embedding::*;
pub use layer_norm::*;
pub use linear::*;
pub use softmax::*;
pub use stepwise::*;
pub use vector::*;
