//! One head of one sequence.
//!
//! Scores by distance: row i of `queries · relative keysᵀ` is needed at the distances `i - j`, which fall as j rises. With the relative
//! keys packed by falling distance, the row's scores lie one after another: in a tile of R rows whose window of columns begins at the
//! distance of its last row to key 0, row m begins R - 1 - m columns in. The same holds for `keys · relative queriesᵀ` with i and j
//! exchanged and distances rising, so those are computed a row a key and turned a square at a time while they are added.
//!
//! `relative.rs` has the tables lie so.

use super::bias::ScoreBias;
use super::call::{Call, Job, ROWS_PER_BLOCK_MAX, ROWS_PER_BLOCK_MIN};
use super::pack::{pack_rows, pack_transposed, stride_of};
use super::relative::{Ahead, Lines, Side};
use super::scratch::Scratch;
use super::shape::{AttentionShape, Queries};
use super::shares::{exponentiate_scores, exponentiate_window};
use super::tile::Product;
use crate::pool::Parts;
use crate::vector::{LANES_MAX, Operation, Simd};
use std::ops::Range;

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

impl<'a> Head<'a> {
    pub(super) fn new(
        call: &'a Call<'a>,
        head: usize,
        next: Option<usize>,
        job: &Job,
        out: &'a Parts<'a, f32>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let (tokens, queries) = (call.tokens(job.sequence), job.queries.clone());
        let first_query = if call.queries == Queries::All { tokens.start } else { job.sequence };
        Self { call, head, next, tokens, first_query, queries, out, scratch }
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
    shape: AttentionShape,
    keys: Option<Lines>,
    queries: Option<Lines>,
    /// A number for each distance, and the head it is for.
    bias: Option<(&'a ScoreBias, usize)>,
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
            bias: call.bias.map(|bias| (bias, head)),
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
fn keys_of(layout: &Layout<'_>, block: &Range<usize>) -> Range<usize> {
    let first = layout.shape.keys_of(block.start, layout.length).start;
    first / LANES_MAX * LANES_MAX..layout.shape.keys_of(block.end - 1, layout.length).end
}

/// Makes `scratch.scores` `[block, keys]` e^(score - the row's largest), and `inverses` one over each row's sum. Of the keys only those
/// that the block sees.
#[inline(always)]
fn score_block<S: Simd>(
    s: S,
    layout: &Layout<'_>,
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
        onto: false,
        next_b: 0,
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
        let bias = layout.bias.map(|(bias, head)| bias.of(head, block.start + row, 0));
        // SAFETY: both have `length` elements and room for a whole block after them.
        let sum = unsafe {
            match layout.shape.window {
                None => exponentiate_scores(s, scores, by_key, bias.as_ref(), length, layout.shape.scale),
                Some(_) => {
                    let seen = layout.shape.keys_of(block.start + row, length);
                    exponentiate_window(s, scores, by_key, bias.as_ref(), &keys, &seen, layout.shape.scale)
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
    layout: &Layout<'_>,
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
        onto: false,
        next_b: 0,
        rounding: layout.shape.rounding,
        ahead,
    });
}

/// Adds to `scratch.scores` the products of keys and relative queries.
#[inline(always)]
fn add_relative_queries<S: Simd>(
    s: S,
    layout: &Layout<'_>,
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
        onto: false,
        next_b: 0,
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

/// Makes `scratch.products` `[rows, size]` the products of `scratch.scores` and the values; returns its stride.
#[inline(always)]
fn multiply_values<S: Simd>(s: S, layout: &Layout<'_>, scratch: &mut Scratch, block: Range<usize>) -> usize {
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
        onto: false,
        next_b: 0,
        rounding: layout.shape.rounding,
        ahead: Ahead::NOTHING,
    });
    stride
}
