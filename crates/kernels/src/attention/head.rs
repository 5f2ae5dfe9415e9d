//! One head of one sequence.
//!
//! Scores by distance: row i of `queries · relative keysᵀ` is needed at the distances `i - j`, which fall as j rises. With the relative
//! keys packed by falling distance, the row's scores lie one after another: in a tile of R rows whose window of columns begins at the
//! distance of its last row to key 0, row m begins R - 1 - m columns in. The same holds for `keys · relative queriesᵀ` with i and j
//! exchanged and distances rising, so those are computed a row a key and turned a square at a time while they are added.
//!
//! Slots repeat at long distances; they are packed again for each distance, which costs little and keeps every run of scores whole.

use super::pack::{Source, pack_rows, pack_transposed, stride_of};
use super::scratch::{Positions, Scratch};
use super::tile::Product;
use super::{Call, Job, Relative};
use crate::pool::Parts;
use crate::vector::{LANES_MAX, Operation, Simd, exp2_of_negative};
use std::ops::Range;

/// Queries that are scored together, a multiple of [`LANES_MAX`]: more make the window of a key's distances smaller for each, fewer
/// keep the scores in the second cache. Shares of a sequence are multiples of the smaller.
const ROWS_PER_BLOCK_MAX: usize = 128;
pub(super) const ROWS_PER_BLOCK_MIN: usize = 64;

/// Columns before distance zero's reach, so that a tile's last rows, which repeat, have a window too.
const MARGIN: usize = 16;

/// A head of a sequence, for some of its queries.
pub(super) struct Head<'a> {
    call: &'a Call<'a>,
    head: usize,
    tokens: Range<usize>,
    queries: Range<usize>,
    out: &'a Parts<'a, f32>,
    scratch: &'a mut Scratch,
}

impl<'a> Call<'a> {
    pub(super) fn head(
        &'a self,
        head: usize,
        job: &Job,
        out: &'a Parts<'a, f32>,
        scratch: &'a mut Scratch,
    ) -> Head<'a> {
        let (tokens, queries) = (self.tokens(job.sequence), job.queries.clone());
        Head { call: self, head, tokens, queries, out, scratch }
    }
}

/// Sizes and pointers that all steps of a head need.
#[derive(Clone, Copy)]
struct Layout<'a> {
    length: usize,
    size: usize,
    q: *const f32,
    q_stride: usize,
    k: *const f32,
    k_stride: usize,
    relative: Option<&'a Relative<'a>>,
    scale: f32,
}

impl Operation for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, head, tokens, queries, out, scratch } = self;
        let (length, size) = (tokens.len(), call.shape.head_dim);
        let column = head * size;
        // SAFETY: `Call::check` has passed, for these rows and columns among others.
        let [q, k, v] = unsafe { [call.q, call.k, call.v].map(|rows| rows.at(tokens.start, column)) };
        let layout = Layout {
            length,
            size,
            q,
            q_stride: call.q.stride,
            k,
            k_stride: call.k.stride,
            relative: call.relative,
            scale: call.shape.scale,
        };
        let key_stride = stride_of(length);
        scratch.keys.resize(size * key_stride);
        let value_stride = stride_of(size);
        scratch.values.resize(length * value_stride);
        let source = Source::Rows { start: k, stride: call.k.stride, count: length };
        // SAFETY: `k` and `v` have `length` rows of `size` elements, the buffers were just made for them.
        unsafe {
            pack_transposed(s, source, length, size, scratch.keys.as_mut_ptr(), key_stride);
            pack_rows(v, call.v.stride, length, size, scratch.values.as_mut_ptr(), value_stride);
        }
        if let Some(relative) = call.relative {
            pack_positions(s, &mut scratch.positions, relative, (call.id, head), size, length);
        }
        let rows = if length <= 2 * ROWS_PER_BLOCK_MAX { ROWS_PER_BLOCK_MAX } else { ROWS_PER_BLOCK_MIN };
        let mut inverses = [0.0; ROWS_PER_BLOCK_MAX];
        for start in queries.clone().step_by(rows) {
            let block = start..queries.end.min(start + rows);
            score_block(s, &layout, scratch, block.clone(), &mut inverses);
            let products = multiply_values(s, &layout, scratch, block.len());
            for (row, &inverse) in inverses[..block.len()].iter().enumerate() {
                let from = &scratch.products[row * products..][..size];
                let at = (tokens.start + block.start + row) * call.width + column;
                // SAFETY: no other task has this head of this token.
                let to = unsafe { out.part(at, size) };
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from * inverse;
                }
            }
        }
    }
}

/// Packs the relative keys and queries of a head, unless the thread has them from another sequence of the call.
#[inline(always)]
fn pack_positions<S: Simd>(
    s: S,
    positions: &mut Positions,
    relative: &Relative<'_>,
    owner: (u64, usize),
    size: usize,
    length: usize,
) {
    if positions.owner == owner && positions.length >= length {
        return;
    }
    (positions.owner, positions.length) = (owner, length);
    let stride = position_stride(length);
    // Of the first column: the farthest that a key lies before a query, and the margin.
    let first = (length - 1 + MARGIN) as i64;
    let sides =
        [(relative.keys, &mut positions.keys, first, -1), (relative.queries, &mut positions.queries, -first, 1)];
    for (table, packed, first, step) in sides {
        let Some(table) = table else { continue };
        packed.resize(size * stride);
        let start = table.head(owner.1).as_ptr();
        let source = Source::Slots { start, stride: size, slots: relative.slots, first, step };
        // SAFETY: `RelativeTable::check` found all slots in the table; the buffer was just made for the columns.
        unsafe { pack_transposed(s, source, 2 * length + 3 * MARGIN, size, packed.as_mut_ptr(), stride) };
    }
}

/// Elements of a row of packed positions: a column a distance, and what tiles at both ends read besides.
fn position_stride(length: usize) -> usize {
    stride_of(2 * length + 4 * MARGIN)
}

/// Makes `scratch.scores` `[block, keys]` e^(score - the row's largest), and `inverses` one over each row's sum.
#[inline(always)]
fn score_block<S: Simd>(
    s: S,
    layout: &Layout<'_>,
    scratch: &mut Scratch,
    block: Range<usize>,
    inverses: &mut [f32; ROWS_PER_BLOCK_MAX],
) {
    let Layout { length, size, .. } = *layout;
    let rows = block.len().next_multiple_of(LANES_MAX);
    let stride = stride_of(length);
    scratch.scores.resize(rows * stride);
    let product = Product {
        a: layout.q.wrapping_add(block.start * layout.q_stride),
        a_stride: layout.q_stride,
        rows: block.len(),
        depth: size,
        b: scratch.keys.as_ptr(),
        b_stride: stride,
        b_slide: 0,
        columns: length,
        c: scratch.scores.as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
    };
    s.call(product);
    let keys = layout.relative.and_then(|relative| relative.keys);
    let by_key_stride = stride_of(length + LANES_MAX);
    if keys.is_some() {
        multiply_relative_keys(s, layout, scratch, block.clone(), rows, by_key_stride);
    }
    if layout.relative.and_then(|relative| relative.queries).is_some() {
        add_relative_queries(s, layout, scratch, block.clone(), rows, stride);
    }
    for (row, inverse) in inverses[..block.len()].iter_mut().enumerate() {
        let scores = scratch.scores[row * stride..][..stride].as_mut_ptr();
        let begin = row * by_key_stride + S::TILE_ROWS - 1 - row % S::TILE_ROWS;
        let by_key = keys.map(|_| scratch.by_key[begin..].as_ptr());
        // SAFETY: both have `length` elements and room for a whole vector after them.
        let sum = unsafe { exponentiate_scores(s, scores, by_key, length, layout.scale) };
        *inverse = 1.0 / sum;
    }
}

/// Makes `scratch.by_key` `[block, keys and a little]` the products of queries and relative keys.
#[inline(always)]
fn multiply_relative_keys<S: Simd>(
    s: S,
    layout: &Layout<'_>,
    scratch: &mut Scratch,
    block: Range<usize>,
    rows: usize,
    stride: usize,
) {
    scratch.by_key.resize(rows * stride + LANES_MAX);
    let first = scratch.positions.length - 1 + MARGIN - (block.start + S::TILE_ROWS - 1);
    s.call(Product {
        a: layout.q.wrapping_add(block.start * layout.q_stride),
        a_stride: layout.q_stride,
        rows: block.len(),
        depth: layout.size,
        b: scratch.positions.keys.as_ptr().wrapping_add(first),
        b_stride: position_stride(scratch.positions.length),
        b_slide: -(S::TILE_ROWS as isize),
        columns: layout.length + S::TILE_ROWS - 1,
        c: scratch.by_key.as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
    });
}

/// Adds to `scratch.scores` the products of keys and relative queries.
#[inline(always)]
fn add_relative_queries<S: Simd>(
    s: S,
    layout: &Layout<'_>,
    scratch: &mut Scratch,
    block: Range<usize>,
    rows: usize,
    score_stride: usize,
) {
    let group = S::LANES.max(S::TILE_ROWS);
    let stride = stride_of(rows + 3 * LANES_MAX);
    let keys = layout.length.next_multiple_of(LANES_MAX);
    scratch.by_query.resize(keys * stride);
    let first = scratch.positions.length - 1 + MARGIN + block.start - (S::TILE_ROWS - 1);
    s.call(Product {
        a: layout.k,
        a_stride: layout.k_stride,
        rows: layout.length,
        depth: layout.size,
        b: scratch.positions.queries.as_ptr().wrapping_add(first),
        b_stride: position_stride(scratch.positions.length),
        b_slide: -(S::TILE_ROWS as isize),
        columns: block.len() + S::TILE_ROWS - 1,
        c: scratch.by_query.as_mut_ptr(),
        c_stride: stride,
        c_group: group,
    });
    for key in (0..layout.length).step_by(S::LANES) {
        for query in (0..block.len()).step_by(S::LANES) {
            let mut squares = [std::ptr::null(); LANES_MAX];
            for (lane, square) in squares[..S::LANES].iter_mut().enumerate() {
                let begin = (key + lane) * stride + query + group - 1 - (key + lane) % group;
                *square = scratch.by_query.as_ptr().wrapping_add(begin);
            }
            // SAFETY: `by_query` has `keys` rows and 3 · LANES_MAX columns more than `rows`; `scores` has `rows` rows, a multiple of
            // LANES, and `score_stride` columns, more than keys. What lies past the last key or query is ignored.
            unsafe {
                let to = scratch.scores.as_mut_ptr().add(query * score_stride + key);
                s.transpose::<true>(&squares, to, score_stride);
            }
        }
    }
}

/// Replaces a row's scores by e^(scale · (score + by_key) - largest), and returns their sum. Lanes past the end become 0 or next to it.
///
/// # Safety
/// `scores` has room for `length` elements rounded up to whole vectors, and so has `by_key`.
#[inline(always)]
unsafe fn exponentiate_scores<S: Simd>(
    s: S,
    scores: *mut f32,
    by_key: Option<*const f32>,
    length: usize,
    scale: f32,
) -> f32 {
    let end = length.next_multiple_of(S::LANES);
    // e^x = 2^(x · log₂ e).
    let scale = s.splat(scale * std::f32::consts::LOG2_E);
    let mut largest = s.splat(f32::NEG_INFINITY);
    // SAFETY: the caller's, for all of this.
    unsafe {
        for at in (0..end).step_by(S::LANES) {
            let mut x = s.load(scores.add(at));
            if let Some(by_key) = by_key {
                x = s.add(x, s.load(by_key.add(at)));
            }
            s.store(scores.add(at), s.mul(x, scale));
            if at + S::LANES > length {
                for past in length..end {
                    *scores.add(past) = f32::NEG_INFINITY;
                }
            }
            largest = s.max(largest, s.load(scores.add(at)));
        }
        let largest = s.splat(s.largest(largest));
        let mut sum = s.splat(0.0);
        for at in (0..end).step_by(S::LANES) {
            let x = exp2_of_negative(s, s.sub(s.load(scores.add(at)), largest));
            s.store(scores.add(at), x);
            sum = s.add(sum, x);
        }
        s.sum(sum)
    }
}

/// Makes `scratch.products` `[rows, size]` the products of `scratch.scores` and the values; returns its stride.
#[inline(always)]
fn multiply_values<S: Simd>(s: S, layout: &Layout<'_>, scratch: &mut Scratch, rows: usize) -> usize {
    let stride = stride_of(layout.size);
    scratch.products.resize(rows.next_multiple_of(LANES_MAX) * stride);
    s.call(Product {
        a: scratch.scores.as_ptr(),
        a_stride: stride_of(layout.length),
        rows,
        depth: layout.length,
        b: scratch.values.as_ptr(),
        b_stride: stride,
        b_slide: 0,
        columns: layout.size,
        c: scratch.products.as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
    });
    stride
}
