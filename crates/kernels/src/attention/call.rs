//! A call of attention: operands that fit each other, and how they are cut into jobs.

use super::bias::ScoreBias;
use super::by_distance::ByDistance;
use super::relative::Relative;
use super::shape::{AttentionShape, Queries, Rows};
use crate::ShapeError;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Queries that are scored together, a multiple of [`crate::vector::LANES_MAX`]: more make the window of a key's distances smaller for
/// each, fewer keep the scores in the second cache. Shares of a sequence are multiples of the smaller.
pub(super) const ROWS_PER_BLOCK_MAX: usize = 128;
pub(super) const ROWS_PER_BLOCK_MIN: usize = 64;

/// The operands of a call, known to fit each other.
pub(super) struct Call<'a> {
    pub(super) q: &'a Rows<'a>,
    pub(super) k: &'a Rows<'a>,
    pub(super) v: &'a Rows<'a>,
    pub(super) cu_seqlens: &'a [u32],
    pub(super) queries: Queries,
    pub(super) shape: &'a AttentionShape,
    pub(super) relative: Option<&'a Relative>,
    pub(super) bias: Option<&'a ScoreBias>,
    /// Columns of all rows.
    pub(super) width: usize,
    /// Sets this call's packed positions apart from others'.
    pub(super) id: u64,
}

/// Some queries of a sequence.
pub(super) struct Job {
    pub(super) sequence: usize,
    pub(super) queries: Range<usize>,
}

impl<'a> Call<'a> {
    #[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
    pub(super) fn check(
        q: &'a Rows<'a>,
        k: &'a Rows<'a>,
        v: &'a Rows<'a>,
        cu_seqlens: &'a [u32],
        queries: Queries,
        shape: &'a AttentionShape,
        by_distance: ByDistance<'a>,
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
        let (relative, bias) = match by_distance {
            ByDistance::Nothing => (None, None),
            ByDistance::Relative(relative) => (Some(relative), None),
            ByDistance::Bias(bias) => (None, Some(bias)),
        };
        relative.map_or(Ok(()), |relative| relative.check(shape.heads, shape.head_dim))?;
        bias.map_or(Ok(()), |bias| bias.check(shape.heads))?;
        let id = CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { q, k, v, cu_seqlens, queries, shape, relative, bias, width, id })
    }

    fn sequences(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    pub(super) fn tokens(&self, sequence: usize) -> Range<usize> {
        self.cu_seqlens[sequence] as usize..self.cu_seqlens[sequence + 1] as usize
    }

    /// The sequences, in parts where there are too few heads to keep all threads busy. Each part packs keys and values again, so parts
    /// are not made lightly.
    pub(super) fn jobs(&self, threads: usize) -> Vec<Job> {
        let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(self.shape.heads * self.sequences()) };
        let mut jobs = Vec::with_capacity(self.sequences());
        for sequence in 0..self.sequences() {
            let length = if self.queries == Queries::All { self.tokens(sequence).len() } else { 1 };
            let rows = length.div_ceil(parts).next_multiple_of(ROWS_PER_BLOCK_MIN);
            for start in (0..length).step_by(rows) {
                jobs.push(Job { sequence, queries: start..length.min(start + rows) });
            }
        }
        jobs
    }
}
