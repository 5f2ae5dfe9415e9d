//! AVX2 with FMA: tiles of 6 rows by 16 columns, 12 sums in the 16 registers.
//!
//! Without VNNI the exact product of bytes is that of 16-bit integers: `vpmaddwd` adds two products of rows and weights widened to 16
//! bits, and nothing saturates. Rows are stored widened; weights are stored as bytes and widened on the way into the registers, once for all
//! rows of a tile.

use std::arch::x86_64::*;

use super::ahead::fetch_ahead;
use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, Out, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 16;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 6,
    columns: COLUMNS,
    group: 2,
    k_align: 2,
    row_bytes: 2,
    offset: 0,
    quantize_row: quantize_rows::avx2_words,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 6, columns: COLUMNS, tile: f32::<true, false> };
pub(super) const F32_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, false>, ..F32 };
pub(super) const F16: F32Kernel = F32Kernel { tile: f32::<true, true>, ..F32 };
pub(super) const F16_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, true>, ..F32 };

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(int8_rows, tile, 1 => 2, 2 => 2, 3 => 1, 4 => 1, 5 => 1, 6 => 1) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut sums = [[[_mm256_setzero_si256(); 2]; ROWS]; UNROLL];
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
                    sum = _mm256_add_epi32(sum, sums[row][half]);
                }
                finish_int8(tile, row, half, sum);
            }
        }
    }
}

/// Two consecutive `k`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn int8_step<const ROWS: usize>(tile: &Int8Tile, group: usize, sums: &mut [[__m256i; 2]; ROWS]) {
    // SAFETY: `group` is below `k / 2`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.add(group * 2 * COLUMNS);
        fetch_ahead(panel, 2 * COLUMNS);
        let low = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel.cast()));
        let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(panel.add(16).cast()));
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = tile.x.add(row * tile.x_stride + group * 4).cast::<i32>().read_unaligned();
            let x = _mm256_set1_epi32(x);
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(x, low));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(x, high));
        }
    }
}

/// From a sum of 8 columns to their places.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn finish_int8(tile: &Int8Tile, row: usize, half: usize, sum: __m256i) {
    // SAFETY: the caller names a row and a half of the tile.
    unsafe {
        let scales = _mm256_loadu_ps(tile.column_scales.add(8 * half));
        let scale = _mm256_mul_ps(_mm256_set1_ps(*tile.row_scales.add(row)), scales);
        let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
        write(&tile.out, row, half, _mm256_add_ps(product, _mm256_loadu_ps(tile.bias.add(8 * half))));
    }
}

unsafe fn f32<const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(f32_rows[FUSED, HALF], tile, 1, 2, 3, 4, 5, 6) }
}

/// One sum for each number, in the order of `k`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn f32_rows<const ROWS: usize, const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `F32Tile` promise.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for i in 0..tile.k {
            f32_step::<ROWS, FUSED, HALF>(tile, i, &mut sums);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let bias = _mm256_loadu_ps(tile.bias.add(8 * half));
                write(&tile.out, row, half, _mm256_add_ps(sum, bias));
            }
        }
    }
}

/// One `k`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn f32_step<const ROWS: usize, const FUSED: bool, const HALF: bool>(
    tile: &F32Tile,
    i: usize,
    sums: &mut [[__m256; 2]; ROWS],
) {
    // SAFETY: `i` is below `k`, so panel and rows reach that far.
    unsafe {
        let size = if HALF { 2 } else { 4 };
        let panel = tile.panel.add(i * COLUMNS * size);
        fetch_ahead(panel, COLUMNS * size);
        let weights = if HALF { load_halves(panel.cast()) } else { load(panel.cast()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_set1_ps(*tile.x.add(row * tile.x_stride + i));
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = match FUSED {
                    true => _mm256_fmadd_ps(x, weights, *sum),
                    false => _mm256_add_ps(_mm256_mul_ps(x, weights), *sum),
                };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(numbers: *const f32) -> [__m256; 2] {
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe { [_mm256_loadu_ps(numbers), _mm256_loadu_ps(numbers.add(8))] }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_halves(numbers: *const u16) -> [__m256; 2] {
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe { [numbers, numbers.add(8)].map(|at| _mm256_cvtph_ps(_mm_loadu_si128(at.cast()))) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn write(out: &Out, row: usize, half: usize, value: __m256) {
    let place = row * out.stride + half * 8;
    // SAFETY: the caller names a row and a half of the tile, which `out` has room for.
    unsafe {
        let value =
            if out.residual.is_null() { value } else { _mm256_add_ps(value, _mm256_loadu_ps(out.residual.add(place))) };
        _mm256_storeu_ps(out.start.add(place), value);
    }
}
