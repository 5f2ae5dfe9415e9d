//! x86-64. AVX2 widens bytes to 16 bits. VNNI multiplies unsigned bytes by signed ones: rows are moved up by 128, and 128 times the sum of the
//! query is taken off again.

use super::products::{by_four, tail};
use std::arch::x86_64::*;

/// # Safety
/// As [`super::dots::Kernel`] says; the processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(query: &[i8], rows: &[i8], sums: &mut [i32]) {
    // SAFETY: chunks are of whole rows.
    unsafe { by_four!(avx2_rows, query, rows, sums) }
}

/// # Safety
/// `rows` has `ROWS · query.len()` bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn avx2_rows<const ROWS: usize>(query: &[i8], rows: &[i8]) -> [i32; ROWS] {
    const STEP: usize = 16;
    let columns = query.len();
    let whole = columns - columns % STEP;
    let mut sums = [_mm256_setzero_si256(); ROWS];
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `columns`.
        let q = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(query.as_ptr().add(at).cast())) };
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the same, in one of the rows.
            let x = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(rows.as_ptr().add(row * columns + at).cast())) };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(q, x));
        }
    }
    std::array::from_fn(|row| {
        sum_of(sums[row]) + tail(&query[whole..], &rows[row * columns + whole..(row + 1) * columns])
    })
}

/// # Safety
/// As [`super::dots::Kernel`] says; the processor has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn avx2_vnni(query: &[i8], rows: &[i8], sums: &mut [i32]) {
    // SAFETY: chunks are of whole rows.
    unsafe { by_four!(avx2_vnni_rows, query, rows, sums) }
}

/// # Safety
/// `rows` has `ROWS · query.len()` bytes.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn avx2_vnni_rows<const ROWS: usize>(query: &[i8], rows: &[i8]) -> [i32; ROWS] {
    const STEP: usize = 32;
    let columns = query.len();
    let whole = columns - columns % STEP;
    let up = _mm256_set1_epi8(i8::MIN);
    let (mut sums, mut moved) = ([_mm256_setzero_si256(); ROWS], _mm256_setzero_si256());
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `columns`.
        let q = unsafe { _mm256_loadu_si256(query.as_ptr().add(at).cast()) };
        // 128 as an unsigned byte.
        moved = _mm256_dpbusd_avx_epi32(moved, up, q);
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the same, in one of the rows.
            let x = unsafe { _mm256_loadu_si256(rows.as_ptr().add(row * columns + at).cast()) };
            *sum = _mm256_dpbusd_avx_epi32(*sum, _mm256_xor_si256(x, up), q);
        }
    }
    std::array::from_fn(|row| {
        let sum = sum_of(_mm256_sub_epi32(sums[row], moved));
        sum + tail(&query[whole..], &rows[row * columns + whole..(row + 1) * columns])
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of(lanes: __m256i) -> i32 {
    let half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b00_00_11_10>(half));
    _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b00_00_00_01>(pair)))
}

/// # Safety
/// As [`super::dots::Kernel`] says; the processor has AVX-512 F, BW and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn avx512_vnni(query: &[i8], rows: &[i8], sums: &mut [i32]) {
    // SAFETY: chunks are of whole rows.
    unsafe { by_four!(avx512_vnni_rows, query, rows, sums) }
}

/// # Safety
/// `rows` has `ROWS · query.len()` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512_vnni_rows<const ROWS: usize>(query: &[i8], rows: &[i8]) -> [i32; ROWS] {
    const STEP: usize = 64;
    let columns = query.len();
    let up = _mm512_set1_epi8(i8::MIN);
    let (mut sums, mut moved) = ([_mm512_setzero_si512(); ROWS], _mm512_setzero_si512());
    for at in (0..columns).step_by(STEP) {
        let mask = match columns - at {
            STEP.. => u64::MAX,
            rest => (1 << rest) - 1,
        };
        // SAFETY: the mask leaves out what is beyond `columns`; those bytes are 0, and so are their products.
        let q = unsafe { _mm512_maskz_loadu_epi8(mask, query.as_ptr().add(at)) };
        moved = _mm512_dpbusd_epi32(moved, up, q);
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the same, in one of the rows.
            let x = unsafe { _mm512_maskz_loadu_epi8(mask, rows.as_ptr().add(row * columns + at)) };
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(x, up), q);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, moved)))
}
