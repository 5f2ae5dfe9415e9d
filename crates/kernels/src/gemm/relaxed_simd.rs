//! WebAssembly relaxed SIMD: `i32x4.relaxed_dot_i8x16_i7x16_add_s` for bytes, fused multiplication and addition for f32.
//!
//! The relaxed dot product is the same everywhere only if its second operand has 7 bits, that is if its bytes are from 0 to 127; then no
//! pair of products, 127 · 128 each, overflows the 16 bits that an engine may keep them in. So a quantized row is kept as its
//! positive and its negative parts, 0 to 127 both, and a sum is the difference of two. That is exact. It pays where the dot product is one
//! instruction (`vpdpbusd` on x86, `sdot` on Arm) and costs double where it is three (`vpmaddubsw` and two more); there, bytes go the way
//! of plain SIMD, with the same sums.

use std::arch::wasm32::*;
use std::hint::black_box;

use super::simd128::{self, f32_tile, finish_int8};
use super::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 8;

const INT8: Int8Kernel = Int8Kernel {
    rows: 2,
    columns: COLUMNS,
    group: 4,
    k_align: 4,
    row_bytes: 2,
    offset: 0,
    quantize_row: quantize_rows::relaxed_signs,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 4, columns: COLUMNS, tile: f32 };

/// The faster of the two kernels for bytes on this engine.
pub(super) fn int8_kernel() -> &'static Int8Kernel {
    if dot_is_one_instruction() { &INT8 } else { &simd128::INT8 }
}

/// Asks the engine for a dot product that it may choose the answer to. Three instructions keep 127 · 255 twice in 16 bits, which
/// saturates. One instruction does not; it says 4 · 127 · 255 or, with bytes that have signs, 4 · 127 · -1. An engine that gets wrong what it
/// has no choice about does not qualify either.
fn dot_is_one_instruction() -> bool {
    let dot = |x: u8| {
        let weights = i8x16_splat(black_box(127));
        i32x4_extract_lane::<0>(i32x4_relaxed_dot_i8x16_i7x16_add(weights, u8x16_splat(black_box(x)), i32x4_splat(1)))
    };
    dot(127) == 4 * 127 * 127 + 1 && [4 * 127 * 255 + 1, 4 * -127 + 1].contains(&dot(255))
}

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(int8_rows, tile, 1 => 1, 2 => 1) }
}

unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut positive = [[i32x4_splat(0); 2]; ROWS];
        let mut negative = [[i32x4_splat(0); 2]; ROWS];
        for group in 0..tile.k / 4 {
            let panel = tile.panel.add(group * 4 * COLUMNS);
            let (low, high) = (v128_load(panel.cast()), v128_load(panel.add(16).cast()));
            for row in 0..ROWS {
                // Four positive parts, then the same four's negative parts.
                let x = tile.x.add(row * tile.x_stride + group * 8);
                let plus = v128_load32_splat(x.cast());
                let minus = v128_load32_splat(x.add(4).cast());
                positive[row][0] = i32x4_relaxed_dot_i8x16_i7x16_add(low, plus, positive[row][0]);
                positive[row][1] = i32x4_relaxed_dot_i8x16_i7x16_add(high, plus, positive[row][1]);
                negative[row][0] = i32x4_relaxed_dot_i8x16_i7x16_add(low, minus, negative[row][0]);
                negative[row][1] = i32x4_relaxed_dot_i8x16_i7x16_add(high, minus, negative[row][1]);
            }
        }
        for row in 0..ROWS {
            for half in 0..2 {
                finish_int8(tile, row, half, i32x4_sub(positive[row][half], negative[row][half]));
            }
        }
    }
}

unsafe fn f32(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(f32_rows, tile, 1 => 2, 2 => 1, 3 => 1, 4 => 1) }
}

unsafe fn f32_rows<const ROWS: usize, const UNROLL: usize>(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { f32_tile::<ROWS, UNROLL>(tile, |x, y, sum| f32x4_relaxed_madd(x, y, sum)) }
}
