//! The inner products: a tile of a few rows by a few columns over the whole of `k`, for each instruction set.
//!
//! Weights come packed (`packed.rs`): panels of `columns` columns, in a panel groups of `group` consecutive `k`, in a group the columns
//! one after another, so that a tile reads its panel from front to back. Rows stay as they are, row after row: a tile broadcasts
//! from each of its rows, and no row is copied for its sake.
//!
//! The sums of 8-bit products are exact, so all instruction sets agree to the last bit; what follows a sum (scale, bias, residual) is one
//! multiplication and additions, each rounded by itself, never a fused one, for the same reason. Sums of f32 products come both ways
//! ([`Rounding`]).

mod ahead;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_vnni;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod int4;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod operand;
pub(crate) mod product;
#[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
mod relaxed_simd;
mod scalar;
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod simd128;
pub(crate) mod tile;

use crate::isa::IsaKind;
use crate::{Isa, Rounding};
use tile::{F32Kernel, Int8Kernel};

pub(crate) use int4::int4_kernel;

/// The kernel for 8-bit weights of an instruction set.
pub(crate) fn int8_kernel(isa: Isa) -> &'static Int8Kernel {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => &avx2::INT8,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2Vnni => &avx2_vnni::INT8,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512Vnni => &avx512::INT8,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Amx => &amx::INT8,
        #[cfg(target_arch = "aarch64")]
        IsaKind::NeonDot => &neon::INT8,
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => &simd128::INT8,
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => relaxed_simd::int8_kernel(),
        IsaKind::Scalar => &scalar::INT8,
        // Instruction sets of other targets, which cannot occur here.
        _ => &scalar::INT8,
    }
}

/// The kernel for weights in f32 of an instruction set.
pub(crate) fn f32_kernel(isa: Isa, rounding: Rounding) -> &'static F32Kernel {
    let (stepwise, fused) = f32_kernels(isa);
    match rounding {
        Rounding::Stepwise => stepwise,
        Rounding::Fused => fused,
    }
}

/// Stepwise and fused. Either way each number is one sum over `k` in order, and then its bias is added, and then the residual: the same
/// bits, whatever the other rows.
fn f32_kernels(isa: Isa) -> (&'static F32Kernel, &'static F32Kernel) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 | IsaKind::Avx2Vnni => (&avx2::F32_STEPWISE, &avx2::F32),
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512Vnni | IsaKind::Amx => (&avx512::F32_STEPWISE, &avx512::F32),
        #[cfg(target_arch = "aarch64")]
        IsaKind::NeonDot => (&neon::F32_STEPWISE, &neon::F32),
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => (&simd128::F32, &simd128::F32),
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => (&simd128::F32, &relaxed_simd::F32),
        IsaKind::Scalar => (&scalar::F32, &scalar::F32),
        // As above.
        _ => (&scalar::F32, &scalar::F32),
    }
}

/// The kernel for weights in binary16 of an instruction set, if it can make f32 of them on the way.
pub(crate) fn f16_kernel(isa: Isa, rounding: Rounding) -> Option<&'static F32Kernel> {
    match (isa.kind(), rounding) {
        #[cfg(target_arch = "x86_64")]
        (IsaKind::Avx2 | IsaKind::Avx2Vnni, Rounding::Stepwise) => Some(&avx2::F16_STEPWISE),
        #[cfg(target_arch = "x86_64")]
        (IsaKind::Avx2 | IsaKind::Avx2Vnni, Rounding::Fused) => Some(&avx2::F16),
        #[cfg(target_arch = "x86_64")]
        (IsaKind::Avx512Vnni | IsaKind::Amx, Rounding::Stepwise) => Some(&avx512::F16_STEPWISE),
        #[cfg(target_arch = "x86_64")]
        (IsaKind::Avx512Vnni | IsaKind::Amx, Rounding::Fused) => Some(&avx512::F16),
        #[cfg(target_arch = "aarch64")]
        (IsaKind::NeonDot, Rounding::Stepwise) => Some(&neon::F16_STEPWISE),
        #[cfg(target_arch = "aarch64")]
        (IsaKind::NeonDot, Rounding::Fused) => Some(&neon::F16),
        _ => None,
    }
}
