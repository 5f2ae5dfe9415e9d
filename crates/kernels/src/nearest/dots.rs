//! Sums of products of a query with rows of bytes, for the instruction set at hand.

use super::products::tail;
use crate::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::isa::IsaKind;

/// Computes as many sums as rows; `rows` is `[sums, columns]`.
///
/// # Safety
/// The processor has the instructions. `rows` has `sums.len() · query.len()` bytes.
pub(super) type Kernel = unsafe fn(query: &[i8], rows: &[i8], sums: &mut [i32]);

/// A query, and how it is multiplied.
pub(super) struct Dots<'q> {
    query: &'q [i8],
    kernel: Kernel,
}

impl<'q> Dots<'q> {
    /// For a query of at least one and at most 65,536 bytes.
    pub(super) fn new(isa: Isa, query: &'q [i8]) -> Dots<'q> {
        Dots { query, kernel: kernel(isa) }
    }

    /// The sums of rows, `[sums, columns]`.
    ///
    /// # Panics
    /// If `rows` is of another length.
    pub(super) fn of_rows(&self, rows: &[i8], sums: &mut [i32]) {
        assert_eq!(rows.len(), sums.len() * self.query.len(), "rows of another length");
        // SAFETY: an `Isa` is proof that the processor has its instructions, and the lengths were compared.
        unsafe { (self.kernel)(self.query, rows, sums) }
    }
}

#[cfg(target_arch = "x86_64")]
fn kernel(isa: Isa) -> Kernel {
    match isa.kind() {
        IsaKind::Avx2 => super::x86::avx2,
        IsaKind::Avx2Vnni => super::x86::avx2_vnni,
        IsaKind::Avx512Vnni | IsaKind::Amx => super::x86::avx512_vnni,
        _ => scalar,
    }
}

#[cfg(target_arch = "aarch64")]
fn kernel(isa: Isa) -> Kernel {
    match isa.kind() {
        IsaKind::NeonDot => super::neon::dot,
        _ => scalar,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn kernel(_: Isa) -> Kernel {
    scalar
}

/// Plain Rust.
///
/// # Safety
/// None is needed; the signature is that of the others.
unsafe fn scalar(query: &[i8], rows: &[i8], sums: &mut [i32]) {
    for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
        *sum = tail(query, row);
    }
}
