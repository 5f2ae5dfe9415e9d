//! AVX-512 with VNNI: tiles of 12 rows by 32 columns, 24 sums in the 32 registers.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so quantized rows are offset by 128, and sums start from minus that times the
//! column's sum.

use std::arch::x86_64::*;

use super::ahead::fetch_ahead;
use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, Out, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 32;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 12,
    columns: COLUMNS,
    group: 4,
    k_align: 4,
    row_bytes: 1,
    offset: 128,
    quantize_row: quantize_rows::avx512_offset,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 12, columns: COLUMNS, tile: f32::<true, false> };
pub(super) const F32_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, false>, ..F32 };
pub(super) const F16: F32Kernel = F32Kernel { tile: f32::<true, true>, ..F32 };
pub(super) const F16_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, true>, ..F32 };

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe {
        by_rows!(int8_rows, tile, 1 => 6, 2 => 4, 3 => 3, 4 => 2, 5 => 2, 6 => 1, 7 => 1, 8 => 1, 9 => 1, 10 => 1, 11 => 1, 12 => 1)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut sums = [[[_mm512_setzero_si512(); 2]; ROWS]; UNROLL];
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
        for row in 0..ROWS {
            let mut row_sums = sums[0][row];
            for sums in &sums[1..] {
                for (sum, more) in row_sums.iter_mut().zip(sums[row]) {
                    *sum = _mm512_add_epi32(*sum, more);
                }
            }
            finish_int8(tile, row, row_sums);
        }
    }
}

/// From the sums of a row to its numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn finish_int8(tile: &Int8Tile, row: usize, sums: [__m512i; 2]) {
    // SAFETY: `row` is one of the tile's, and all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let start = [_mm512_loadu_si512(tile.start.cast()), _mm512_loadu_si512(tile.start.add(16).cast())];
        let (scales, bias) = (load(tile.column_scales), load(tile.bias));
        let row_scale = _mm512_set1_ps(*tile.row_scales.add(row));
        for half in 0..2 {
            let sum = _mm512_add_epi32(sums[half], start[half]);
            let scale = _mm512_mul_ps(row_scale, scales[half]);
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
            write(&tile.out, row, half, _mm512_add_ps(product, bias[half]));
        }
    }
}

/// Four consecutive `k`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn int8_step<const ROWS: usize>(tile: &Int8Tile, group: usize, sums: &mut [[__m512i; 2]; ROWS]) {
    // SAFETY: `group` is below `k / 4`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.add(group * 4 * COLUMNS);
        fetch_ahead(panel, 4 * COLUMNS);
        let low = _mm512_loadu_si512(panel.cast());
        let high = _mm512_loadu_si512(panel.add(64).cast());
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = tile.x.add(row * tile.x_stride + group * 4).cast::<i32>().read_unaligned();
            let x = _mm512_set1_epi32(x);
            sums[0] = _mm512_dpbusd_epi32(sums[0], x, low);
            sums[1] = _mm512_dpbusd_epi32(sums[1], x, high);
        }
    }
}

unsafe fn f32<const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(f32_rows[FUSED, HALF], tile, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) }
}

/// One sum for each number, in the order of `k`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn f32_rows<const ROWS: usize, const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `F32Tile` promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for i in 0..tile.k {
            f32_step::<ROWS, FUSED, HALF>(tile, i, &mut sums);
        }
        let bias = load(tile.bias);
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                write(&tile.out, row, half, _mm512_add_ps(sum, bias[half]));
            }
        }
    }
}

/// One `k`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn f32_step<const ROWS: usize, const FUSED: bool, const HALF: bool>(
    tile: &F32Tile,
    i: usize,
    sums: &mut [[__m512; 2]; ROWS],
) {
    // SAFETY: `i` is below `k`, so panel and rows reach that far.
    unsafe {
        let size = if HALF { 2 } else { 4 };
        let panel = tile.panel.add(i * COLUMNS * size);
        fetch_ahead(panel, COLUMNS * size);
        let weights = if HALF { load_halves(panel.cast()) } else { load(panel.cast()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm512_set1_ps(*tile.x.add(row * tile.x_stride + i));
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = match FUSED {
                    true => _mm512_fmadd_ps(x, weights, *sum),
                    false => _mm512_add_ps(_mm512_mul_ps(x, weights), *sum),
                };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(numbers: *const f32) -> [__m512; 2] {
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe { [_mm512_loadu_ps(numbers), _mm512_loadu_ps(numbers.add(16))] }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_halves(numbers: *const u16) -> [__m512; 2] {
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe { [numbers, numbers.add(16)].map(|at| _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn write(out: &Out, row: usize, half: usize, value: __m512) {
    let place = row * out.stride + half * 16;
    // SAFETY: the caller names a row and a half of the tile, which `out` has room for.
    unsafe {
        let value =
            if out.residual.is_null() { value } else { _mm512_add_ps(value, _mm512_loadu_ps(out.residual.add(place))) };
        _mm512_storeu_ps(out.start.add(place), value);
    }
}
