//! Attention over packed sequences, with or without DeBERTa's relative positions.
//!
//! A task is a head of a sequence (or some of its queries): `head.rs` packs the head's keys transposed and its values, then goes
//! over the queries in blocks whose scores stay in the second cache. All four products are made by one small kernel (`tile.rs`). Work
//! memory belongs to the thread and lives on between calls (`scratch.rs`).

mod head;
mod pack;
mod relative;
mod scratch;
mod slots;
mod tile;

use crate::pool::Parts;
use crate::vector::dispatch;
use crate::{Kernels, Rounding, ShapeError};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub use relative::Relative;
pub use slots::SlotMap;

/// Rows of a matrix that may be part of a wider one: row `i` begins at `data[offset + i · stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The whole matrix.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
    /// Elements before the first row.
    pub offset: usize,
}

/// Which tokens ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// All: queries and output have a row a token.
    All,
    /// The first of each sequence: queries and output have a row a sequence.
    First,
}

/// The heads.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// How many.
    pub heads: usize,
    /// How many of keys and values; each serves as many heads of queries, side by side (Ainslie et al., "GQA", 2023).
    pub key_heads: usize,
    /// Numbers of a query, a key or a value; heads lie side by side in a row.
    pub head_dim: usize,
    /// Factor of the scores, such as 1 / √head_dim.
    pub scale: f32,
    /// How far from a query, to either side, it sees keys; `None` for all of the sequence.
    pub window: Option<usize>,
    /// How the products of queries and keys and of shares and values are rounded.
    pub rounding: Rounding,
}

impl AttentionShape {
    /// As many heads of keys as of queries, all of which see all of their sequence.
    pub fn new(heads: usize, head_dim: usize, scale: f32, rounding: Rounding) -> Self {
        AttentionShape { heads, key_heads: heads, head_dim, scale, window: None, rounding }
    }

    /// Which keys of a sequence of `length` a query sees.
    pub fn keys_of(&self, query: usize, length: usize) -> Range<usize> {
        match self.window {
            None => 0..length,
            Some(window) => query.saturating_sub(window)..length.min(query.saturating_add(window).saturating_add(1)),
        }
    }

    /// The first column of the keys that a head of queries asks.
    pub fn key_column(&self, head: usize) -> usize {
        head / (self.heads / self.key_heads).max(1) * self.head_dim
    }
}

impl Kernels {
    /// `out = softmax(scores · scale) · v` for each sequence and head, where query i scores key j by `q_i·k_j` and what `relative` adds.
    ///
    /// Sequence s is the tokens `cu_seqlens[s]..cu_seqlens[s + 1]`. `k` and `v` have a row a token; `q` and `out` have one for each of
    /// `queries`. Rows have `heads · head_dim` columns, those of `k` and `v` `key_heads · head_dim`, and `out` is dense. The result for a sequence depends neither on its neighbours nor on
    /// the number of threads; nor, with [`Rounding::Stepwise`], on the instruction set: [`crate::reference::attention_stepwise`] says what
    /// it is, to the bit.
    ///
    /// # Errors
    /// A slice that is shorter than that, `cu_seqlens` that does not rise from 0, or heads that the key heads do not divide.
    #[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
    pub fn attention(
        &self,
        q: &Rows<'_>,
        k: &Rows<'_>,
        v: &Rows<'_>,
        cu_seqlens: &[u32],
        queries: Queries,
        shape: &AttentionShape,
        relative: Option<&Relative>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let call = Call::check(q, k, v, cu_seqlens, queries, shape, relative, out.len())?;
        if call.width == 0 {
            return Ok(());
        }
        let out = Parts::new(out);
        let jobs = call.jobs(self.threads());
        self.pool().run(jobs.len() * shape.heads, &|task| {
            let (head, job) = (task / jobs.len(), &jobs[task % jobs.len()]);
            // Tasks are handed out in order, so this thread's next is about as many on as there are threads.
            let next = (task + self.threads()) / jobs.len();
            let next = (next != head && next < shape.heads).then_some(next);
            scratch::with(|scratch| dispatch(self.isa(), call.head(head, next, job, &out, scratch)));
        });
        Ok(())
    }
}

/// The operands of a call, known to fit each other.
struct Call<'a> {
    q: &'a Rows<'a>,
    k: &'a Rows<'a>,
    v: &'a Rows<'a>,
    cu_seqlens: &'a [u32],
    queries: Queries,
    shape: &'a AttentionShape,
    relative: Option<&'a Relative>,
    /// Columns of all rows.
    width: usize,
    /// Sets this call's packed positions apart from others'.
    id: u64,
}

/// Some queries of a sequence.
struct Job {
    sequence: usize,
    queries: Range<usize>,
}

impl<'a> Call<'a> {
    #[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
    fn check(
        q: &'a Rows<'a>,
        k: &'a Rows<'a>,
        v: &'a Rows<'a>,
        cu_seqlens: &'a [u32],
        queries: Queries,
        shape: &'a AttentionShape,
        relative: Option<&'a Relative>,
        out: usize,
    ) -> Result<Self, ShapeError> {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let rising = cu_seqlens.first() == Some(&0) && cu_seqlens.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising {
            return Err(ShapeError::Malformed { what: "cu_seqlens", rule: "must begin with 0 and rise" });
        }
        let tokens = cu_seqlens.last().map_or(0, |&end| end as usize);
        let width = ShapeError::product("heads · head_dim", shape.heads, shape.head_dim)?;
        let asking = if queries == Queries::All { tokens } else { cu_seqlens.len() - 1 };
        q.check("q", asking, width)?;
        if shape.key_heads == 0 || !shape.heads.is_multiple_of(shape.key_heads) {
            return Err(ShapeError::Malformed { what: "heads", rule: "must be a multiple of the key heads" });
        }
        let key_width = shape.key_heads * shape.head_dim;
        k.check("k", tokens, key_width)?;
        v.check("v", tokens, key_width)?;
        if out != ShapeError::product("rows · heads · head_dim", asking, width)? {
            return Err(ShapeError::Length {
                what: "out [rows, heads · head_dim]",
                expected: asking * width,
                got: out,
            });
        }
        if let Some(relative) = relative {
            relative.check(shape.heads, shape.head_dim)?;
        }
        Ok(Self { q, k, v, cu_seqlens, queries, shape, relative, width, id: CALLS.fetch_add(1, Ordering::Relaxed) })
    }

    fn sequences(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    fn tokens(&self, sequence: usize) -> Range<usize> {
        self.cu_seqlens[sequence] as usize..self.cu_seqlens[sequence + 1] as usize
    }

    /// The sequences, in parts where there are too few heads to keep all threads busy. Each part packs keys and values anew, so parts
    /// are not made lightly.
    fn jobs(&self, threads: usize) -> Vec<Job> {
        let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(self.shape.heads * self.sequences()) };
        let mut jobs = Vec::with_capacity(self.sequences());
        for sequence in 0..self.sequences() {
            let length = if self.queries == Queries::All { self.tokens(sequence).len() } else { 1 };
            let rows = length.div_ceil(parts).next_multiple_of(head::ROWS_PER_BLOCK_MIN);
            for start in (0..length).step_by(rows) {
                jobs.push(Job { sequence, queries: start..length.min(start + rows) });
            }
        }
        jobs
    }
}

impl Rows<'_> {
    fn check(&self, what: &'static str, rows: usize, columns: usize) -> Result<(), ShapeError> {
        let Some(last) = rows.checked_sub(1) else { return Ok(()) };
        let end = last.checked_mul(self.stride).and_then(|start| start.checked_add(self.offset));
        let end = end.and_then(|start| start.checked_add(columns));
        match end {
            Some(end) if end <= self.data.len() => Ok(()),
            end => {
                let expected = end.unwrap_or(usize::MAX);
                Err(ShapeError::Length { what, expected, got: self.data.len() })
            }
        }
    }

    /// Where `column` of `row` is.
    ///
    /// # Safety
    /// `check` has passed for more rows and columns than that.
    unsafe fn at(&self, row: usize, column: usize) -> *const f32 {
        // SAFETY: the caller's.
        unsafe { self.data.as_ptr().add(self.offset + row * self.stride + column) }
    }
}

#[cfg(test)]
mod tests;
