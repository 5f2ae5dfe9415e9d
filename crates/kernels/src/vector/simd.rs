//! Vectors of `f32` of one instruction set, and kernels written on them.

/// Lanes of the widest vector.
pub(crate) const LANES_MAX: usize = 16;

/// Vectors of `f32` of one instruction set. A value exists only where the processor has the instructions, which is what makes
/// the arithmetic safe to call.
pub(crate) trait Simd: Copy {
    /// The register.
    type V: Copy;
    /// Elements of a register; a power of two, at most [`LANES_MAX`].
    const LANES: usize;
    /// Rows of a product's tile, at [`Simd::TILE_VECTORS`] registers a row, that the register file holds; 4 or 8.
    const TILE_ROWS: usize;
    /// Registers a row of a product's tile; 2 or 3.
    const TILE_VECTORS: usize = 3;

    fn splat(self, x: f32) -> Self::V;

    /// # Safety
    /// `from` points to `LANES` readable elements; any alignment.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// # Safety
    /// `to` points to `LANES` writable elements; any alignment.
    unsafe fn store(self, to: *mut f32, x: Self::V);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`, rounded once where the instruction set can.
    fn mul_add_fused(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a·b + c`, rounded after the product and after the sum: the same on every instruction set.
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }
    /// `a` if it is smaller than `b`, else `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` if it is larger than `b`, else `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Where `a < b`, `then`; elsewhere, not-a-number included, `otherwise`.
    fn if_less(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// 2ⁿ for a whole number n of -126..=127, given as n + 1.5·2²³.
    fn exp2_shifted(self, n: Self::V) -> Self::V;
    /// The sum of the lanes, added in halves: lane i and lane i + `LANES` / 2, until one is left.
    fn sum(self, x: Self::V) -> f32;
    /// The largest lane; lanes that are not a number may be passed over.
    fn largest(self, x: Self::V) -> f32;

    /// Writes a square of `LANES` by `LANES`, transposed: row `m` goes to column `m` of `to`; added to it if `ADD`.
    ///
    /// # Safety
    /// The first `LANES` pointers of `rows` each point to `LANES` readable elements; `to` to `LANES` rows of as many writable
    /// ones, `stride` apart, that no row overlaps.
    unsafe fn transpose<const ADD: bool>(self, rows: &[*const f32; LANES_MAX], to: *mut f32, stride: usize);

    /// Asks for the cache line at `from`, where the instruction set can; any address will do.
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        let _ = from;
    }

    /// Runs an operation in a function of its own, where inlining it at each of its callers would be too much code.
    fn call<O: Operation>(self, operation: O) -> O::Output;
}

/// A kernel written once for all instruction sets.
pub(crate) trait Operation {
    /// What it returns.
    type Output;

    /// Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
