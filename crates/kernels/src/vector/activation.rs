//! Activations over slices, in place.

use super::dispatch::dispatch;
use super::functions;
use super::simd::{LANES_MAX, Operation, Simd};
use crate::Isa;

/// Replaces each x by x·Φ(x), Φ the normal distribution function: ONNX Gelu, `approximate = "none"`. Within 2e-6 of max(1, |x|).
pub fn gelu(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Map { x, function: Gelu });
}

/// Replaces each x by x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2: ONNX Gelu, `approximate = "tanh"`. Within 1e-6 of
/// max(1, |x|).
pub fn gelu_tanh(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Map { x, function: GeluTanh });
}

/// Replaces each x by tanh(x), within 5e-7.
pub fn tanh(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Map { x, function: Tanh });
}

/// Replaces each x by max(x, 0).
pub fn relu(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Map { x, function: Relu });
}

/// Replaces each x by x / (1 + e^-x), within 1e-6 of max(1, |x|): SiLU, also called Swish.
pub fn silu(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Map { x, function: Silu });
}

/// A function of one number.
trait Function: Copy {
    fn of<S: Simd>(self, s: S, x: S::V) -> S::V;
}

macro_rules! functions {
    ($($name:ident: |$s:ident, $x:ident| $value:expr;)+) => {
        $(#[derive(Clone, Copy)]
        struct $name;

        impl Function for $name {
            #[inline(always)]
            fn of<S: Simd>(self, $s: S, $x: S::V) -> S::V {
                $value
            }
        })+
    };
}

functions! {
    Gelu: |s, x| functions::gelu(s, x);
    GeluTanh: |s, x| functions::gelu_tanh(s, x);
    Tanh: |s, x| functions::tanh(s, x);
    Relu: |s, x| s.max(s.splat(0.0), x);
    Silu: |s, x| functions::silu(s, x);
}

struct Map<'a, F> {
    x: &'a mut [f32],
    function: F,
}

impl<F: Function> Operation for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut chunks = self.x.chunks_exact_mut(S::LANES);
        for chunk in chunks.by_ref() {
            // SAFETY: the chunk has `LANES` elements.
            unsafe { s.store(chunk.as_mut_ptr(), self.function.of(s, s.load(chunk.as_ptr()))) };
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let mut padded = [0.0; LANES_MAX];
            padded[..rest.len()].copy_from_slice(rest);
            // SAFETY: `padded` has at least `LANES` elements.
            unsafe { s.store(padded.as_mut_ptr(), self.function.of(s, s.load(padded.as_ptr()))) };
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
}
