//! One lane of plain Rust.

use super::simd::{LANES_MAX, Operation, Simd};

/// Plain Rust, which every processor runs.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Simd for Scalar {
    type V = f32;
    const LANES: usize = 1;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> f32 {
        // SAFETY: the caller's.
        unsafe { from.read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: f32) {
        // SAFETY: the caller's.
        unsafe { to.write_unaligned(x) }
    }

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }

    // Not `f32::mul_add`: without the instruction that is a call into the maths library.
    #[inline(always)]
    fn mul_add_fused(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if one_at_a_time(a) < b { a } else { b }
    }

    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if one_at_a_time(a) > b { a } else { b }
    }

    #[inline(always)]
    fn if_less(self, a: f32, b: f32, then: f32, otherwise: f32) -> f32 {
        if a < b { then } else { otherwise }
    }

    #[inline(always)]
    fn exp2_shifted(self, n: f32) -> f32 {
        f32::from_bits((n.to_bits() << 23).wrapping_add(127 << 23))
    }

    #[inline(always)]
    fn sum(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn largest(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, _stride: usize) {
        // SAFETY: the caller's; the square has one element.
        unsafe { *to = if ADD { *to + *rows[0] } else { *rows[0] } }
    }

    #[inline(never)]
    fn call<O: Operation>(self, operation: O) -> O::Output {
        operation.run(self)
    }
}

/// Keeps the compiler from making vectors of a comparison where it would make relaxed ones of them, which drop what is not a number.
/// No module with relaxed SIMD runs this code but to test it.
#[inline(always)]
fn one_at_a_time(x: f32) -> f32 {
    if cfg!(target_feature = "relaxed-simd") { std::hint::black_box(x) } else { x }
}
