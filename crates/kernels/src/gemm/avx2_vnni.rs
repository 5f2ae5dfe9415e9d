//! AVX2 with AVX-VNNI: tiles of 6 rows by 16 columns, `vpdpbusd` on 256 bits. Rows are offset by 128, as for AVX-512.

use std::arch::x86_64::*;

use super::ahead::fetch_ahead;
use super::avx2::finish_int8;
use super::tile::{Int8Kernel, Int8Tile, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 16;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 6,
    columns: COLUMNS,
    group: 4,
    k_align: 4,
    row_bytes: 1,
    offset: 128,
    quantize_row: quantize_rows::avx2_offset,
    tile: int8,
};

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(int8_rows, tile, 1 => 4, 2 => 3, 3 => 2, 4 => 1, 5 => 1, 6 => 1) }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let start = [_mm256_loadu_si256(tile.start.cast()), _mm256_loadu_si256(tile.start.add(8).cast())];
        let mut sums = [[[_mm256_setzero_si256(); 2]; ROWS]; UNROLL];
        sums[0] = [start; ROWS];
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

/// Four consecutive `k`.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn int8_step<const ROWS: usize>(tile: &Int8Tile, group: usize, sums: &mut [[__m256i; 2]; ROWS]) {
    // SAFETY: `group` is below `k / 4`, so panel and rows reach that far.
    unsafe {
        let panel = tile.panel.add(group * 4 * COLUMNS);
        fetch_ahead(panel, 4 * COLUMNS);
        let low = _mm256_loadu_si256(panel.cast());
        let high = _mm256_loadu_si256(panel.add(32).cast());
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = tile.x.add(row * tile.x_stride + group * 4).cast::<i32>().read_unaligned();
            let x = _mm256_set1_epi32(x);
            sums[0] = _mm256_dpbusd_avx_epi32(sums[0], x, low);
            sums[1] = _mm256_dpbusd_avx_epi32(sums[1], x, high);
        }
    }
}
