//! Attention over packed sequences, with or without DeBERTa's relative positions or T5's bias, and over pages.
//!
//! A task is a head of a sequence (or some of its queries): `head.rs` packs the head's keys transposed and its values, then goes
//! over the queries in blocks whose scores stay in the second cache. All four products are made by one small kernel (`tile.rs`). Work
//! memory belongs to the thread and lives on between calls (`scratch.rs`).

mod bias;
mod by_distance;
mod call;
mod head;
mod pack;
mod pages;
mod relative;
mod scratch;
mod shape;
mod shares;
mod slots;
mod tile;

use crate::pool::Parts;
use crate::vector::dispatch;
use crate::{Kernels, ShapeError};
use call::Call;
use head::Head;

pub use bias::ScoreBias;
pub use by_distance::ByDistance;
pub use pages::{PAGE_TOKENS, PageCopy, PagedSequence, Seen, page_len};
pub use relative::Relative;
pub use shape::{AttentionShape, Queries, Rows};
pub use slots::SlotMap;

impl Kernels {
    /// `out = softmax(scores) · v` for each sequence and head, where query i scores key j by `scale · q_i·k_j` and what `by_distance` adds.
    ///
    /// Sequence s is the tokens `cu_seqlens[s]..cu_seqlens[s + 1]`. `k` and `v` have a row a token; `q` and `out` have one for each of
    /// `queries`. Rows have `heads · head_dim` columns, those of `k` and `v` `key_heads · head_dim`, and `out` is dense. The result for a sequence depends neither on its neighbours nor on
    /// the number of threads; nor, with [`crate::Rounding::Stepwise`], on the instruction set: [`crate::reference::attention_stepwise`] says what
    /// it is, to the bit.
    ///
    /// # Errors
    /// A slice that is shorter than that, `cu_seqlens` that does not rise from 0, or heads that the key heads do not divide or that
    /// `by_distance` does not have.
    #[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
    pub fn attention(
        &self,
        q: &Rows<'_>,
        k: &Rows<'_>,
        v: &Rows<'_>,
        cu_seqlens: &[u32],
        queries: Queries,
        shape: &AttentionShape,
        by_distance: ByDistance<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let call = Call::check(q, k, v, cu_seqlens, queries, shape, by_distance, out.len())?;
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
            scratch::with(|scratch| dispatch(self.isa(), Head::new(&call, head, next, job, &out, scratch)));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
