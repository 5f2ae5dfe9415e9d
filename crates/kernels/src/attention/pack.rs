//! Matrices laid out for the tile kernel.

use super::SlotMap;
use crate::vector::{LANES_MAX, Simd};

/// Where rows come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// `count` rows, one after another; beyond, the last again.
    Rows { start: *const f32, stride: usize, count: usize },
    /// Row `i` is the slot of distance `first + step · i`.
    Slots { start: *const f32, stride: usize, slots: &'a SlotMap, first: i64, step: i64 },
}

impl Source<'_> {
    #[inline(always)]
    fn row(&self, index: usize) -> *const f32 {
        match *self {
            Self::Rows { start, stride, count } => start.wrapping_add(index.min(count - 1) * stride),
            Self::Slots { start, stride, slots, first, step } => {
                start.wrapping_add(slots.slot(first + step * index as i64) * stride)
            }
        }
    }
}

/// Elements from a row to the next of a matrix with at least `columns` columns: whole cache lines, an odd number of them, so that
/// a column's elements spread over all sets of the cache.
pub(super) fn stride_of(columns: usize) -> usize {
    (columns.div_ceil(LANES_MAX) | 1) * LANES_MAX
}

/// Writes rows `0..columns` of a source as columns of `to` `[depth, stride]`, and up to a whole vector of further ones.
///
/// # Safety
/// The source has rows of `depth` elements; `to` is `[depth, stride]` with `stride` at least `columns` rounded up to [`LANES_MAX`].
#[inline(always)]
pub(super) unsafe fn pack_transposed<S: Simd>(
    s: S,
    source: Source<'_>,
    columns: usize,
    depth: usize,
    to: *mut f32,
    stride: usize,
) {
    let whole = depth / S::LANES * S::LANES;
    for column in (0..columns).step_by(S::LANES) {
        let mut rows = [std::ptr::null(); LANES_MAX];
        for (lane, row) in rows[..S::LANES].iter_mut().enumerate() {
            *row = source.row(column + lane);
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
