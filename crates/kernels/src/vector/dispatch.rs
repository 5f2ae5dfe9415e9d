//! The choice of an instruction set, once a call.

use super::simd::Operation;
use crate::Isa;
use crate::isa::IsaKind;

/// Runs a kernel with the instructions of `isa`.
#[inline]
pub(crate) fn dispatch<O: Operation>(isa: Isa, operation: O) -> O::Output {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a value of `Isa` says that the processor has the instructions.
        IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { super::x86::run_avx512(operation) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        IsaKind::Avx2 | IsaKind::Avx2Vnni => unsafe { super::x86::run_avx2(operation) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        IsaKind::NeonDot => unsafe { super::neon::run_neon(operation) },
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => operation.run(super::wasm::Simd128),
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => operation.run(super::wasm::RelaxedSimd),
        _ => operation.run(super::scalar::Scalar),
    }
}
