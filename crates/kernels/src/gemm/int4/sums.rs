//! A tile of 4-bit weights, for every instruction set.

use crate::gemm::ahead::fetch_ahead;
use crate::gemm::tile::Int4Tile;

/// Vectors of columns in a tile.
pub(super) const VECTORS: usize = 2;

/// Zero of a column whose weights name none: the middle of 0..=15.
const MIDDLE: i32 = 8;

/// What an instruction set does with a vector of columns. A value exists only where the processor has the instructions.
pub(super) trait Nibbles: Copy {
    /// Four bytes a column.
    type Bytes: Copy;
    /// Sums in 32 bits, one or two a column.
    type Ints: Copy;
    /// A number a column.
    type Floats: Copy;
    /// Columns.
    const LANES: usize;

    /// # Safety
    /// `from` points to `4 · LANES` bytes.
    unsafe fn load(self, from: *const u8) -> Self::Bytes;
    /// The low halves of bytes.
    fn low(self, bytes: Self::Bytes) -> Self::Bytes;
    /// The high halves of bytes.
    fn high(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Adds to each column's sum the products of its bytes, from 0 to 15, with the four signed bytes of `x`.
    fn dot(self, sums: Self::Ints, weights: Self::Bytes, x: i32) -> Self::Ints;
    /// `factor` times each column's number.
    ///
    /// # Safety
    /// `from` points to `LANES` bytes.
    unsafe fn multiply(self, from: *const u8, factor: i32) -> Self::Ints;
    /// The same number for each column.
    fn splat_int(self, number: i32) -> Self::Ints;
    /// The columns' sums, rounded to f32.
    fn floats(self, sums: Self::Ints) -> Self::Floats;

    fn splat(self, number: f32) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// # Safety
    /// `from` points to `LANES` numbers.
    unsafe fn load_floats(self, from: *const f32) -> Self::Floats;
    /// # Safety
    /// `to` points to `LANES` numbers.
    unsafe fn store(self, to: *mut f32, numbers: Self::Floats);
}

/// Computes and writes a tile.
///
/// # Safety
/// The operands are as long as the fields of [`Int4Tile`] say.
#[inline(always)]
pub(super) unsafe fn tile<N: Nibbles, const ROWS: usize>(n: N, tile: &Int4Tile) {
    let mut totals = [[n.splat(0.0); VECTORS]; ROWS];
    for group in 0..tile.groups {
        // SAFETY: the caller's promise, for a group below `groups`.
        unsafe { add_group(n, tile, group, &mut totals) };
    }
    for (row, totals) in totals.iter().enumerate() {
        for (vector, &total) in totals.iter().enumerate() {
            let column = vector * N::LANES;
            let place = row * tile.out.stride + column;
            // SAFETY: the caller's promise, for a row and a vector of the tile.
            unsafe {
                let scaled = n.mul(total, n.splat(*tile.row_scales.add(row)));
                let mut number = n.add(scaled, n.load_floats(tile.bias.add(column)));
                if !tile.out.residual.is_null() {
                    number = n.add(number, n.load_floats(tile.out.residual.add(place)));
                }
                n.store(tile.out.start.add(place), number);
            }
        }
    }
}

/// Adds a group's exact sums, times its factors, to the totals.
///
/// # Safety
/// As for [`tile`], with `group` below `groups`.
#[inline(always)]
unsafe fn add_group<N: Nibbles, const ROWS: usize>(
    n: N,
    tile: &Int4Tile,
    group: usize,
    totals: &mut [[N::Floats; VECTORS]; ROWS],
) {
    let columns = VECTORS * N::LANES;
    // SAFETY: the caller's promise: a panel has a group's factors, and then four bytes a column for each 8 of its `k`.
    unsafe {
        let panel = tile.panel.add(group * columns * (4 + tile.group / 2));
        fetch_ahead(panel, 4 * columns);
        let mut sums = [[n.splat_int(0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            let sum = *tile.sums.add(row * tile.groups + group);
            for (vector, start) in sums.iter_mut().enumerate() {
                *start = match tile.zeros.is_null() {
                    true => n.splat_int(-MIDDLE * sum),
                    false => n.multiply(tile.zeros.add(group * columns + vector * N::LANES), -sum),
                };
            }
        }
        let x = tile.x.add(group * tile.group);
        for block in 0..tile.group / 8 {
            let weights = panel.add(4 * columns * (1 + block));
            fetch_ahead(weights, 4 * columns);
            for vector in 0..VECTORS {
                let bytes = n.load(weights.add(4 * vector * N::LANES));
                let (low, high) = (n.low(bytes), n.high(bytes));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = x.add(row * tile.x_stride + block * 8).cast::<i32>();
                    let sum = n.dot(sums[vector], low, x.read_unaligned());
                    sums[vector] = n.dot(sum, high, x.add(1).read_unaligned());
                }
            }
        }
        for vector in 0..VECTORS {
            let scales = n.load_floats(panel.cast::<f32>().add(vector * N::LANES));
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals[vector] = n.add(n.mul(n.floats(sums[vector]), scales), totals[vector]);
            }
        }
    }
}
