//! Which instructions the processor has.

#[cfg(target_arch = "x86_64")]
mod amx;

/// An instruction set that this processor has: a value is proof, and comes only from [`Isa::best`], [`Isa::available`] or
/// [`Isa::scalar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(IsaKind);

/// The instruction sets there are kernels for, on all targets alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "each target makes its own few")]
pub(crate) enum IsaKind {
    /// Plain Rust.
    Scalar,
    /// x86-64: AVX2, FMA and F16C.
    Avx2,
    /// x86-64: the same and AVX-VNNI, `vpdpbusd` on 256 bits.
    Avx2Vnni,
    /// x86-64: AVX-512 F, BW, DQ, VL and VNNI, `vpdpbusd` on 512 bits; AVX2, FMA and F16C as well.
    Avx512Vnni,
    /// x86-64: the same and AMX's products of 8-bit integers, where the system lets this process use its registers.
    Amx,
    /// AArch64: NEON and the dot-product extension, `sdot`.
    NeonDot,
    /// WebAssembly: fixed-width SIMD.
    Simd128,
    /// WebAssembly: the same and relaxed SIMD.
    RelaxedSimd,
}

impl Isa {
    /// The fastest instruction set of this processor; in WebAssembly, of what the module was compiled for.
    pub fn best() -> Self {
        Self::available().last().copied().unwrap_or(Self::scalar())
    }

    /// Every instruction set of this processor that there are kernels for, slowest first. The first is plain Rust.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::scalar()];
        sets.extend(detected().into_iter().map(Self));
        sets
    }

    /// Plain Rust, which every processor has.
    pub fn scalar() -> Self {
        Self(IsaKind::Scalar)
    }

    /// As in `scalar`, `avx2`, `avx2-vnni`, `avx512-vnni`, `amx`, `neon-dot`, `simd128`, `relaxed-simd`.
    pub fn name(self) -> &'static str {
        match self.0 {
            IsaKind::Scalar => "scalar",
            IsaKind::Avx2 => "avx2",
            IsaKind::Avx2Vnni => "avx2-vnni",
            IsaKind::Avx512Vnni => "avx512-vnni",
            IsaKind::Amx => "amx",
            IsaKind::NeonDot => "neon-dot",
            IsaKind::Simd128 => "simd128",
            IsaKind::RelaxedSimd => "relaxed-simd",
        }
    }

    pub(crate) fn kind(self) -> IsaKind {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<IsaKind> {
    let mut kinds = Vec::new();
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    if avx2 {
        kinds.push(IsaKind::Avx2);
        if is_x86_feature_detected!("avxvnni") {
            kinds.push(IsaKind::Avx2Vnni);
        }
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 && is_x86_feature_detected!("avx512vnni") {
            kinds.push(IsaKind::Avx512Vnni);
            if amx::is_usable() {
                kinds.push(IsaKind::Amx);
            }
        }
    }
    kinds
}

#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<IsaKind> {
    use std::arch::is_aarch64_feature_detected;
    let dot = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
    if dot { vec![IsaKind::NeonDot] } else { Vec::new() }
}

/// A module that holds an instruction its engine lacks does not load at all, so there is nothing to ask at run time.
#[cfg(target_family = "wasm")]
fn detected() -> Vec<IsaKind> {
    let mut kinds = Vec::new();
    if cfg!(target_feature = "simd128") {
        kinds.push(IsaKind::Simd128);
        if cfg!(target_feature = "relaxed-simd") {
            kinds.push(IsaKind::RelaxedSimd);
        }
    }
    kinds
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_family = "wasm")))]
fn detected() -> Vec<IsaKind> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_available_and_plain_rust_always_is() {
        let sets = Isa::available();
        assert_eq!(sets[0], Isa::scalar());
        assert_eq!(sets.last(), Some(&Isa::best()));
        let mut names: Vec<_> = sets.iter().map(|isa| isa.name()).collect();
        names.dedup();
        assert_eq!(names.len(), sets.len());
    }
}
