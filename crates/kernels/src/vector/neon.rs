//! NEON.

use super::simd::{LANES_MAX, Operation, Simd};
use std::arch::aarch64::*;

/// NEON. Made only by [`run_neon`].
#[derive(Clone, Copy)]
pub(super) struct Neon(());

/// # Safety
/// The processor has NEON.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_neon<O: Operation>(operation: O) -> O::Output {
    operation.run(Neon(()))
}

/// One instruction a method: the value `self` is proof that the processor has it.
macro_rules! arithmetic {
    ($($name:ident ( $($argument:ident),+ ) => $value:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($argument: Self::V),+) -> Self::V {
            // SAFETY: `self` exists only where the processor has NEON.
            unsafe { $value }
        })+
    };
}

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 8;

    // `vminq` and `vmaxq` have rules of their own for zeros and for what is not a number.
    arithmetic! {
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        mul_add_fused(a, b, c) => vfmaq_f32(c, a, b);
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        if_less(a, b, then, otherwise) => vbslq_f32(vcltq_f32(a, b), then, otherwise);
        exp2_shifted(n) =>
            vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(n)), vdupq_n_s32(127 << 23)));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: `self` exists only where the processor has NEON.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller's; `self` exists only where the processor has NEON.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: float32x4_t) {
        // SAFETY: the caller's; `self` exists only where the processor has NEON.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    fn sum(self, x: float32x4_t) -> f32 {
        // SAFETY: `self` exists only where the processor has NEON.
        unsafe {
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(vpadd_f32(x, x))
        }
    }

    #[inline(always)]
    fn largest(self, x: float32x4_t) -> f32 {
        // SAFETY: `self` exists only where the processor has NEON.
        unsafe { vmaxvq_f32(x) }
    }

    #[inline(always)]
    fn call<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` exists only where the processor has NEON.
        unsafe { run_neon(operation) }
    }

    // Pairs of rows, then pairs of pairs.
    #[inline(always)]
    unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, stride: usize) {
        // SAFETY: the caller's for the pointers; `self` exists only where the processor has NEON.
        unsafe {
            let (a, b) = (vld1q_f32(rows[0]), vld1q_f32(rows[1]));
            let (c, d) = (vld1q_f32(rows[2]), vld1q_f32(rows[3]));
            let (ab0, ab1) = (vreinterpretq_f64_f32(vtrn1q_f32(a, b)), vreinterpretq_f64_f32(vtrn2q_f32(a, b)));
            let (cd0, cd1) = (vreinterpretq_f64_f32(vtrn1q_f32(c, d)), vreinterpretq_f64_f32(vtrn2q_f32(c, d)));
            let columns = [vtrn1q_f64(ab0, cd0), vtrn1q_f64(ab1, cd1), vtrn2q_f64(ab0, cd0), vtrn2q_f64(ab1, cd1)];
            for (i, column) in columns.into_iter().enumerate() {
                let (to, x) = (to.add(i * stride), vreinterpretq_f32_f64(column));
                vst1q_f32(to, if ADD { vaddq_f32(vld1q_f32(to), x) } else { x });
            }
        }
    }
}
