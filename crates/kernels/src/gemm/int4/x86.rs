//! AVX2 (16 columns), with AVX-VNNI or without, and AVX-512 with VNNI (32 columns).
//!
//! Weights are the unsigned operand of the products of bytes, rows the signed one, so rows need no offset. Without VNNI two products of at
//! most 15 · 127 are added in 16 bits, where nothing saturates.

use super::sums::{Nibbles, VECTORS, tile};
use crate::gemm::tile::{Int4Kernel, Int4Tile, by_rows};
use crate::quantize_rows;
use std::arch::x86_64::*;

pub(super) const AVX2: Int4Kernel =
    Int4Kernel { rows: 4, columns: VECTORS * 8, quantize_row: quantize_rows::avx2_bytes, tile: avx2 };
pub(super) const AVX2_VNNI: Int4Kernel = Int4Kernel { tile: avx2_vnni, ..AVX2 };
pub(super) const AVX512: Int4Kernel =
    Int4Kernel { rows: 8, columns: VECTORS * 16, quantize_row: quantize_rows::avx512_bytes, tile: avx512 };

unsafe fn avx2(tile: &Int4Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe { by_rows!(avx2_rows, tile, 1, 2, 3, 4) }
}

unsafe fn avx2_vnni(tile: &Int4Tile) {
    // SAFETY: as above.
    unsafe { by_rows!(avx2_vnni_rows, tile, 1, 2, 3, 4) }
}

unsafe fn avx512(tile: &Int4Tile) {
    // SAFETY: as above.
    unsafe { by_rows!(avx512_rows, tile, 1, 2, 3, 4, 5, 6, 7, 8) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on; the processor has AVX2.
    unsafe { tile::<Avx2<false>, ROWS>(Avx2(()), operands) }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn avx2_vnni_rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on; the processor has AVX2 and AVX-VNNI.
    unsafe { tile::<Avx2<true>, ROWS>(Avx2(()), operands) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn avx512_rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on; the processor has AVX-512 and VNNI.
    unsafe { tile::<Avx512, ROWS>(Avx512(()), operands) }
}

/// AVX2, and AVX-VNNI if so. Made only where the processor has them.
#[derive(Clone, Copy)]
struct Avx2<const VNNI: bool>(());

/// AVX-512 and VNNI. Made only where the processor has them.
#[derive(Clone, Copy)]
struct Avx512(());

/// Methods whose instructions the value `self` is proof of.
macro_rules! methods {
    ($($name:ident ( $($argument:ident : $type:ty),+ ) -> $result:ty { $value:expr })+) => {
        $(#[inline(always)]
        fn $name(self, $($argument: $type),+) -> $result {
            // SAFETY: `self` exists only where the processor has the instructions.
            unsafe { $value }
        })+
    };
    (unsafe $($name:ident ( $($argument:ident : $type:ty),+ ) -> $result:ty { $value:expr })+) => {
        $(#[inline(always)]
        unsafe fn $name(self, $($argument: $type),+) -> $result {
            // SAFETY: the caller's for pointers; `self` exists only where the processor has the instructions.
            unsafe { $value }
        })+
    };
}

impl<const VNNI: bool> Nibbles for Avx2<VNNI> {
    type Bytes = __m256i;
    type Ints = __m256i;
    type Floats = __m256;
    const LANES: usize = 8;

    methods! {
        low(bytes: __m256i) -> __m256i { _mm256_and_si256(bytes, _mm256_set1_epi8(15)) }
        high(bytes: __m256i) -> __m256i { _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15)) }
        dot(sums: __m256i, weights: __m256i, x: i32) -> __m256i {
            if VNNI {
                _mm256_dpbusd_avx_epi32(sums, weights, _mm256_set1_epi32(x))
            } else {
                let pairs = _mm256_maddubs_epi16(weights, _mm256_set1_epi32(x));
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
        splat_int(number: i32) -> __m256i { _mm256_set1_epi32(number) }
        floats(sums: __m256i) -> __m256 { _mm256_cvtepi32_ps(sums) }
        splat(number: f32) -> __m256 { _mm256_set1_ps(number) }
        add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
    }

    methods! { unsafe
        load(from: *const u8) -> __m256i { _mm256_loadu_si256(from.cast()) }
        multiply(from: *const u8, factor: i32) -> __m256i {
            _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())), _mm256_set1_epi32(factor))
        }
        load_floats(from: *const f32) -> __m256 { _mm256_loadu_ps(from) }
        store(to: *mut f32, numbers: __m256) -> () { _mm256_storeu_ps(to, numbers) }
    }
}

impl Nibbles for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    const LANES: usize = 16;

    methods! {
        low(bytes: __m512i) -> __m512i { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
        high(bytes: __m512i) -> __m512i { _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15)) }
        dot(sums: __m512i, weights: __m512i, x: i32) -> __m512i {
            _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(x))
        }
        splat_int(number: i32) -> __m512i { _mm512_set1_epi32(number) }
        floats(sums: __m512i) -> __m512 { _mm512_cvtepi32_ps(sums) }
        splat(number: f32) -> __m512 { _mm512_set1_ps(number) }
        add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
    }

    methods! { unsafe
        load(from: *const u8) -> __m512i { _mm512_loadu_si512(from.cast()) }
        multiply(from: *const u8, factor: i32) -> __m512i {
            _mm512_mullo_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())), _mm512_set1_epi32(factor))
        }
        load_floats(from: *const f32) -> __m512 { _mm512_loadu_ps(from) }
        store(to: *mut f32, numbers: __m512) -> () { _mm512_storeu_ps(to, numbers) }
    }
}
