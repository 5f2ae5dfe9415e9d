//! Some queries of one sequence, by the heads that share one head of keys.
//!
//! The rows of a block are its queries, each with all heads of the group, so that a page is read once for all of them. Scores of all
//! keys come first, then shares, then values: each output is one sum over its keys in the order of tokens, whatever the block.

use super::layout::{PAGE_TOKENS, PageLayout};
use super::sequence::{PagedSequence, Seen};
use crate::attention::bias::ScoreBias;
use crate::attention::pack::stride_of;
use crate::attention::relative::Ahead;
use crate::attention::scratch::Scratch;
use crate::attention::shape::{AttentionShape, Rows};
use crate::attention::shares::exponentiate_window;
use crate::attention::tile::Product;
use crate::pool::Parts;
use crate::vector::{LANES_MAX, Operation, Simd};
use std::ops::Range;

/// Operands of a call that fit each other.
pub(super) struct Operands<'a> {
    pub(super) q: &'a Rows<'a>,
    pub(super) pool: &'a [f32],
    pub(super) seen: Seen,
    pub(super) shape: &'a AttentionShape,
    pub(super) layout: PageLayout,
    pub(super) bias: Option<&'a ScoreBias>,
}

/// Some queries of a sequence, and a head of keys.
pub(super) struct Block<'a> {
    pub(super) operands: &'a Operands<'a>,
    pub(super) sequence: &'a PagedSequence<'a>,
    pub(super) key_head: usize,
    /// Counted from the sequence's first; at least one.
    pub(super) queries: Range<usize>,
    pub(super) out: &'a Parts<'a, f32>,
    pub(super) scratch: &'a mut Scratch,
}

/// What the steps of a block share.
#[derive(Clone, Copy)]
struct Plan<'a> {
    operands: &'a Operands<'a>,
    sequence: &'a PagedSequence<'a>,
    key_head: usize,
    /// Heads of queries that ask this head of keys.
    group: usize,
    first_query: usize,
    rows: usize,
    /// The pages that any query sees, counted in the sequence.
    first_page: usize,
    end_page: usize,
    /// From a row of scores to the next.
    stride: usize,
}

impl Operation for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { operands, sequence, key_head, queries, out, scratch } = self;
        let shape = operands.shape;
        let keys_of = |query| sequence.keys_of(query, operands.seen, shape.window);
        let (first, last) = (keys_of(queries.start), keys_of(queries.end - 1));
        let group = shape.heads / shape.key_heads;
        let (first_page, end_page) = (first.start / PAGE_TOKENS, last.end.div_ceil(PAGE_TOKENS));
        let plan = Plan {
            operands,
            sequence,
            key_head,
            group,
            first_query: queries.start,
            rows: queries.len() * group,
            first_page,
            end_page,
            stride: stride_of((end_page - first_page) * PAGE_TOKENS),
        };
        plan.gather_queries(scratch);
        plan.score(s, scratch);
        plan.share_out(s, scratch);
        plan.mix(s, scratch, &first, &last);
        plan.write(scratch, out);
    }
}

impl Plan<'_> {
    /// The row of `q` and `out`, and the column in it, that `row` of the block has.
    fn place(&self, row: usize) -> (usize, usize) {
        let query = self.sequence.queries.start + self.first_query + row / self.group;
        (query, (self.key_head * self.group + row % self.group) * self.operands.shape.head_dim)
    }

    /// The keys that `row` of the block sees.
    fn keys_of(&self, row: usize) -> Range<usize> {
        self.sequence.keys_of(self.first_query + row / self.group, self.operands.seen, self.operands.shape.window)
    }

    /// This head's keys in a page; its values follow.
    fn page(&self, index: usize) -> &[f32] {
        let layout = &self.operands.layout;
        let start = self.sequence.pages[index] as usize * layout.page + self.key_head * layout.head;
        &self.operands.pool[start..start + layout.head]
    }

    /// The rows that see any key of a page, from a multiple of `align` on.
    fn rows_seeing(&self, page: usize, align: usize) -> Range<usize> {
        let keys = page * PAGE_TOKENS..(page + 1) * PAGE_TOKENS;
        let sees = |row: &usize| {
            let seen = self.keys_of(*row);
            seen.start < keys.end && keys.start < seen.end
        };
        let first = (0..self.rows).find(sees).unwrap_or(0);
        let end = (first..self.rows).rev().find(sees).map_or(self.rows, |last| last + 1);
        first / align * align..end
    }

    /// Makes `scratch.asked` `[rows, head_dim]`.
    fn gather_queries(&self, scratch: &mut Scratch) {
        let (size, q) = (self.operands.shape.head_dim, self.operands.q);
        scratch.asked.resize(self.rows * size);
        for (row, to) in scratch.asked.chunks_exact_mut(size).enumerate() {
            let (query, column) = self.place(row);
            to.copy_from_slice(&q.data[q.offset + query * q.stride + column..][..size]);
        }
    }

    /// Makes `scratch.scores` `[rows, stride]` the products of queries and keys, place 0 the first token of the first page.
    #[inline(always)]
    fn score<S: Simd>(&self, s: S, scratch: &mut Scratch) {
        let size = self.operands.shape.head_dim;
        scratch.scores.resize(self.rows.next_multiple_of(S::TILE_ROWS) * self.stride);
        for page in self.first_page..self.end_page {
            let keys = self.page(page).as_ptr();
            let next = match page + 1 == self.end_page {
                true => self.page(self.first_page)[self.operands.layout.keys..].as_ptr(),
                false => self.page(page + 1).as_ptr(),
            };
            let rows = self.rows_seeing(page, S::TILE_ROWS);
            s.call(Product {
                a: scratch.asked[rows.start * size..].as_ptr(),
                a_stride: size,
                rows: rows.len(),
                depth: size,
                b: keys,
                b_stride: PAGE_TOKENS,
                b_slide: 0,
                columns: PAGE_TOKENS,
                c: scratch.scores[rows.start * self.stride + (page - self.first_page) * PAGE_TOKENS..].as_mut_ptr(),
                c_stride: self.stride,
                c_group: S::TILE_ROWS,
                onto: false,
                next_b: distance(keys, next),
                rounding: self.operands.shape.rounding,
                ahead: Ahead::NOTHING,
            });
        }
    }

    /// Makes scores shares, and `scratch.inverses` one over the sum of each row.
    #[inline(always)]
    fn share_out<S: Simd>(&self, s: S, scratch: &mut Scratch) {
        let first_key = self.first_page * PAGE_TOKENS;
        scratch.inverses.resize(self.rows);
        for row in 0..self.rows {
            let keys = self.keys_of(row);
            let seen = keys.start - first_key..keys.end - first_key;
            let blocks = seen.start / LANES_MAX * LANES_MAX..seen.end;
            let position = self.sequence.kept + self.first_query + row / self.group;
            let head = self.key_head * self.group + row % self.group;
            let bias = self.operands.bias.map(|bias| bias.of(head, position, first_key));
            let scores = scratch.scores[row * self.stride..][..self.stride].as_mut_ptr();
            // SAFETY: a row has whole pages, which are whole blocks of LANES_MAX.
            let sum = unsafe {
                exponentiate_window(s, scores, None, bias.as_ref(), &blocks, &seen, self.operands.shape.scale)
            };
            scratch.inverses[row] = 1.0 / sum;
        }
    }

    /// Makes `scratch.products` `[rows, value_stride]` the sums of shares times values. What all rows see is multiplied for all at once,
    /// the rest row by row: a value that a row does not see may be no number.
    #[inline(always)]
    fn mix<S: Simd>(&self, s: S, scratch: &mut Scratch, first: &Range<usize>, last: &Range<usize>) {
        let stride = self.operands.layout.value_stride;
        scratch.products.resize(self.rows.next_multiple_of(S::TILE_ROWS) * stride);
        scratch.products.fill(0.0);
        let common = if last.start < first.end { last.start..first.end } else { last.end..last.end };
        self.mix_rows(s, scratch, 0..self.rows, 0..common.start);
        self.add_values(s, scratch, 0..self.rows, common.clone());
        self.mix_rows(s, scratch, 0..self.rows, common.end..usize::MAX);
    }

    /// Adds the values of those of `keys` that each row sees. A few rows at a time have most of their keys in common.
    #[inline(always)]
    fn mix_rows<S: Simd>(&self, s: S, scratch: &mut Scratch, rows: Range<usize>, keys: Range<usize>) {
        let within = |row: usize| {
            let seen = self.keys_of(row);
            seen.start.max(keys.start)..seen.end.min(keys.end)
        };
        for start in rows.clone().step_by(S::TILE_ROWS) {
            let tile = start..rows.end.min(start + S::TILE_ROWS);
            let (first, last) = (within(tile.start), within(tile.end - 1));
            let common = if last.start < first.end { last.start..first.end } else { last.end..last.end };
            for row in tile.clone() {
                let keys = within(row);
                self.add_values(s, scratch, row..row + 1, keys.start..common.start.min(keys.end));
            }
            self.add_values(s, scratch, tile.clone(), common.clone());
            for row in tile {
                let keys = within(row);
                self.add_values(s, scratch, row..row + 1, common.end.max(keys.start)..keys.end);
            }
        }
    }

    /// Adds the values of `keys` to some rows: a single one, or rows from a multiple of `TILE_ROWS` on up to another or to the last.
    #[inline(always)]
    fn add_values<S: Simd>(&self, s: S, scratch: &mut Scratch, rows: Range<usize>, keys: Range<usize>) {
        let layout = &self.operands.layout;
        let values = |page: usize| self.page(page)[layout.keys..].as_ptr();
        let mut key = keys.start;
        while key < keys.end {
            let (page, slot) = (key / PAGE_TOKENS, key % PAGE_TOKENS);
            let count = (PAGE_TOKENS - slot).min(keys.end - key);
            s.call(Product {
                a: scratch.scores[rows.start * self.stride + key - self.first_page * PAGE_TOKENS..].as_ptr(),
                a_stride: self.stride,
                rows: rows.len(),
                depth: count,
                b: self.page(page)[layout.keys + slot * layout.value_stride..].as_ptr(),
                b_stride: layout.value_stride,
                b_slide: 0,
                columns: self.operands.shape.head_dim,
                c: scratch.products[rows.start * layout.value_stride..].as_mut_ptr(),
                c_stride: layout.value_stride,
                c_group: S::TILE_ROWS,
                onto: true,
                next_b: if key + count < keys.end { distance(values(page), values(page + 1)) } else { 0 },
                rounding: self.operands.shape.rounding,
                ahead: Ahead::NOTHING,
            });
            key += count;
        }
    }

    /// Writes `products · inverses` to their places.
    fn write(&self, scratch: &Scratch, out: &Parts<'_, f32>) {
        let size = self.operands.shape.head_dim;
        let width = self.operands.shape.heads * size;
        let products = scratch.products.chunks_exact(self.operands.layout.value_stride);
        for (row, (from, &inverse)) in products.zip(scratch.inverses.iter()).enumerate() {
            let (query, column) = self.place(row);
            // SAFETY: no other block has this head of this query.
            let to = unsafe { out.part(query * width + column, size) };
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * inverse;
            }
        }
    }
}

/// Elements from one place to another.
fn distance(from: *const f32, to: *const f32) -> isize {
    (to.addr().wrapping_sub(from.addr()) as isize) / size_of::<f32>() as isize
}
