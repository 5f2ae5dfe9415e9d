//! Rows of f32 into 8-bit integers, one scale a row, in the form that a kernel reads.
//!
//! What it computes is [`crate::reference::quantize_row`], to the bit and on every instruction set: the largest magnitude is found among
//! the bit patterns, where NaN is above infinity, and rounding adds 1.5·2²³, whose sum has the integer in its low bits and halves
//! rounded to even. Each instruction set gets the same plain loops, compiled for its width.

/// Quantizes a row: integers into `out`, in the kernel's form and padded with whatever weights of zero cancel; the row's scale back.
/// `out` has room for the row.
pub(crate) type QuantizeRow = unsafe fn(&[f32], &mut [u8]) -> f32;

/// What is added so that the nearest integer stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// The factor into integers and the row's scale; the factor is 0 where there are none to be had.
#[inline(always)]
fn factors(x: &[f32]) -> (f32, f32) {
    // As integers the magnitudes order like the numbers, with NaN above infinity.
    let mut bits = 0;
    for x in x {
        bits = bits.max(x.to_bits() & 0x7fff_ffff);
    }
    let absmax = f32::from_bits(bits);
    if absmax < 1e-30 {
        (0.0, 0.0)
    } else if absmax.is_finite() {
        (127.0 / absmax, absmax / 127.0)
    } else {
        (0.0, f32::NAN)
    }
}

/// The integer, in the low bits of what it returns (two's complement).
#[inline(always)]
fn rounded(x: f32, factor: f32) -> u32 {
    (x * factor + ROUNDER).to_bits()
}

/// Bytes; `FLIP` is 0 for signed ones and 128 for those offset by 128.
#[inline(always)]
fn into_bytes<const FLIP: u8>(x: &[f32], out: &mut [u8]) -> f32 {
    let (factor, scale) = factors(x);
    let (row, padding) = out.split_at_mut(x.len());
    if factor == 0.0 {
        row.fill(FLIP);
    } else {
        for (out, &x) in row.iter_mut().zip(x) {
            *out = rounded(x, factor) as u8 ^ FLIP;
        }
    }
    padding.fill(FLIP);
    scale
}

/// 16-bit integers, in the order of the machine's bytes.
#[cfg(any(target_arch = "x86_64", all(target_family = "wasm", target_feature = "simd128")))]
#[inline(always)]
fn into_words(x: &[f32], out: &mut [u8]) -> f32 {
    let (factor, scale) = factors(x);
    let (words, _) = out.as_chunks_mut::<2>();
    let (row, padding) = words.split_at_mut(x.len());
    if factor == 0.0 {
        row.fill([0; 2]);
    } else {
        for (out, &x) in row.iter_mut().zip(x) {
            *out = (rounded(x, factor) as u16).to_ne_bytes();
        }
    }
    padding.fill([0; 2]);
    scale
}

/// Plain Rust: signed bytes.
pub(crate) unsafe fn scalar(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<0>(x, out)
}

/// Bytes offset by 128.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn avx512_offset(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<128>(x, out)
}

/// Bytes offset by 128.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn avx2_offset(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<128>(x, out)
}

/// Signed bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn avx512_bytes(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<0>(x, out)
}

/// Signed bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn avx2_bytes(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<0>(x, out)
}

/// 16-bit integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn avx2_words(x: &[f32], out: &mut [u8]) -> f32 {
    into_words(x, out)
}

/// Signed bytes.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn neon(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<0>(x, out)
}

/// 16-bit integers.
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
pub(crate) unsafe fn simd128_words(x: &[f32], out: &mut [u8]) -> f32 {
    into_words(x, out)
}

/// Bytes offset by 128.
#[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
pub(crate) unsafe fn relaxed_offset(x: &[f32], out: &mut [u8]) -> f32 {
    into_bytes::<128>(x, out)
}
