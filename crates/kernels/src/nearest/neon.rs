//! NEON with the dot-product extension: `sdot` multiplies signed bytes by signed bytes.

use super::products::{by_four, tail};
use std::arch::aarch64::*;
use std::arch::asm;

/// # Safety
/// As [`super::dots::Kernel`] says; the processor has the dot-product extension.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot(query: &[i8], rows: &[i8], sums: &mut [i32]) {
    // SAFETY: chunks are of whole rows.
    unsafe { by_four!(dot_rows, query, rows, sums) }
}

/// # Safety
/// `rows` has `ROWS · query.len()` bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_rows<const ROWS: usize>(query: &[i8], rows: &[i8]) -> [i32; ROWS] {
    const STEP: usize = 16;
    let columns = query.len();
    let whole = columns - columns % STEP;
    let mut sums = [vdupq_n_s32(0); ROWS];
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `columns`.
        let q = unsafe { vld1q_s8(query.as_ptr().add(at)) };
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the same, in one of the rows.
            let x = unsafe { vld1q_s8(rows.as_ptr().add(row * columns + at)) };
            *sum = sdot(*sum, x, q);
        }
    }
    std::array::from_fn(|row| {
        vaddvq_s32(sums[row]) + tail(&query[whole..], &rows[row * columns + whole..(row + 1) * columns])
    })
}

/// `sum + a · b`, four bytes in each of four lanes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: one instruction on registers, which this function's target feature enables.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
