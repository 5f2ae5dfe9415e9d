//! `f32` vectors of every instruction set behind one trait, and the element-wise functions written on it.
//!
//! A kernel is an `Operation` with one generic `run`; `dispatch` picks the instruction set once a call. Everything between
//! the two is `#[inline(always)]`, closures are avoided: that is how the vector instructions come to stand inside the one
//! function that has the target feature enabled.

mod activation;
mod dispatch;
mod functions;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod simd;
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activation::{gelu, gelu_tanh, relu, silu, tanh};
pub(crate) use dispatch::dispatch;
pub(crate) use functions::{
    Sum, add_to, exp2_of_negative, exp2_of_negative_in_steps, softmax_row, squared_distances_of, sums_of,
};
pub(crate) use simd::{LANES_MAX, Operation, Simd};

#[cfg(test)]
mod tests;
