//! 4-bit weights in groups.
//!
//! Rows become signed bytes, weights stay numbers from 0 to 15, so the products of a group are exact as 32-bit integers, its zero
//! taken off; the groups' sums, each times its factor, are added in f32 in the order of `k`, the same on every instruction set.

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod sums;
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::tile::Int4Kernel;
use crate::Isa;
use crate::isa::IsaKind;

/// The kernel for 4-bit weights of an instruction set.
pub(crate) fn int4_kernel(isa: Isa) -> &'static Int4Kernel {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => &x86::AVX2,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2Vnni => &x86::AVX2_VNNI,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512Vnni | IsaKind::Amx => &x86::AVX512,
        #[cfg(target_arch = "aarch64")]
        IsaKind::NeonDot => &neon::KERNEL,
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => &wasm::SIMD128,
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => &wasm::RELAXED,
        IsaKind::Scalar => &scalar::KERNEL,
        // Instruction sets of other targets, which cannot occur here.
        _ => &scalar::KERNEL,
    }
}
