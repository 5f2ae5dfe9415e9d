//! Matrices laid out for the tile kernel.

use crate::vector::{LANES_MAX, Simd};

/// Elements from a row to the next of a matrix with at least `columns` columns: whole cache lines, an odd number of them, so that
/// a column's elements spread over all sets of the cache.
pub(super) fn stride_of(columns: usize) -> usize {
    (columns.div_ceil(LANES_MAX) | 1) * LANES_MAX
}

/// Writes rows of `depth` elements as columns of `to` `[depth, stride]`, the last of them again up to a whole vector.
///
/// # Safety
/// `from` has `columns` rows, at least 1, at its stride; `to` is `[depth, stride]` with `stride` at least `columns` rounded up to [`LANES_MAX`].
#[inline(always)]
pub(super) unsafe fn pack_transposed<S: Simd>(
    s: S,
    from: *const f32,
    from_stride: usize,
    columns: usize,
    depth: usize,
    to: *mut f32,
    stride: usize,
) {
    let whole = depth / S::LANES * S::LANES;
    for column in (0..columns).step_by(S::LANES) {
        let mut rows = [std::ptr::null(); LANES_MAX];
        for (lane, row) in rows[..S::LANES].iter_mut().enumerate() {
            *row = from.wrapping_add((column + lane).min(columns - 1) * from_stride);
        }
        // SAFETY: rows have `depth` elements, and `to` has room for them as columns, by the caller.
        unsafe {
            for at in (0..whole).step_by(S::LANES) {
                s.transpose::<false>(&rows, to.add(at * stride + column), stride);
                for row in &mut rows[..S::LANES] {
                    *row = row.wrapping_add(S::LANES);
                }
            }
            for at in whole..depth {
                for (lane, row) in rows[..S::LANES].iter().enumerate() {
                    *to.add(at * stride + column + lane) = *row.add(at - whole);
                }
            }
        }
    }
}

/// Copies `rows` rows of `columns` elements.
///
/// # Safety
/// `from` and `to` have so many rows, at their strides, and do not overlap.
#[inline(always)]
pub(super) unsafe fn pack_rows(
    from: *const f32,
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    stride: usize,
) {
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from.add(row * from_stride), to.add(row * stride), columns) };
    }
}
