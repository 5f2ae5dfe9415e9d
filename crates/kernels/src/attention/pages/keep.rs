//! Keys and values of new tokens into pages.

use super::layout::{PAGE_TOKENS, PageLayout};
use super::sequence::PagedSequence;
use crate::attention::pack::pack_transposed;
use crate::pool::Parts;
use crate::vector::{Operation, Simd, dispatch};
use crate::{AttentionShape, Isa, Rows};
use std::ops::Range;

/// Operands of a call that fit each other.
pub(super) struct Keep<'a> {
    pub(super) k: &'a Rows<'a>,
    pub(super) v: &'a Rows<'a>,
    pub(super) sequences: &'a [PagedSequence<'a>],
    pub(super) shape: &'a AttentionShape,
    pub(super) layout: PageLayout,
}

impl Keep<'_> {
    /// Writes one key head of all sequences, one after another: sequences may share pages.
    ///
    /// # Safety
    /// No other task uses this head's parts of the pages.
    pub(super) unsafe fn write(&self, isa: Isa, key_head: usize, pool: &Parts<'_, f32>) {
        for sequence in self.sequences {
            let mut row = sequence.queries.start;
            while row < sequence.queries.end {
                let (page, slot) = sequence.place(sequence.kept + row - sequence.queries.start);
                let count = (PAGE_TOKENS - slot).min(sequence.queries.end - row);
                let start = page * self.layout.page + key_head * self.layout.head;
                // SAFETY: the caller's promise.
                let part = unsafe { pool.part(start, self.layout.head) };
                let (keys, values) = part.split_at_mut(self.layout.keys);
                self.write_keys(isa, keys, key_head, row..row + count, slot);
                self.write_values(values, key_head, row..row + count, slot);
                row += count;
            }
        }
    }

    fn write_keys(&self, isa: Isa, keys: &mut [f32], key_head: usize, rows: Range<usize>, slot: usize) {
        let size = self.shape.head_dim;
        if slot == 0 && rows.len() == PAGE_TOKENS {
            let (first, stride) = (self.k.offset + rows.start * self.k.stride + key_head * size, self.k.stride);
            let from = &self.k.data[first..first + (PAGE_TOKENS - 1) * stride + size];
            return dispatch(isa, WholePage { from, stride, size, keys });
        }
        for (place, row) in (slot..).zip(rows) {
            let from = columns(self.k, row, key_head * size, size);
            for (line, number) in keys.chunks_exact_mut(PAGE_TOKENS).zip(from) {
                line[place] = *number;
            }
        }
    }

    fn write_values(&self, values: &mut [f32], key_head: usize, rows: Range<usize>, slot: usize) {
        let size = self.shape.head_dim;
        for (place, row) in (slot..).zip(rows) {
            let from = columns(self.v, row, key_head * size, size);
            values[place * self.layout.value_stride..][..size].copy_from_slice(from);
        }
    }
}

/// The keys of a page, all of them.
struct WholePage<'a> {
    /// From the first number of the first key to the last of the last.
    from: &'a [f32],
    stride: usize,
    size: usize,
    /// `[size, PAGE_TOKENS]`.
    keys: &'a mut [f32],
}

impl Operation for WholePage<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (from, to) = (self.from.as_ptr(), self.keys.as_mut_ptr());
        // SAFETY: there are PAGE_TOKENS rows of `size` numbers, and as many columns in `keys`: whole vectors of each instruction set.
        unsafe { pack_transposed(s, from, self.stride, PAGE_TOKENS, self.size, to, PAGE_TOKENS) };
    }
}

fn columns<'a>(rows: &Rows<'a>, row: usize, column: usize, count: usize) -> &'a [f32] {
    &rows.data[rows.offset + row * rows.stride + column..][..count]
}
