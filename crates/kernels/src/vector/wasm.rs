//! WebAssembly's fixed-width SIMD, and relaxed SIMD for its fused multiplication and addition.

use super::simd::{LANES_MAX, Operation, Simd};
use std::arch::wasm32::*;

/// Fixed-width SIMD: in the module's feature set, or this file is not compiled.
#[derive(Clone, Copy)]
pub(super) struct Simd128;

/// The same, with relaxed SIMD.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy)]
pub(super) struct RelaxedSimd;

/// All but the multiplication and addition, which the two do not share.
macro_rules! simd {
    ($name:ident, |$a:ident, $b:ident, $c:ident| $mul_add:expr) => {
        impl Simd for $name {
            type V = v128;
            const LANES: usize = 4;
            const TILE_ROWS: usize = 4;
            // A tile of twelve sums, four columns and a row's number would be one register more than engines leave of x86's sixteen.
            const TILE_VECTORS: usize = 2;

            #[inline(always)]
            fn splat(self, x: f32) -> v128 {
                f32x4_splat(x)
            }

            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> v128 {
                // SAFETY: the caller's.
                unsafe { v128_load(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32, x: v128) {
                // SAFETY: the caller's.
                unsafe { v128_store(to.cast(), x) }
            }

            #[inline(always)]
            fn add(self, a: v128, b: v128) -> v128 {
                f32x4_add(a, b)
            }

            #[inline(always)]
            fn sub(self, a: v128, b: v128) -> v128 {
                f32x4_sub(a, b)
            }

            #[inline(always)]
            fn mul(self, a: v128, b: v128) -> v128 {
                f32x4_mul(a, b)
            }

            #[inline(always)]
            fn div(self, a: v128, b: v128) -> v128 {
                f32x4_div(a, b)
            }

            #[inline(always)]
            fn mul_add_fused(self, $a: v128, $b: v128, $c: v128) -> v128 {
                $mul_add
            }

            #[inline(always)]
            fn min(self, a: v128, b: v128) -> v128 {
                smaller_of(a, b)
            }

            #[inline(always)]
            fn max(self, a: v128, b: v128) -> v128 {
                larger_of(a, b)
            }

            #[inline(always)]
            fn if_less(self, a: v128, b: v128, then: v128, otherwise: v128) -> v128 {
                v128_bitselect(then, otherwise, f32x4_lt(a, b))
            }

            #[inline(always)]
            fn exp2_shifted(self, n: v128) -> v128 {
                i32x4_add(i32x4_shl(n, 23), i32x4_splat(127 << 23))
            }

            #[inline(always)]
            fn sum(self, x: v128) -> f32 {
                let x = f32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
                f32x4_extract_lane::<0>(x) + f32x4_extract_lane::<1>(x)
            }

            #[inline(always)]
            fn largest(self, x: v128) -> f32 {
                let x = larger_of(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
                f32x4_extract_lane::<0>(x).max(f32x4_extract_lane::<1>(x))
            }

            #[inline(never)]
            fn call<O: Operation>(self, operation: O) -> O::Output {
                operation.run(self)
            }

            // Pairs of rows, then pairs of pairs.
            #[inline(always)]
            unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, stride: usize) {
                // SAFETY: the caller's.
                unsafe {
                    let (a, b) = (v128_load(rows[0].cast()), v128_load(rows[1].cast()));
                    let (c, d) = (v128_load(rows[2].cast()), v128_load(rows[3].cast()));
                    let (ab0, ab1) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
                    let (cd0, cd1) = (i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
                    let columns = [
                        i64x2_shuffle::<0, 2>(ab0, cd0),
                        i64x2_shuffle::<1, 3>(ab0, cd0),
                        i64x2_shuffle::<0, 2>(ab1, cd1),
                        i64x2_shuffle::<1, 3>(ab1, cd1),
                    ];
                    for (i, x) in columns.into_iter().enumerate() {
                        let to: *mut v128 = to.add(i * stride).cast();
                        v128_store(to, if ADD { f32x4_add(v128_load(to), x) } else { x });
                    }
                }
            }
        }
    };
}

simd!(Simd128, |a, b, c| f32x4_add(f32x4_mul(a, b), c));
#[cfg(target_feature = "relaxed-simd")]
simd!(RelaxedSimd, |a, b, c| f32x4_relaxed_madd(a, b, c));

/// `a` if it is smaller than `b`. The pseudo-minimum is one instruction on x86, the minimum proper five.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn smaller_of(a: v128, b: v128) -> v128 {
    f32x4_pmin(b, a)
}

/// `a` if it is larger than `b`.
#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn larger_of(a: v128, b: v128) -> v128 {
    f32x4_pmax(b, a)
}

/// `a` if it is smaller than `b`. With relaxed SIMD the compiler takes the pseudo-minimum for the relaxed one, which may drop what is
/// not a number; the lanes of a comparison are whole, so selecting by them is no more relaxed than it should be.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
fn smaller_of(a: v128, b: v128) -> v128 {
    i32x4_relaxed_laneselect(a, b, f32x4_lt(a, b))
}

/// `a` if it is larger than `b`.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
fn larger_of(a: v128, b: v128) -> v128 {
    i32x4_relaxed_laneselect(a, b, f32x4_gt(a, b))
}
