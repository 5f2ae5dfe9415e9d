//! AVX2 and AVX-512.

use super::simd::{LANES_MAX, Operation, Simd};
use std::arch::x86_64::*;

/// AVX2 and FMA. Made only by [`run_avx2`].
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// AVX-512 F, BW, DQ and VL. Made only by [`run_avx512`].
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run_avx2<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx2(()))
}

/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-512 F, BW, DQ and VL.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_avx512<O: Operation>(operation: O) -> O::Output {
    operation.run(Avx512(()))
}

/// One instruction a method: the value `self` is proof that the processor has it.
macro_rules! arithmetic {
    ($($name:ident ( $($argument:ident),+ ) => $value:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($argument: Self::V),+) -> Self::V {
            // SAFETY: `self` exists only where the processor has the instruction.
            unsafe { $value }
        })+
    };
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;

    arithmetic! {
        add(a, b) => _mm256_add_ps(a, b);
        sub(a, b) => _mm256_sub_ps(a, b);
        mul(a, b) => _mm256_mul_ps(a, b);
        div(a, b) => _mm256_div_ps(a, b);
        mul_add_fused(a, b, c) => _mm256_fmadd_ps(a, b, c);
        min(a, b) => _mm256_min_ps(a, b);
        max(a, b) => _mm256_max_ps(a, b);
        if_less(a, b, then, otherwise) => _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        exp2_shifted(n) => _mm256_castsi256_ps(_mm256_add_epi32(
            _mm256_slli_epi32::<23>(_mm256_castps_si256(n)),
            _mm256_set1_epi32(127 << 23),
        ));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's; `self` exists only where the processor has AVX2.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a hint; no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }

    #[inline(always)]
    fn call<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe { run_avx2(operation) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        // SAFETY: the caller's; `self` exists only where the processor has AVX2.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe { sum_of_halves(x) }
    }

    #[inline(always)]
    fn largest(self, x: __m256) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX2.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    // Pairs of rows, then pairs of pairs, within halves of the register; then the halves change places.
    #[inline(always)]
    unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, stride: usize) {
        // SAFETY: the caller's for the pointers; `self` exists only where the processor has AVX2.
        unsafe {
            let mut q = [_mm256_setzero_ps(); 8];
            for h in 0..2 {
                let (a, b) = (_mm256_loadu_ps(rows[4 * h]), _mm256_loadu_ps(rows[4 * h + 1]));
                let (c, d) = (_mm256_loadu_ps(rows[4 * h + 2]), _mm256_loadu_ps(rows[4 * h + 3]));
                let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                q[4 * h] = _mm256_shuffle_ps::<0x44>(ab0, cd0);
                q[4 * h + 1] = _mm256_shuffle_ps::<0xEE>(ab0, cd0);
                q[4 * h + 2] = _mm256_shuffle_ps::<0x44>(ab1, cd1);
                q[4 * h + 3] = _mm256_shuffle_ps::<0xEE>(ab1, cd1);
            }
            for k in 0..4 {
                put::<ADD>(to.add(k * stride), _mm256_permute2f128_ps::<0x20>(q[k], q[4 + k]));
                put::<ADD>(to.add((4 + k) * stride), _mm256_permute2f128_ps::<0x31>(q[k], q[4 + k]));
            }
        }
    }
}

/// # Safety
/// The processor has AVX2; `to` points to 8 writable elements.
#[inline(always)]
unsafe fn put<const ADD: bool>(to: *mut f32, x: __m256) {
    // SAFETY: the caller's.
    unsafe { _mm256_storeu_ps(to, if ADD { _mm256_add_ps(_mm256_loadu_ps(to), x) } else { x }) }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn sum_of_halves(x: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;

    arithmetic! {
        add(a, b) => _mm512_add_ps(a, b);
        sub(a, b) => _mm512_sub_ps(a, b);
        mul(a, b) => _mm512_mul_ps(a, b);
        div(a, b) => _mm512_div_ps(a, b);
        mul_add_fused(a, b, c) => _mm512_fmadd_ps(a, b, c);
        min(a, b) => _mm512_min_ps(a, b);
        max(a, b) => _mm512_max_ps(a, b);
        if_less(a, b, then, otherwise) =>
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then);
        exp2_shifted(n) => _mm512_castsi512_ps(_mm512_add_epi32(
            _mm512_slli_epi32::<23>(_mm512_castps_si512(n)),
            _mm512_set1_epi32(127 << 23),
        ));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's; `self` exists only where the processor has AVX-512.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a hint; no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }

    #[inline(always)]
    fn call<O: Operation>(self, operation: O) -> O::Output {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { run_avx512(operation) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        // SAFETY: the caller's; `self` exists only where the processor has AVX-512.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX-512. The intrinsic for it all has an order of its own.
        unsafe { sum_of_halves(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x))) }
    }

    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        // SAFETY: `self` exists only where the processor has AVX-512.
        unsafe { _mm512_reduce_max_ps(x) }
    }

    // Pairs of rows, then pairs of pairs, within quarters of the register; then the quarters change places, twice.
    #[inline(always)]
    unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, stride: usize) {
        // SAFETY: the caller's for the pointers; `self` exists only where the processor has AVX-512.
        unsafe {
            let mut q = [_mm512_setzero_ps(); 16];
            for g in 0..4 {
                let (a, b) = (_mm512_loadu_ps(rows[4 * g]), _mm512_loadu_ps(rows[4 * g + 1]));
                let (c, d) = (_mm512_loadu_ps(rows[4 * g + 2]), _mm512_loadu_ps(rows[4 * g + 3]));
                let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                q[4 * g] = _mm512_shuffle_ps::<0x44>(ab0, cd0);
                q[4 * g + 1] = _mm512_shuffle_ps::<0xEE>(ab0, cd0);
                q[4 * g + 2] = _mm512_shuffle_ps::<0x44>(ab1, cd1);
                q[4 * g + 3] = _mm512_shuffle_ps::<0xEE>(ab1, cd1);
            }
            for k in 0..4 {
                // Quarter n of `q[4g + k]` holds column 4n + k of rows 4g..4g + 4.
                let low = _mm512_shuffle_f32x4::<0x44>(q[k], q[4 + k]);
                let low_high = _mm512_shuffle_f32x4::<0xEE>(q[k], q[4 + k]);
                let high = _mm512_shuffle_f32x4::<0x44>(q[8 + k], q[12 + k]);
                let high_high = _mm512_shuffle_f32x4::<0xEE>(q[8 + k], q[12 + k]);
                put_512::<ADD>(to.add(k * stride), _mm512_shuffle_f32x4::<0x88>(low, high));
                put_512::<ADD>(to.add((4 + k) * stride), _mm512_shuffle_f32x4::<0xDD>(low, high));
                put_512::<ADD>(to.add((8 + k) * stride), _mm512_shuffle_f32x4::<0x88>(low_high, high_high));
                put_512::<ADD>(to.add((12 + k) * stride), _mm512_shuffle_f32x4::<0xDD>(low_high, high_high));
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512; `to` points to 16 writable elements.
#[inline(always)]
unsafe fn put_512<const ADD: bool>(to: *mut f32, x: __m512) {
    // SAFETY: the caller's.
    unsafe { _mm512_storeu_ps(to, if ADD { _mm512_add_ps(_mm512_loadu_ps(to), x) } else { x }) }
}
