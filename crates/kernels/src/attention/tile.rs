//! The product of two f32 matrices, small enough for the cache.
//!
//! A tile of `TILE_ROWS` rows by `TILE_VECTORS` vectors of columns is summed in registers over the whole depth, each element one after another
//! in order, so that a row's result is the same wherever it stands in a tile. Panels of columns are the outer loop: a panel stays in the first
//! cache while all rows go by.

use super::relative::Ahead;
use crate::Rounding;
use crate::vector::{Operation, Simd};

/// Numbers in a cache line.
const LINE: usize = 16;
/// Rows of a tile that waits for memory.
const FEW_ROWS: usize = 4;

/// `c[i][·] = Σ_k a[i][k] · b[k][·]`.
///
/// `b` may slide: each tile of `Simd::TILE_ROWS` rows may begin some columns away from the last. That is what makes products with
/// positions small: row i needs only the columns of distances that it has, and neighbouring rows need nearly the same.
pub(super) struct Product {
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    /// Rows of `a`, at least 1. `c` has as many, rounded up to `TILE_ROWS`; the extra ones may be overwritten, but not beside a single row.
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) b: *const f32,
    pub(super) b_stride: usize,
    /// Columns that a tile steps on in `b` from the tile before.
    pub(super) b_slide: isize,
    /// Columns of `b` and `c`, rounded up to whole vectors.
    pub(super) columns: usize,
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// Rows after which the places in `c` repeat, a multiple of `TILE_ROWS`: in a group each tile is written `TILE_ROWS` columns to the
    /// left of the tile before, the last one at 0.
    pub(super) c_group: usize,
    /// Whether sums go on from what `c` holds, instead of from 0.
    pub(super) onto: bool,
    pub(super) rounding: Rounding,
    /// Elements from `b` to what is multiplied after it, 0 for nothing: tiles of few rows, which wait for memory, fetch it meanwhile.
    pub(super) next_b: isize,
    /// What the thread will read later: fetched from memory a little with each tile, so that nothing waits for it.
    pub(super) ahead: Ahead,
}

impl Operation for Product {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (S::TILE_ROWS, self.rounding) {
            (8, Rounding::Stepwise) => multiply::<S, 8, false>(s, &self),
            (8, Rounding::Fused) => multiply::<S, 8, true>(s, &self),
            (_, Rounding::Stepwise) => multiply::<S, 4, false>(s, &self),
            (_, Rounding::Fused) => multiply::<S, 4, true>(s, &self),
        }
    }
}

#[inline(always)]
fn multiply<S: Simd, const ROWS: usize, const FUSED: bool>(s: S, p: &Product) {
    let vectors = p.columns.div_ceil(S::LANES);
    let panels = vectors.div_ceil(S::TILE_VECTORS);
    let mut ahead = p.ahead;
    let lines_per_tile = ahead.lines().div_ceil(panels * p.rows.div_ceil(ROWS));
    let mut first = 0;
    for panel in 0..panels {
        // As even as whole vectors go: 2 and 2 rather than 3 and 1.
        let count = (vectors - first).div_ceil(panels - panel);
        match count {
            1 => multiply_panel::<S, ROWS, 1, FUSED>(s, p, first * S::LANES, &mut ahead, lines_per_tile),
            2 => multiply_panel::<S, ROWS, 2, FUSED>(s, p, first * S::LANES, &mut ahead, lines_per_tile),
            _ => multiply_panel::<S, ROWS, 3, FUSED>(s, p, first * S::LANES, &mut ahead, lines_per_tile),
        }
        first += count;
    }
}

#[inline(always)]
fn multiply_panel<S: Simd, const ROWS: usize, const VECTORS: usize, const FUSED: bool>(
    s: S,
    p: &Product,
    column: usize,
    ahead: &mut Ahead,
    lines_per_tile: usize,
) {
    for row in (0..p.rows).step_by(ROWS) {
        for _ in 0..lines_per_tile {
            s.prefetch(ahead.next_line());
        }
        let slide = p.b_slide * (row / ROWS) as isize;
        let b = p.b.wrapping_add(column).wrapping_offset(slide);
        let place = p.c_group - ROWS - row % p.c_group;
        let c = p.c.wrapping_add(row * p.c_stride + place + column);
        // SAFETY: the maker of the product promised that its operands are as long as it says.
        unsafe {
            match p.rows - row {
                1 => tile::<S, 1, VECTORS, FUSED>(s, p, row, b, c),
                2 => tile::<S, 2, VECTORS, FUSED>(s, p, row, b, c),
                3 | 4 if ROWS == 8 => tile::<S, 4, VECTORS, FUSED>(s, p, row, b, c),
                _ => tile::<S, ROWS, VECTORS, FUSED>(s, p, row, b, c),
            }
        }
    }
}

/// # Safety
/// `ROWS` rows from `row` on, of which those past the end repeat the last, have `depth` elements; `b` and `c` have `VECTORS` vectors at each
/// of their `depth` and `ROWS` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const FUSED: bool>(
    s: S,
    p: &Product,
    row: usize,
    b: *const f32,
    c: *mut f32,
) {
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    if p.onto {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's.
                *sum = unsafe { s.load(c.add(i * p.c_stride + j * S::LANES)) };
            }
        }
    }
    let mut rows = [p.a; ROWS];
    for (i, at) in rows.iter_mut().enumerate() {
        *at = p.a.wrapping_add((row + i).min(p.rows - 1) * p.a_stride);
    }
    let mut b = b;
    for k in 0..p.depth {
        let mut columns = [s.splat(0.0); VECTORS];
        for (i, column) in columns.iter_mut().enumerate() {
            // SAFETY: the caller's.
            *column = unsafe { s.load(b.add(i * S::LANES)) };
            if ROWS <= FEW_ROWS && p.next_b != 0 && (i * S::LANES).is_multiple_of(LINE) {
                s.prefetch(b.wrapping_offset(p.next_b).wrapping_add(i * S::LANES));
            }
        }
        for (sums, a) in sums.iter_mut().zip(rows) {
            // SAFETY: the caller's.
            let a = s.splat(unsafe { *a.add(k) });
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = if FUSED { s.mul_add_fused(a, column, *sum) } else { s.mul_add(a, column, *sum) };
            }
        }
        b = b.wrapping_add(p.b_stride);
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { s.store(c.add(i * p.c_stride + j * S::LANES), *sum) };
        }
    }
}
