//! WebAssembly SIMD: tiles of 4 rows by 8 columns, 8 sums in the 16 registers that x86 engines have.
//!
//! The exact product of bytes is that of 16-bit integers: `i32x4.dot_i16x8_s` adds two products of rows and weights widened to 16 bits.
//! Rows are stored widened; weights are stored as bytes and widened by the load, once for all rows of a tile.

use std::arch::wasm32::*;

use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, Out, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 8;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 4,
    columns: COLUMNS,
    group: 2,
    k_align: 2,
    row_bytes: 2,
    offset: 0,
    quantize_row: quantize_rows::simd128_words,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 4, columns: COLUMNS, tile: f32 };

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(int8_rows, tile, 1 => 2, 2 => 1, 3 => 1, 4 => 1) }
}

unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut sums = [[[i32x4_splat(0); 2]; ROWS]; UNROLL];
        let groups = tile.k / 2;
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
        for row in 0..ROWS {
            for half in 0..2 {
                let mut sum = sums[0][row][half];
                for sums in &sums[1..] {
                    sum = i32x4_add(sum, sums[row][half]);
                }
                finish_int8(tile, row, half, sum);
            }
        }
    }
}

/// Two consecutive `k`.
#[inline(always)]
unsafe fn int8_step<const ROWS: usize>(tile: &Int8Tile, group: usize, sums: &mut [[v128; 2]; ROWS]) {
    // SAFETY: `group` is below `k / 2`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.add(group * 2 * COLUMNS);
        let (low, high) = (i16x8_load_extend_i8x8(panel), i16x8_load_extend_i8x8(panel.add(8)));
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = v128_load32_splat(tile.x.add(row * tile.x_stride + group * 4).cast());
            sums[0] = i32x4_add(sums[0], i32x4_dot_i16x8(x, low));
            sums[1] = i32x4_add(sums[1], i32x4_dot_i16x8(x, high));
        }
    }
}

/// From a sum of 4 columns to their places.
#[inline(always)]
pub(super) unsafe fn finish_int8(tile: &Int8Tile, row: usize, half: usize, sum: v128) {
    // SAFETY: the caller names a row and a half of the tile.
    unsafe {
        let scales = v128_load(tile.column_scales.add(4 * half).cast());
        let scale = f32x4_mul(v128_load32_splat(tile.row_scales.add(row).cast()), scales);
        let product = f32x4_mul(f32x4_convert_i32x4(sum), scale);
        write(&tile.out, row, half, f32x4_add(product, v128_load(tile.bias.add(4 * half).cast())));
    }
}

unsafe fn f32(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(f32_rows, tile, 1, 2, 3, 4) }
}

unsafe fn f32_rows<const ROWS: usize>(tile: &F32Tile) {
    let multiply_add = |x, y, sum| f32x4_add(sum, f32x4_mul(x, y));
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { f32_tile::<ROWS>(tile, multiply_add) }
}

/// The f32 tile around a multiplication with addition, `(x, y, sum)`.
#[inline(always)]
pub(super) unsafe fn f32_tile<const ROWS: usize>(
    tile: &F32Tile,
    multiply_add: impl Fn(v128, v128, v128) -> v128 + Copy,
) {
    // SAFETY: all reads and writes are within the lengths that the fields of `F32Tile` promise.
    unsafe {
        let mut sums = [[f32x4_splat(0.0); 2]; ROWS];
        for i in 0..tile.k {
            f32_step(tile, i, &mut sums, multiply_add);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                write(&tile.out, row, half, f32x4_add(sum, v128_load(tile.bias.add(4 * half).cast())));
            }
        }
    }
}

/// One `k`.
#[inline(always)]
unsafe fn f32_step<const ROWS: usize>(
    tile: &F32Tile,
    i: usize,
    sums: &mut [[v128; 2]; ROWS],
    multiply_add: impl Fn(v128, v128, v128) -> v128,
) {
    // SAFETY: `i` is below `k`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.cast::<v128>().add(2 * i);
        let (low, high) = (v128_load(panel), v128_load(panel.add(1)));
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = v128_load32_splat(tile.x.add(row * tile.x_stride + i).cast());
            sums[0] = multiply_add(x, low, sums[0]);
            sums[1] = multiply_add(x, high, sums[1]);
        }
    }
}

#[inline(always)]
unsafe fn write(out: &Out, row: usize, half: usize, value: v128) {
    let place = row * out.stride + half * 4;
    // SAFETY: the caller names a row and a half of the tile, which `out` has room for.
    unsafe {
        let value =
            if out.residual.is_null() { value } else { f32x4_add(value, v128_load(out.residual.add(place).cast())) };
        v128_store(out.start.add(place).cast(), value);
    }
}
