//! Attention over keys and values that are kept in pages, for models that write a token at a time.
//!
//! A pool holds the pages of one layer. A sequence names its pages in the order of its tokens, so that sequences share pages, and a
//! reordered beam copies tables, not numbers. The result for a query depends neither on how many queries a call has, nor on its neighbours,
//! nor on the number of threads: a prompt in pieces gives the bits of a prompt at once.

mod block;
mod copy;
mod keep;
mod layout;
mod sequence;

use super::bias::ScoreBias;
use super::scratch;
use super::shape::{AttentionShape, Rows};
use crate::pool::{Parts, share};
use crate::vector::dispatch;
use crate::{Kernels, ShapeError};
use block::{Block, Operands};
use keep::Keep;
use std::ops::Range;

pub use copy::PageCopy;
pub use layout::{PAGE_TOKENS, page_len};
pub use sequence::{PagedSequence, Seen};

/// Scores of a block: they stay in the second-level cache.
const BLOCK_SCORES: usize = 1 << 16;
/// Rows of a block at most.
const BLOCK_ROWS: usize = 64;
/// Products that take as long as a number moved: a token's keys lie in as many cache lines as they are numbers.
const NUMBER_PRODUCTS: usize = 8;
/// Products of numbers that are worth a task of their own: a few microseconds' work.
const TASK_PRODUCTS: usize = 1 << 16;

impl Kernels {
    /// Writes keys and values of new tokens into their pages: the rows of each sequence's `queries`, at its places from `kept` on.
    ///
    /// `k` and `v` have rows of `key_heads · head_dim` columns; `pool` is `[pages, page_len]` ([`page_len`]), of one layer. Sequences may
    /// share pages; where two write the same place, the later one in `sequences` stays.
    ///
    /// # Errors
    /// Rows that `k` or `v` do not have, ranges that do not rise, too few pages, or a page that `pool` does not have.
    pub fn keep(
        &self,
        k: &Rows<'_>,
        v: &Rows<'_>,
        sequences: &[PagedSequence<'_>],
        shape: &AttentionShape,
        pool: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (layout, rows) = sequence::check(sequences, Seen::Earlier, shape, pool.len())?;
        k.check("k", rows, shape.key_heads * shape.head_dim)?;
        v.check("v", rows, shape.key_heads * shape.head_dim)?;
        if layout.page == 0 {
            return Ok(());
        }
        let keep = Keep { k, v, sequences, shape, layout };
        let tokens: usize = sequences.iter().map(|sequence| sequence.queries.len()).sum();
        let numbers = 2 * tokens * shape.key_heads * shape.head_dim;
        let tasks = tasks_of(numbers * NUMBER_PRODUCTS, shape.key_heads);
        let pool = Parts::new(pool);
        self.pool().run(tasks, &|task| {
            for head in share(shape.key_heads, tasks, task) {
                // SAFETY: each head of keys is in one task only.
                unsafe { keep.write(self.isa(), head, &pool) };
            }
        });
        Ok(())
    }

    /// Copies pages of `pool` `[pages, page_len]`, one after another.
    ///
    /// # Errors
    /// A page that the pool does not have, or more than [`PAGE_TOKENS`].
    pub fn copy_pages(&self, copies: &[PageCopy], shape: &AttentionShape, pool: &mut [f32]) -> Result<(), ShapeError> {
        let (layout, _) = sequence::check(&[], Seen::Earlier, shape, pool.len())?;
        let pages = pool.len().checked_div(layout.page).unwrap_or(usize::MAX);
        copies.iter().try_for_each(|copy| copy.check(pages))?;
        if layout.page == 0 || copies.is_empty() {
            return Ok(());
        }
        let numbers: usize = copies.iter().map(|copy| copy.numbers(&layout)).sum();
        let tasks = tasks_of(numbers * shape.key_heads * NUMBER_PRODUCTS, shape.key_heads);
        let pool = Parts::new(pool);
        self.pool().run(tasks, &|task| {
            for head in share(shape.key_heads, tasks, task) {
                // SAFETY: each head of keys is in one task only.
                copies.iter().for_each(|copy| unsafe { copy.write(&layout, head, &pool) });
            }
        });
        Ok(())
    }

    /// `out = softmax(scale · q·k + bias) · v` for each query of each sequence and each head, over the keys and values in the pages that
    /// `seen` lets it see. The new tokens' own keys are among those of [`Seen::Earlier`], so [`Kernels::keep`] comes first.
    ///
    /// `q` has rows of `heads · head_dim` columns; `pool` is `[pages, page_len]` ([`page_len`]), of one layer; `out` is dense, and its
    /// rows that no sequence has stay as they are. The result for a query depends neither on other queries, of its own sequence or another, nor
    /// on the number of threads; nor, with [`crate::Rounding::Stepwise`], on the instruction set: [`crate::reference::attend_pages_stepwise`]
    /// says what it is, to the bit. What lies in pages past the keys that a query sees does not matter.
    ///
    /// # Errors
    /// Rows that `q` or `out` do not have, ranges that do not rise, too few pages, a page that `pool` does not have, heads that the key
    /// heads do not divide or that the bias does not have, a window of 0; and with [`Seen::Kept`] a window, a bias, or nothing kept.
    #[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
    pub fn attend_pages(
        &self,
        q: &Rows<'_>,
        pool: &[f32],
        sequences: &[PagedSequence<'_>],
        seen: Seen,
        shape: &AttentionShape,
        bias: Option<&ScoreBias>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (layout, rows) = sequence::check(sequences, seen, shape, pool.len())?;
        let width = shape.heads * shape.head_dim;
        q.check("q", rows, width)?;
        let needed = ShapeError::product("rows · heads · head_dim", rows, width)?;
        if out.len() < needed {
            return Err(ShapeError::Length { what: "out [rows, heads · head_dim]", expected: needed, got: out.len() });
        }
        check_sight(seen, shape, bias)?;
        if width == 0 {
            return Ok(());
        }
        let operands = Operands { q, pool, seen, shape, layout, bias };
        let sequences = &sequence::together(sequences, seen);
        let (jobs, products) = jobs(sequences, seen, shape, self.threads());
        let out = Parts::new(out);
        let tasks = tasks_of(products, jobs.len());
        self.pool().run(tasks, &|task| {
            for job in &jobs[share(jobs.len(), tasks, task)] {
                let (sequence, queries) = (&sequences[job.sequence], job.queries.clone());
                scratch::with(|scratch| {
                    let (operands, key_head, out) = (&operands, job.key_head, &out);
                    dispatch(self.isa(), Block { operands, sequence, key_head, queries, out, scratch });
                });
            }
        });
        Ok(())
    }
}

/// A block of a sequence's queries, for one head of keys.
struct Job {
    sequence: usize,
    key_head: usize,
    queries: Range<usize>,
}

/// All blocks, and how many products of numbers they are.
fn jobs(sequences: &[PagedSequence<'_>], seen: Seen, shape: &AttentionShape, threads: usize) -> (Vec<Job>, usize) {
    let group = shape.heads / shape.key_heads;
    // With too few heads for all threads, a sequence's queries are shared out too.
    let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(shape.key_heads * sequences.len().max(1)) };
    let (mut jobs, mut products) = (Vec::new(), 0usize);
    for (index, sequence) in sequences.iter().enumerate() {
        let count = sequence.queries.len();
        let Some(last) = count.checked_sub(1) else { continue };
        let keys = sequence.keys_of(last, seen, shape.window).len();
        let rows = (BLOCK_SCORES / keys.max(1)).clamp(16, BLOCK_ROWS);
        let step = (rows / group).max(1).min(count.div_ceil(parts));
        for key_head in 0..shape.key_heads {
            for start in (0..count).step_by(step) {
                jobs.push(Job { sequence: index, key_head, queries: start..count.min(start + step) });
            }
        }
        products = products.saturating_add(2 * shape.heads * shape.head_dim * count.saturating_mul(keys));
    }
    (jobs, products)
}

/// Tasks for so much work: at most `most`.
fn tasks_of(products: usize, most: usize) -> usize {
    products.div_ceil(TASK_PRODUCTS).min(most)
}

fn check_sight(seen: Seen, shape: &AttentionShape, bias: Option<&ScoreBias>) -> Result<(), ShapeError> {
    let refuse = |what, rule| Err(ShapeError::Malformed { what, rule });
    match (seen, shape.window) {
        (Seen::Earlier, Some(0)) => return refuse("the window of earlier keys", "must not be 0"),
        (Seen::Kept, Some(_)) => return refuse("attention to what is kept", "has no window"),
        _ => {}
    }
    match bias {
        Some(_) if seen == Seen::Kept => refuse("attention to what is kept", "has no bias by distance"),
        Some(bias) => bias.check(shape.heads),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
