//! One head of one sequence.
//!
//! Scores by distance: row i of `queries · relative keysᵀ` is needed at the distances `i - j`, which fall as j rises. With the relative
//! keys packed by falling distance, the row's scores lie one after another: in a tile of R rows whose window of columns begins at the
//! distance of its last row to key 0, row m begins R - 1 - m columns in. The same holds for `keys · relative queriesᵀ` with i and j
//! exchanged and distances rising, so those are computed a row a key and turned a square at a time while they are added.
//!
//! `relative.rs` has the tables lie so.

use super::pack::{pack_rows, pack_transposed, stride_of};
use super::relative::{Ahead, Lines, Side};
use super::scratch::Scratch;
use super::tile::Product;
use super::{AttentionShape, Call, Job, Queries};
use crate::pool::Parts;
use crate::vector::{LANES_MAX, Operation, Simd, Sum, exp2_of_negative};
use std::ops::Range;

/// Queries that are scored together, a multiple of [`LANES_MAX`]: more make the window of a key's distances smaller for each, fewer
/// keep the scores in the second cache. Shares of a sequence are multiples of the smaller.
const ROWS_PER_BLOCK_MAX: usize = 128;
pub(super) const ROWS_PER_BLOCK_MIN: usize = 64;

/// A head of a sequence, for some of its queries.
pub(super) struct Head<'a> {
    call: &'a Call<'a>,
    head: usize,
    /// The head that the thread will probably work on next, if not this one.
    next: Option<usize>,
    tokens: Range<usize>,
    /// The row of `q` and `out` that the sequence's first token has.
    first_query: usize,
    queries: Range<usize>,
    out: &'a Parts<'a, f32>,
    scratch: &'a mut Scratch,
}

impl<'a> Call<'a> {
    pub(super) fn head(
        &'a self,
        head: usize,
        next: Option<usize>,
        job: &Job,
        out: &'a Parts<'a, f32>,
        scratch: &'a mut Scratch,
    ) -> Head<'a> {
        let (tokens, queries) = (self.tokens(job.sequence), job.queries.clone());
        let first_query = if self.queries == Queries::All { tokens.start } else { job.sequence };
        Head { call: self, head, next, tokens, first_query, queries, out, scratch }
    }
}

/// Sizes and pointers that all steps of a head need.
#[derive(Clone, Copy)]
struct Layout {
    length: usize,
    size: usize,
    q: *const f32,
    q_stride: usize,
    k: *const f32,
    k_stride: usize,
    shape: AttentionShape,
    keys: Option<Lines>,
    queries: Option<Lines>,
}

impl Operation for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, head, next, tokens, first_query, queries, out, scratch } = self;
        let (length, size) = (tokens.len(), call.shape.head_dim);
        let column = head * size;
        // SAFETY: `Call::check` has passed, for these rows and columns among others.
        let [k, v] = unsafe { [call.k, call.v].map(|rows| rows.at(tokens.start, call.shape.key_column(head))) };
        // SAFETY: as above.
        let q = unsafe { call.q.at(first_query, column) };
        let owner = (call.id, head);
        let [keys, queries_by_slot] = [Side::Keys, Side::Queries]
            .map(|side| call.relative.and_then(|relative| relative.lines(side, owner, length, scratch)));
        let layout = Layout {
            length,
            size,
            q,
            q_stride: call.q.stride,
            k,
            k_stride: call.k.stride,
            shape: *call.shape,
            keys,
            queries: queries_by_slot,
        };
        let key_stride = stride_of(length);
        scratch.keys.resize(size * key_stride);
        let value_stride = stride_of(size);
        scratch.values.resize(length * value_stride);
        // SAFETY: `k` and `v` have `length` rows of `size` elements, the buffers were just made for them.
        unsafe {
            pack_transposed(s, k, call.k.stride, length, size, scratch.keys.as_mut_ptr(), key_stride);
            pack_rows(v, call.v.stride, length, size, scratch.values.as_mut_ptr(), value_stride);
        }
        let rows = if length <= 4 * ROWS_PER_BLOCK_MAX { ROWS_PER_BLOCK_MAX } else { ROWS_PER_BLOCK_MIN };
        let mut inverses = [0.0; ROWS_PER_BLOCK_MAX];
        for start in queries.clone().step_by(rows) {
            let block = start..queries.end.min(start + rows);
            let done = block.start - queries.start..block.end - queries.start;
            let ahead = [Side::Keys, Side::Queries].map(|side| match (call.relative, next) {
                (Some(relative), Some(next)) => relative.ahead(side, next, length, done.clone(), queries.len()),
                _ => Ahead::NOTHING,
            });
            score_block(s, &layout, scratch, block.clone(), ahead, &mut inverses);
            let products = multiply_values(s, &layout, scratch, block.clone());
            for (row, &inverse) in inverses[..block.len()].iter().enumerate() {
                let from = &scratch.products[row * products..][..size];
                let at = (first_query + block.start + row) * call.width + column;
                // SAFETY: no other task has this head of this token.
                let to = unsafe { out.part(at, size) };
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from * inverse;
                }
            }
        }
    }
}

/// The keys that any query of a block sees, from a multiple of [`LANES_MAX`] on.
#[inline(always)]
fn keys_of(layout: &Layout, block: &Range<usize>) -> Range<usize> {
    let first = layout.shape.keys_of(block.start, layout.length).start;
    first / LANES_MAX * LANES_MAX..layout.shape.keys_of(block.end - 1, layout.length).end
}

/// Makes `scratch.scores` `[block, keys]` e^(score - the row's largest), and `inverses` one over each row's sum. Of the keys only those
/// that the block sees.
#[inline(always)]
fn score_block<S: Simd>(
    s: S,
    layout: &Layout,
    scratch: &mut Scratch,
    block: Range<usize>,
    [keys_ahead, queries_ahead]: [Ahead; 2],
    inverses: &mut [f32; ROWS_PER_BLOCK_MAX],
) {
    let Layout { length, size, .. } = *layout;
    let rows = block.len().next_multiple_of(LANES_MAX);
    let stride = stride_of(length);
    scratch.scores.resize(rows * stride);
    let keys = keys_of(layout, &block);
    let product = Product {
        a: layout.q.wrapping_add(block.start * layout.q_stride),
        a_stride: layout.q_stride,
        rows: block.len(),
        depth: size,
        b: scratch.keys[keys.start..].as_ptr(),
        b_stride: stride,
        b_slide: 0,
        columns: keys.len(),
        c: scratch.scores[keys.start..].as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
        rounding: layout.shape.rounding,
        ahead: Ahead::NOTHING,
    };
    s.call(product);
    let by_key_stride = stride_of(length + LANES_MAX);
    if let Some(keys) = layout.keys {
        multiply_relative_keys(s, layout, scratch, keys, block.clone(), by_key_stride, keys_ahead);
    }
    if let Some(queries) = layout.queries {
        add_relative_queries(s, layout, scratch, queries, block.clone(), stride, queries_ahead);
    }
    for (row, inverse) in inverses[..block.len()].iter_mut().enumerate() {
        let scores = scratch.scores[row * stride..][..stride].as_mut_ptr();
        let begin = row * by_key_stride + S::TILE_ROWS - 1 - row % S::TILE_ROWS;
        let by_key = layout.keys.map(|_| scratch.by_key[begin..].as_ptr());
        // SAFETY: both have `length` elements and room for a whole block after them.
        let sum = unsafe {
            match layout.shape.window {
                None => exponentiate_scores(s, scores, by_key, length, layout.shape.scale),
                Some(_) => {
                    let seen = layout.shape.keys_of(block.start + row, length);
                    exponentiate_window(s, scores, by_key, &keys, &seen, layout.shape.scale)
                }
            }
        };
        *inverse = 1.0 / sum;
    }
}

/// Makes `scratch.by_key` `[block, keys and a little]` the products of queries and relative keys.
#[inline(always)]
fn multiply_relative_keys<S: Simd>(
    s: S,
    layout: &Layout,
    scratch: &mut Scratch,
    keys: Lines,
    block: Range<usize>,
    stride: usize,
    ahead: Ahead,
) {
    let rows = block.len().next_multiple_of(LANES_MAX);
    scratch.by_key.resize(rows * stride + LANES_MAX);
    s.call(Product {
        a: layout.q.wrapping_add(block.start * layout.q_stride),
        a_stride: layout.q_stride,
        rows: block.len(),
        depth: layout.size,
        b: keys.zero.wrapping_sub(block.start + S::TILE_ROWS - 1),
        b_stride: keys.stride,
        b_slide: -(S::TILE_ROWS as isize),
        columns: layout.length + S::TILE_ROWS - 1,
        c: scratch.by_key.as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
        rounding: layout.shape.rounding,
        ahead,
    });
}

/// Adds to `scratch.scores` the products of keys and relative queries.
#[inline(always)]
fn add_relative_queries<S: Simd>(
    s: S,
    layout: &Layout,
    scratch: &mut Scratch,
    queries: Lines,
    block: Range<usize>,
    score_stride: usize,
    ahead: Ahead,
) {
    let rows = block.len().next_multiple_of(LANES_MAX);
    let group = S::LANES.max(S::TILE_ROWS);
    let stride = stride_of(rows + 3 * LANES_MAX);
    let keys = layout.length.next_multiple_of(LANES_MAX);
    scratch.by_query.resize(keys * stride);
    s.call(Product {
        a: layout.k,
        a_stride: layout.k_stride,
        rows: layout.length,
        depth: layout.size,
        b: queries.zero.wrapping_add(block.start).wrapping_sub(S::TILE_ROWS - 1),
        b_stride: queries.stride,
        b_slide: -(S::TILE_ROWS as isize),
        columns: block.len() + S::TILE_ROWS - 1,
        c: scratch.by_query.as_mut_ptr(),
        c_stride: stride,
        c_group: group,
        rounding: layout.shape.rounding,
        ahead,
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

/// Replaces a row's scores by e^(scale · (score + by_key) - largest), and returns their sum. What lies past the end, up to whole blocks of
/// [`LANES_MAX`], counts as minus infinity, whose power is next to 0: to the same blocks on every instruction set, so that sums are the same.
///
/// # Safety
/// `scores` has room for `length` elements rounded up to [`LANES_MAX`], and so has `by_key`.
#[inline(always)]
unsafe fn exponentiate_scores<S: Simd>(
    s: S,
    scores: *mut f32,
    by_key: Option<*const f32>,
    length: usize,
    scale: f32,
) -> f32 {
    let end = length.next_multiple_of(LANES_MAX);
    // e^x = 2^(x · log₂ e).
    let scale = s.splat(scale * std::f32::consts::LOG2_E);
    let mut largest = s.splat(f32::NEG_INFINITY);
    // SAFETY: the caller's, for all of this.
    unsafe {
        for at in (0..length).step_by(S::LANES) {
            let mut x = s.load(scores.add(at));
            if let Some(by_key) = by_key {
                x = s.add(x, s.load(by_key.add(at)));
            }
            x = s.mul(x, scale);
            s.store(scores.add(at), x);
            if at + S::LANES > length {
                for past in length..at + S::LANES {
                    *scores.add(past) = f32::NEG_INFINITY;
                }
                x = s.load(scores.add(at));
            }
            largest = s.max(largest, x);
        }
        // Of narrow vectors the last whole one may end before the block does.
        for past in length.next_multiple_of(S::LANES)..end {
            *scores.add(past) = f32::NEG_INFINITY;
        }
        let largest = s.splat(s.largest(largest));
        let mut sum = Sum::zero(s);
        for block in (0..end).step_by(LANES_MAX) {
            for part in 0..Sum::<S>::PARTS {
                let at = scores.add(block + part * S::LANES);
                let x = exp2_of_negative(s, s.sub(s.load(at), largest));
                s.store(at, x);
                sum.add(s, part, x);
            }
        }
        sum.total(s)
    }
}

/// As [`exponentiate_scores`] for a row that sees only the keys of `seen`, among those of `keys`: the others become 0.
///
/// # Safety
/// `scores` has room for `keys.end` elements rounded up to [`LANES_MAX`], and so has `by_key`; `keys` begins at a multiple of that.
#[inline(always)]
unsafe fn exponentiate_window<S: Simd>(
    s: S,
    scores: *mut f32,
    by_key: Option<*const f32>,
    keys: &Range<usize>,
    seen: &Range<usize>,
    scale: f32,
) -> f32 {
    let blocks = seen.start / LANES_MAX * LANES_MAX..seen.end.next_multiple_of(LANES_MAX);
    let scale = s.splat(scale * std::f32::consts::LOG2_E);
    let mut largest = s.splat(f32::NEG_INFINITY);
    // SAFETY: the caller's, for all of this.
    unsafe {
        for at in blocks.clone().step_by(S::LANES) {
            let mut x = s.load(scores.add(at));
            if let Some(by_key) = by_key {
                x = s.add(x, s.load(by_key.add(at)));
            }
            s.store(scores.add(at), s.mul(x, scale));
        }
        fill(scores, blocks.start..seen.start, f32::NEG_INFINITY);
        fill(scores, seen.end..blocks.end, f32::NEG_INFINITY);
        for at in blocks.clone().step_by(S::LANES) {
            largest = s.max(largest, s.load(scores.add(at)));
        }
        let largest = s.splat(s.largest(largest));
        for at in blocks.clone().step_by(S::LANES) {
            s.store(scores.add(at), exp2_of_negative(s, s.sub(s.load(scores.add(at)), largest)));
        }
        fill(scores, keys.start..seen.start, 0.0);
        fill(scores, seen.end..keys.end.max(blocks.end), 0.0);
        let mut sum = Sum::zero(s);
        for block in blocks.step_by(LANES_MAX) {
            for part in 0..Sum::<S>::PARTS {
                sum.add(s, part, s.load(scores.add(block + part * S::LANES)));
            }
        }
        sum.total(s)
    }
}

/// # Safety
/// `numbers` has room for the range.
#[inline(always)]
unsafe fn fill(numbers: *mut f32, range: Range<usize>, number: f32) {
    for at in range {
        // SAFETY: the caller's.
        unsafe { *numbers.add(at) = number };
    }
}

/// Makes `scratch.products` `[rows, size]` the products of `scratch.scores` and the values; returns its stride.
#[inline(always)]
fn multiply_values<S: Simd>(s: S, layout: &Layout, scratch: &mut Scratch, block: Range<usize>) -> usize {
    let (rows, keys) = (block.len(), keys_of(layout, &block));
    let stride = stride_of(layout.size);
    scratch.products.resize(rows.next_multiple_of(LANES_MAX) * stride);
    s.call(Product {
        a: scratch.scores[keys.start..].as_ptr(),
        a_stride: stride_of(layout.length),
        rows,
        depth: keys.len(),
        b: scratch.values[keys.start * stride..].as_ptr(),
        b_stride: stride,
        b_slide: 0,
        columns: layout.size,
        c: scratch.products.as_mut_ptr(),
        c_stride: stride,
        c_group: S::TILE_ROWS,
        rounding: layout.shape.rounding,
        ahead: Ahead::NOTHING,
    });
    stride
}
