//! WebAssembly relaxed SIMD: `i32x4.relaxed_dot_i8x16_i7x16_add_s` for bytes, fused multiplication and addition for f32.
//!
//! The relaxed dot product of four bytes by four is the same everywhere only if its second operand has 7 bits. Where it is one instruction
//! of the processor it takes all 8, either without a sign (`vpdpbusd`) or with one (`sdot`, `vpdpbssd`), and adds up in 32 bits. The
//! standard (WebAssembly 3.0, "Relaxed operations") lets an engine choose, but once: what it answers to one question holds for as
//! long as a program runs. So the engine is asked, and rows are kept as it reads them, offset by 128 or not. Where the dot product is three
//! instructions, with sums of 16 bits in between, bytes go the way of plain SIMD. The sums are exact, and the same, all three ways.

use std::arch::wasm32::*;
use std::hint::black_box;

use super::simd128::{self, f32_tile, finish_int8};
use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, by_rows};
use crate::quantize_rows::{self, QuantizeRow};

const COLUMNS: usize = 8;

static WITH_SIGN: Int8Kernel = int8_kernel_of(0, quantize_rows::scalar);
static WITHOUT_SIGN: Int8Kernel = int8_kernel_of(128, quantize_rows::relaxed_offset);

pub(super) const F32: F32Kernel = F32Kernel { rows: 4, columns: COLUMNS, tile: f32 };

/// The fastest of the kernels for bytes that are right on this engine.
pub(super) fn int8_kernel() -> &'static Int8Kernel {
    match ask_engine() {
        Dot::WithSign => &WITH_SIGN,
        Dot::WithoutSign => &WITHOUT_SIGN,
        Dot::Narrow => &simd128::INT8,
    }
}

const fn int8_kernel_of(offset: i32, quantize_row: QuantizeRow) -> Int8Kernel {
    Int8Kernel { rows: 4, columns: COLUMNS, group: 4, k_align: 4, row_bytes: 1, offset, quantize_row, tile: int8 }
}

/// What the dot product makes of a second operand beyond 7 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dot {
    /// A byte from -128 to 127, summed in 32 bits.
    WithSign,
    /// A byte from 0 to 255, summed in 32 bits.
    WithoutSign,
    /// Anything else.
    Narrow,
}

/// Asks for products of the extremes, which sums of 16 bits could not hold, in each place of a group of four and of a vector.
fn ask_engine() -> Dot {
    let meets = |weight: i8, x: u8, product: i32| {
        let (weights, xs) = (i8x16_splat(black_box(weight)), u8x16_splat(black_box(x)));
        let sums = i32x4_relaxed_dot_i8x16_i7x16_add(weights, xs, i32x4_splat(black_box(7)));
        i32x4_all_true(i32x4_eq(sums, i32x4_splat(4 * product + 7)))
    };
    let in_seven_bits = meets(127, 127, 127 * 127) && meets(-128, 127, -128 * 127) && meets(-128, 0, 0);
    let without_sign = || meets(127, 255, 127 * 255) && meets(-128, 255, -128 * 255) && meets(-128, 128, -128 * 128);
    let with_sign = || meets(127, 255, -127) && meets(-128, 255, 128) && meets(-128, 128, 128 * 128);
    match in_seven_bits {
        true if without_sign() => Dot::WithoutSign,
        true if with_sign() => Dot::WithSign,
        _ => Dot::Narrow,
    }
}

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(int8_rows, tile, 1 => 4, 2 => 2, 3 => 1, 4 => 1) }
}

unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut sums = [[[i32x4_splat(0); 2]; ROWS]; UNROLL];
        let groups = tile.k / 4;
        let mut group = 0;
        while group + UNROLL <= groups {
            for (step, sums) in sums.iter_mut().enumerate() {
                int8_step(tile, group + step, sums);
            }
            group += UNROLL;
        }
        while group < groups {
            int8_step(tile, group, &mut sums[0]);
            group += 1;
        }
        for half in 0..2 {
            let start = v128_load(tile.start.add(4 * half).cast());
            for row in 0..ROWS {
                let mut sum = i32x4_add(start, sums[0][row][half]);
                for sums in &sums[1..] {
                    sum = i32x4_add(sum, sums[row][half]);
                }
                finish_int8(tile, row, half, sum);
            }
        }
    }
}

/// Four consecutive `k`.
#[inline(always)]
unsafe fn int8_step<const ROWS: usize>(tile: &Int8Tile, group: usize, sums: &mut [[v128; 2]; ROWS]) {
    // SAFETY: `group` is below `k / 4`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.add(group * 4 * COLUMNS);
        let (low, high) = (v128_load(panel.cast()), v128_load(panel.add(16).cast()));
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = v128_load32_splat(tile.x.add(row * tile.x_stride + group * 4).cast());
            sums[0] = i32x4_relaxed_dot_i8x16_i7x16_add(low, x, sums[0]);
            sums[1] = i32x4_relaxed_dot_i8x16_i7x16_add(high, x, sums[1]);
        }
    }
}

unsafe fn f32(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(f32_rows, tile, 1, 2, 3, 4) }
}

unsafe fn f32_rows<const ROWS: usize>(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { f32_tile::<ROWS>(tile, |x, y, sum| f32x4_relaxed_madd(x, y, sum)) }
}
