//! What the kernels compute, written as plainly as the formulas. Slow; the tests hold every instruction set to it.

mod linear;
mod vector;

pub use linear::*;
pub use vector::*;
