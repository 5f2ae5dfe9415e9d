//! NEON with the dot-product extension: tiles of 6 rows by 8 columns.

use super::sums::{Nibbles, VECTORS, tile};
use crate::gemm::tile::{Int4Kernel, Int4Tile, by_rows};
use crate::quantize_rows;
use std::arch::aarch64::*;
use std::arch::asm;

const LANES: usize = 4;

pub(super) const KERNEL: Int4Kernel =
    Int4Kernel { rows: 6, columns: VECTORS * LANES, quantize_row: quantize_rows::neon, tile: run };

unsafe fn run(tile: &Int4Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(rows, tile, 1, 2, 3, 4, 5, 6) }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on; the processor has NEON and its dot product.
    unsafe { tile::<NeonDot, ROWS>(NeonDot(()), operands) }
}

/// NEON and its dot product. Made only where the processor has them.
#[derive(Clone, Copy)]
struct NeonDot(());

/// Methods whose instructions the value `self` is proof of.
macro_rules! methods {
    ($($name:ident ( $($argument:ident : $type:ty),+ ) -> $result:ty { $value:expr })+) => {
        $(#[inline(always)]
        fn $name(self, $($argument: $type),+) -> $result {
            // SAFETY: `self` exists only where the processor has the instructions.
            unsafe { $value }
        })+
    };
}

impl Nibbles for NeonDot {
    type Bytes = uint8x16_t;
    type Ints = int32x4_t;
    type Floats = float32x4_t;
    const LANES: usize = LANES;

    methods! {
        low(bytes: uint8x16_t) -> uint8x16_t { vandq_u8(bytes, vdupq_n_u8(15)) }
        high(bytes: uint8x16_t) -> uint8x16_t { vshrq_n_u8::<4>(bytes) }
        dot(sums: int32x4_t, weights: uint8x16_t, x: i32) -> int32x4_t {
            dot_of(sums, vreinterpretq_s8_u8(weights), vreinterpretq_s8_s32(vdupq_n_s32(x)))
        }
        splat_int(number: i32) -> int32x4_t { vdupq_n_s32(number) }
        floats(sums: int32x4_t) -> float32x4_t { vcvtq_f32_s32(sums) }
        splat(number: f32) -> float32x4_t { vdupq_n_f32(number) }
        add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        mul(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const u8) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe { vld1q_u8(from) }
    }

    #[inline(always)]
    unsafe fn multiply(self, from: *const u8, factor: i32) -> int32x4_t {
        // SAFETY: the caller's.
        let numbers = unsafe { *from.cast::<[u8; LANES]>() }.map(|number| i32::from(number) * factor);
        // SAFETY: `numbers` has four elements; the processor has NEON.
        unsafe { vld1q_s32(numbers.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> float32x4_t {
        // SAFETY: the caller's.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, numbers: float32x4_t) {
        // SAFETY: the caller's.
        unsafe { vst1q_f32(to, numbers) }
    }
}

/// `sdot`, for which there is no stable function yet.
///
/// # Safety
/// The processor has the dot-product extension.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_of(mut sums: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
