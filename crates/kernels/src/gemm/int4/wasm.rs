//! WebAssembly SIMD: tiles of 4 rows by 8 columns.
//!
//! Plain SIMD multiplies 16-bit integers, with two sums a column. The relaxed dot product takes weights of 4 bits as its operand of 7 bits, and
//! two products of at most 15 · 127 fit into its 16 bits, so it is the same on every engine.

use super::sums::{Nibbles, VECTORS, tile};
use crate::gemm::tile::{Int4Kernel, Int4Tile, by_rows};
use crate::quantize_rows;
use std::arch::wasm32::*;

const LANES: usize = 4;

pub(super) const SIMD128: Int4Kernel =
    Int4Kernel { rows: 4, columns: VECTORS * LANES, quantize_row: quantize_rows::scalar, tile: simd128 };
#[cfg(target_feature = "relaxed-simd")]
pub(super) const RELAXED: Int4Kernel = Int4Kernel { tile: relaxed, ..SIMD128 };

unsafe fn simd128(tile: &Int4Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(simd128_rows, tile, 1, 2, 3, 4) }
}

unsafe fn simd128_rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on.
    unsafe { tile::<Simd128, ROWS>(Simd128, operands) }
}

#[cfg(target_feature = "relaxed-simd")]
unsafe fn relaxed(tile: &Int4Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(relaxed_rows, tile, 1, 2, 3, 4) }
}

#[cfg(target_feature = "relaxed-simd")]
unsafe fn relaxed_rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on.
    unsafe { tile::<RelaxedSimd, ROWS>(RelaxedSimd, operands) }
}

/// Fixed-width SIMD: in the module's feature set, or this file is not compiled.
#[derive(Clone, Copy)]
struct Simd128;

/// The same, with relaxed SIMD.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy)]
struct RelaxedSimd;

/// What the two share.
macro_rules! shared {
    () => {
        type Bytes = v128;
        type Floats = v128;
        const LANES: usize = LANES;

        #[inline(always)]
        unsafe fn load(self, from: *const u8) -> v128 {
            // SAFETY: the caller's.
            unsafe { v128_load(from.cast()) }
        }

        #[inline(always)]
        fn low(self, bytes: v128) -> v128 {
            v128_and(bytes, u8x16_splat(15))
        }

        #[inline(always)]
        fn high(self, bytes: v128) -> v128 {
            u8x16_shr(bytes, 4)
        }

        #[inline(always)]
        fn splat(self, number: f32) -> v128 {
            f32x4_splat(number)
        }

        #[inline(always)]
        fn add(self, a: v128, b: v128) -> v128 {
            f32x4_add(a, b)
        }

        #[inline(always)]
        fn mul(self, a: v128, b: v128) -> v128 {
            f32x4_mul(a, b)
        }

        #[inline(always)]
        unsafe fn load_floats(self, from: *const f32) -> v128 {
            // SAFETY: the caller's.
            unsafe { v128_load(from.cast()) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32, numbers: v128) {
            // SAFETY: the caller's.
            unsafe { v128_store(to.cast(), numbers) }
        }
    };
}

impl Nibbles for Simd128 {
    /// Two sums for each of the first two columns, and for each of the last two.
    type Ints = [v128; 2];
    shared!();

    #[inline(always)]
    fn dot(self, [first, last]: [v128; 2], weights: v128, x: i32) -> [v128; 2] {
        let x = i16x8_extend_low_i8x16(i32x4_splat(x));
        let first = i32x4_add(first, i32x4_dot_i16x8(i16x8_extend_low_u8x16(weights), x));
        [first, i32x4_add(last, i32x4_dot_i16x8(i16x8_extend_high_u8x16(weights), x))]
    }

    #[inline(always)]
    unsafe fn multiply(self, from: *const u8, factor: i32) -> [v128; 2] {
        // SAFETY: the caller's.
        let [a, b, c, d] = unsafe { *from.cast::<[u8; LANES]>() }.map(|number| i32::from(number) * factor);
        [i32x4(a, 0, b, 0), i32x4(c, 0, d, 0)]
    }

    #[inline(always)]
    fn splat_int(self, number: i32) -> [v128; 2] {
        [i32x4(number, 0, number, 0); 2]
    }

    #[inline(always)]
    fn floats(self, [first, last]: [v128; 2]) -> v128 {
        let even = i32x4_shuffle::<0, 2, 4, 6>(first, last);
        f32x4_convert_i32x4(i32x4_add(even, i32x4_shuffle::<1, 3, 5, 7>(first, last)))
    }
}

#[cfg(target_feature = "relaxed-simd")]
impl Nibbles for RelaxedSimd {
    type Ints = v128;
    shared!();

    #[inline(always)]
    fn dot(self, sums: v128, weights: v128, x: i32) -> v128 {
        i32x4_relaxed_dot_i8x16_i7x16_add(i32x4_splat(x), weights, sums)
    }

    #[inline(always)]
    unsafe fn multiply(self, from: *const u8, factor: i32) -> v128 {
        // SAFETY: the caller's.
        let [a, b, c, d] = unsafe { *from.cast::<[u8; LANES]>() }.map(|number| i32::from(number) * factor);
        i32x4(a, b, c, d)
    }

    #[inline(always)]
    fn splat_int(self, number: i32) -> v128 {
        i32x4_splat(number)
    }

    #[inline(always)]
    fn floats(self, sums: v128) -> v128 {
        f32x4_convert_i32x4(sums)
    }
}
