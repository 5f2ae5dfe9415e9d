//! What the kernels compute, written as plainly as the formulas. Slow; the tests hold every instruction set to it.

mod attention;
mod embedding;
mod gate;
mod layer_norm;
mod linear;
#[cfg(not(target_family = "wasm"))]
mod nearest;
mod pages;
mod pooling;
mod rotary;
mod softmax;
mod stepwise;
mod vector;

pub use attention::*;
pub use embedding::*;
pub use gate::*;
pub use layer_norm::*;
pub use linear::*;
#[cfg(not(target_family = "wasm"))]
pub use nearest::*;
pub use pages::*;
pub use pooling::*;
pub use rotary::*;
pub use softmax::*;
pub use stepwise::*;
pub use vector::*;
