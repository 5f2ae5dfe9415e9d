//! The inner products: a tile of a few rows by a few columns over the whole of `k`, for each instruction set.
//!
//! Weights come packed (`packed.rs`): panels of `columns` columns, in a panel groups of `group` consecutive `k`, in a group the columns
//! one after another, so that a tile reads its panel from front to back. Rows stay as they are, row after row: a tile broadcasts
//! from each of its rows, and no row is copied for its sake.
//!
//! The sums of 8-bit products are exact, so all instruction sets agree to the last bit; what follows a sum (scale, bias, residual) is one
//! multiplication and additions, each rounded by itself, never a fused one, for the same reason. Sums of f32 products come both ways
//! ([`Rounding`]).

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_vnni;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod operand;
pub(crate) mod product;
#[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
mod relaxed_simd;
mod scalar;
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod simd128;

use crate::isa::IsaKind;
use crate::quantize_rows::QuantizeRow;
use crate::{Isa, Rounding};

/// A kernel for 8-bit weights.
pub(crate) struct Int8Kernel {
    /// Rows of a full tile; any smaller number works.
    pub(crate) rows: usize,
    /// Columns of a panel, and of every tile.
    pub(crate) columns: usize,
    /// Consecutive `k` that lie together in a panel.
    pub(crate) group: usize,
    /// `k` is padded with zeros to a multiple of this, itself a multiple of `group`.
    pub(crate) k_align: usize,
    /// Bytes that a number of a quantized row takes.
    pub(crate) row_bytes: usize,
    /// What the kernel adds to each quantized number, to be taken off again by the columns' sums.
    pub(crate) offset: i32,
    pub(crate) quantize_row: QuantizeRow,
    pub(crate) tile: unsafe fn(&Int8Tile),
}

/// The operands of a tile. What they point at must be as long as their comments say.
pub(crate) struct Int8Tile {
    /// From 1 to the kernel's `rows`.
    pub(crate) rows: usize,
    /// Padded `k`, a multiple of `k_align`.
    pub(crate) k: usize,
    /// `rows` quantized rows, `x_stride` bytes apart.
    pub(crate) x: *const u8,
    pub(crate) x_stride: usize,
    /// `k · columns` bytes, aligned to 64 where the panel's length is a multiple of it.
    pub(crate) panel: *const i8,
    /// What sums start from: minus `offset` times the column's sum, `columns` of them.
    pub(crate) start: *const i32,
    /// `rows` factors.
    pub(crate) row_scales: *const f32,
    /// `columns` factors.
    pub(crate) column_scales: *const f32,
    /// `columns` summands.
    pub(crate) bias: *const f32,
    pub(crate) out: Out,
}

/// A kernel for weights in f32.
pub(crate) struct F32Kernel {
    /// Rows of a full tile; any smaller number works.
    pub(crate) rows: usize,
    /// Columns of a panel, and of every tile.
    pub(crate) columns: usize,
    pub(crate) tile: unsafe fn(&F32Tile),
}

/// The operands of a tile. What they point at must be as long as their comments say.
pub(crate) struct F32Tile {
    /// From 1 to the kernel's `rows`.
    pub(crate) rows: usize,
    pub(crate) k: usize,
    /// `rows` rows of `k`, `x_stride` numbers apart.
    pub(crate) x: *const f32,
    pub(crate) x_stride: usize,
    /// `k · columns` numbers.
    pub(crate) panel: *const f32,
    /// `columns` summands.
    pub(crate) bias: *const f32,
    pub(crate) out: Out,
}

/// Where a tile goes.
pub(crate) struct Out {
    /// `rows` rows of `columns`, `stride` numbers apart.
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
    /// Null, or what is added at the end, in the places of `start`.
    pub(crate) residual: *const f32,
}

/// Calls a tile function with the number of rows as a constant, and as many sums side by side in `k` as keep the multipliers busy.
macro_rules! by_rows {
    ($tile:ident, $operands:expr, $($rows:literal => $unroll:literal),+) => {
        match $operands.rows {
            $($rows => $tile::<$rows, $unroll>($operands),)+
            _ => {}
        }
    };
}
use by_rows;

/// The kernel for 8-bit weights of an instruction set.
pub(crate) fn int8_kernel(isa: Isa) -> &'static Int8Kernel {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => &avx2::INT8,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2Vnni => &avx2_vnni::INT8,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512Vnni => &avx512::INT8,
        #[cfg(target_arch = "aarch64")]
        IsaKind::NeonDot => &neon::INT8,
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => &simd128::INT8,
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => relaxed_simd::int8_kernel(),
        IsaKind::Scalar => &scalar::INT8,
        // Instruction sets of other targets, which nobody has a value of.
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

/// Stepwise and fused. Stepwise, each number is one sum over `k` in order, and then its bias is added, and then the residual.
fn f32_kernels(isa: Isa) -> (&'static F32Kernel, &'static F32Kernel) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 | IsaKind::Avx2Vnni => (&avx2::F32_STEPWISE, &avx2::F32),
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512Vnni => (&avx512::F32_STEPWISE, &avx512::F32),
        #[cfg(target_arch = "aarch64")]
        IsaKind::NeonDot => (&neon::F32_STEPWISE, &neon::F32),
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        IsaKind::Simd128 => (&simd128::F32_STEPWISE, &simd128::F32),
        #[cfg(all(target_family = "wasm", target_feature = "relaxed-simd"))]
        IsaKind::RelaxedSimd => (&simd128::F32_STEPWISE, &relaxed_simd::F32),
        IsaKind::Scalar => (&scalar::F32, &scalar::F32),
        // As above.
        _ => (&scalar::F32, &scalar::F32),
    }
}
