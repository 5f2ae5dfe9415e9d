//! NEON with the dot-product extension: tiles of 8 rows by 8 columns, 16 sums in the 32 registers.
//!
//! `sdot` multiplies signed bytes by signed bytes, so rows need no offset. A tile takes 16 consecutive `k` of each row at once and names
//! four of them by their lane.

use std::arch::aarch64::*;
use std::arch::asm;

use super::ahead::fetch_ahead;
use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, Out, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 8;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 8,
    columns: COLUMNS,
    group: 4,
    k_align: 16,
    row_bytes: 1,
    offset: 0,
    quantize_row: quantize_rows::neon,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 8, columns: COLUMNS, tile: f32::<true, false> };
pub(super) const F32_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, false>, ..F32 };
pub(super) const F16: F32Kernel = F32Kernel { tile: f32::<true, true>, ..F32 };
pub(super) const F16_STEPWISE: F32Kernel = F32Kernel { tile: f32::<false, true>, ..F32 };

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(int8_rows, tile, 1 => 2, 2 => 2, 3 => 1, 4 => 1, 5 => 1, 6 => 1, 7 => 1, 8 => 1) }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        // Of two sets of sums, the second takes every other group of `k`.
        let mut sums = [[[vdupq_n_s32(0); 2]; ROWS]; UNROLL];
        for block in 0..tile.k / 16 {
            let mut x = [vdupq_n_s8(0); ROWS];
            for (row, x) in x.iter_mut().enumerate() {
                *x = vld1q_s8(tile.x.add(row * tile.x_stride + block * 16).cast());
            }
            let panel = tile.panel.add(block * 16 * COLUMNS);
            fetch_ahead(panel, 16 * COLUMNS);
            four_k::<0, ROWS>(panel, &x, &mut sums[0]);
            four_k::<1, ROWS>(panel, &x, &mut sums[1 % UNROLL]);
            four_k::<2, ROWS>(panel, &x, &mut sums[0]);
            four_k::<3, ROWS>(panel, &x, &mut sums[1 % UNROLL]);
        }
        for row in 0..ROWS {
            for half in 0..2 {
                let mut sum = sums[0][row][half];
                for sums in &sums[1..] {
                    sum = vaddq_s32(sum, sums[row][half]);
                }
                let scale = vmulq_n_f32(vld1q_f32(tile.column_scales.add(4 * half)), *tile.row_scales.add(row));
                let product = vmulq_f32(vcvtq_f32_s32(sum), scale);
                write(&tile.out, row, half, vaddq_f32(product, vld1q_f32(tile.bias.add(4 * half))));
            }
        }
    }
}

/// Group `LANE` of the four in a block of 16 `k`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn four_k<const LANE: usize, const ROWS: usize>(
    panel: *const i8,
    x: &[int8x16_t; ROWS],
    sums: &mut [[int32x4_t; 2]; ROWS],
) {
    // SAFETY: the caller's panel has the whole block.
    unsafe {
        let low = vld1q_s8(panel.add(LANE * 4 * COLUMNS));
        let high = vld1q_s8(panel.add(LANE * 4 * COLUMNS + 16));
        for (x, sums) in x.iter().zip(sums) {
            sums[0] = dot::<LANE>(sums[0], low, *x);
            sums[1] = dot::<LANE>(sums[1], high, *x);
        }
    }
}

/// `sum + weights · x[LANE]`, four bytes for each of four columns.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: usize>(mut sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: one instruction on registers, which this function's target feature enables.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

unsafe fn f32<const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(f32_rows[FUSED, HALF], tile, 1, 2, 3, 4, 5, 6, 7, 8) }
}

/// One sum for each number, in the order of `k`.
#[target_feature(enable = "neon")]
unsafe fn f32_rows<const ROWS: usize, const FUSED: bool, const HALF: bool>(tile: &F32Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `F32Tile` promise.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); 2]; ROWS];
        for i in 0..tile.k {
            f32_step::<ROWS, FUSED, HALF>(tile, i, &mut sums);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                write(&tile.out, row, half, vaddq_f32(sum, vld1q_f32(tile.bias.add(4 * half))));
            }
        }
    }
}

/// One `k`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn f32_step<const ROWS: usize, const FUSED: bool, const HALF: bool>(
    tile: &F32Tile,
    i: usize,
    sums: &mut [[float32x4_t; 2]; ROWS],
) {
    // SAFETY: `i` is below `k`, so panel and rows reach that far.
    unsafe {
        let size = if HALF { 2 } else { 4 };
        let panel = tile.panel.add(i * COLUMNS * size);
        fetch_ahead(panel, COLUMNS * size);
        let weights = if HALF { load_halves(panel.cast()) } else { load(panel.cast()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = *tile.x.add(row * tile.x_stride + i);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = match FUSED {
                    true => vfmaq_n_f32(*sum, weights, x),
                    false => vaddq_f32(vmulq_n_f32(weights, x), *sum),
                };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(numbers: *const f32) -> [float32x4_t; 2] {
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe { [vld1q_f32(numbers), vld1q_f32(numbers.add(4))] }
}

/// `fcvtl`, for which there is no stable function yet.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_halves(numbers: *const u16) -> [float32x4_t; 2] {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: the caller points at `COLUMNS` numbers.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {halves:v}.4h",
            "fcvtl2 {high:v}.4s, {halves:v}.8h",
            halves = in(vreg) vld1q_u16(numbers),
            low = out(vreg) low,
            high = lateout(vreg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn write(out: &Out, row: usize, half: usize, value: float32x4_t) {
    let place = row * out.stride + half * 4;
    // SAFETY: the caller names a row and a half of the tile, which `out` has room for.
    unsafe {
        let value = if out.residual.is_null() { value } else { vaddq_f32(value, vld1q_f32(out.residual.add(place))) };
        vst1q_f32(out.start.add(place), value);
    }
}
