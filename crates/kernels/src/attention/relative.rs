//! Tables of relative positions, laid out for products with windows of distances.
//!
//! A head's rows stand transposed: a line for each of `head_dim` numbers, in it a column for each slot. Relative keys fall from the
//! largest slot to the smallest, since the distances `i - j` of a query fall as j rises; relative queries rise. Where distances have
//! slots of their own, which is all of a short sequence, a line is read as it is; beyond, slots repeat, and the columns are copied a distance
//! each.

use super::SlotMap;
use super::pack::stride_of;
use super::scratch::Scratch;
use crate::ShapeError;
use crate::aligned::Aligned;

/// Columns before the first and twice as many after the last: tiles at the ends read a little more than they need.
const MARGIN: usize = 16;

/// Numbers in a cache line.
const LINE: usize = 16;

/// Scores by distance, as in DeBERTa ("disentangled attention", He et al. 2021, equation 4): with δ the slot of `i - j`, query i scores
/// key j by `Q_i·K_j + Q_i·keys[δ] + K_j·queries[δ]`. Made once for a layer.
#[derive(Clone)]
pub struct Relative {
    slots: SlotMap,
    heads: usize,
    head_dim: usize,
    /// Columns of a line.
    stride: usize,
    keys: Option<Aligned<f32>>,
    queries: Option<Aligned<f32>>,
}

/// A head's lines, from which a window of distances is read.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// The column of distance 0 in the first line.
    pub(super) zero: *const f32,
    pub(super) stride: usize,
}

/// Which of the two tables.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Keys,
    Queries,
}

/// Memory to be read later: some cache lines of each of some rows.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    row: *const f32,
    stride: usize,
    rows: usize,
    row_lines: usize,
    line: usize,
}

impl Relative {
    /// `keys` (content to position) and `queries` (position to content), either of which may be absent, are `[slots, heads · head_dim]`:
    /// what a layer's projections make of the relative position embeddings.
    ///
    /// # Errors
    /// A table of another length.
    pub fn new(
        keys: Option<&[f32]>,
        queries: Option<&[f32]>,
        slots: SlotMap,
        heads: usize,
        head_dim: usize,
    ) -> Result<Self, ShapeError> {
        let width = ShapeError::product("heads · head_dim", heads, head_dim)?;
        let total = ShapeError::product("slots · heads · head_dim", slots.slots(), width)?;
        let stride = stride_of(slots.slots() + 3 * MARGIN);
        ShapeError::product("slots · heads · head_dim", stride, width)?;
        let transpose = |what, table: Option<&[f32]>, side| {
            let Some(table) = table else { return Ok(None) };
            ShapeError::check_length(what, table, total)?;
            let mut lines = Aligned::zeros(width * stride);
            for (line, to) in lines.chunks_exact_mut(stride).enumerate() {
                for slot in 0..slots.slots() {
                    to[column_of(side, &slots, slot)] = table[slot * width + line];
                }
            }
            Ok(Some(lines))
        };
        let keys = transpose("relative keys [slots, heads · head_dim]", keys, Side::Keys)?;
        let queries = transpose("relative queries [slots, heads · head_dim]", queries, Side::Queries)?;
        Ok(Self { slots, heads, head_dim, stride, keys, queries })
    }

    /// Says whether the tables have the heads of an attention.
    pub(super) fn check(&self, heads: usize, head_dim: usize) -> Result<(), ShapeError> {
        let sizes = [
            ("heads of relative positions", "heads", heads, self.heads),
            ("head_dim of relative positions", "head_dim", head_dim, self.head_dim),
        ];
        for (what, against, expected, got) in sizes {
            if expected != got {
                return Err(ShapeError::Mismatch { what, against, expected, got });
            }
        }
        Ok(())
    }

    fn table(&self, side: Side) -> Option<&[f32]> {
        match side {
            Side::Keys => self.keys.as_deref(),
            Side::Queries => self.queries.as_deref(),
        }
    }

    /// A head's lines for sequences of `length`, in the table or in `scratch`; none if there is no such table. `owner` sets the table
    /// and head apart from all others that the thread's memory may hold.
    pub(super) fn lines(&self, side: Side, owner: (u64, usize), length: usize, scratch: &mut Scratch) -> Option<Lines> {
        let head = owner.1;
        let table = self.table(side)?;
        let lines = &table[head * self.head_dim * self.stride..][..self.head_dim * self.stride];
        let zero = column_of(side, &self.slots, self.slots.slot(0));
        if length <= self.slots.straight() + 1 {
            return Some(Lines { zero: lines.as_ptr().wrapping_add(zero), stride: self.stride });
        }
        let positions = match side {
            Side::Keys => &mut scratch.keys_by_distance,
            Side::Queries => &mut scratch.queries_by_distance,
        };
        if positions.owner != owner || positions.length < length {
            (positions.owner, positions.length) = (owner, length);
            let stride = stride_of(2 * length + 4 * MARGIN);
            positions.lines.resize(self.head_dim * stride);
            let sources: Vec<u32> = (0..stride as i64)
                .map(|column| {
                    let rising = column - (length - 1 + MARGIN) as i64;
                    let distance = if side == Side::Keys { -rising } else { rising };
                    column_of(side, &self.slots, self.slots.slot(distance)) as u32
                })
                .collect();
            let middle = length - 1 + MARGIN - self.slots.straight()..length + MARGIN + self.slots.straight();
            for (to, from) in positions.lines.chunks_exact_mut(stride).zip(lines.chunks_exact(self.stride)) {
                for range in [0..middle.start, middle.end..stride] {
                    for (to, &source) in to[range.clone()].iter_mut().zip(&sources[range]) {
                        *to = from[source as usize];
                    }
                }
                let start = sources[middle.start] as usize;
                to[middle.clone()].copy_from_slice(&from[start..start + middle.len()]);
            }
        }
        let zero = positions.length - 1 + MARGIN;
        let stride = stride_of(2 * positions.length + 4 * MARGIN);
        Some(Lines { zero: positions.lines.as_ptr().wrapping_add(zero), stride })
    }

    /// What a head of sequences of `length` will be read from: the part of it that is due when `done` of `all` has been, up to `due`.
    pub(super) fn ahead(
        &self,
        side: Side,
        head: usize,
        length: usize,
        due: std::ops::Range<usize>,
        all: usize,
    ) -> Ahead {
        let Some(table) = self.table(side) else { return Ahead::NOTHING };
        let farthest = length as i64 - 1;
        let ends = [-farthest, farthest].map(|distance| column_of(side, &self.slots, self.slots.slot(distance)));
        let (first, last) = (ends[0].min(ends[1]) / LINE, ends[0].max(ends[1]) / LINE);
        let rows = self.head_dim * due.start / all..self.head_dim * due.end / all;
        let row = &table[(head * self.head_dim + rows.start) * self.stride + first * LINE..];
        Ahead { row: row.as_ptr(), stride: self.stride, rows: rows.len(), row_lines: last - first + 1, line: 0 }
    }
}

impl std::fmt::Debug for Relative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes = (self.heads, self.head_dim, self.keys.is_some(), self.queries.is_some());
        f.debug_struct("Relative").field("slots", &self.slots.slots()).field("sizes", &sizes).finish_non_exhaustive()
    }
}

/// Where a slot stands in a line.
fn column_of(side: Side, slots: &SlotMap, slot: usize) -> usize {
    MARGIN + if side == Side::Keys { slots.slots() - 1 - slot } else { slot }
}

impl Ahead {
    /// No memory at all.
    pub(super) const NOTHING: Self = Self { row: std::ptr::null(), stride: 0, rows: 0, row_lines: 0, line: 0 };

    /// How many cache lines are left.
    pub(super) fn lines(&self) -> usize {
        self.rows * self.row_lines - self.line
    }

    /// The next cache line.
    #[inline(always)]
    pub(super) fn next_line(&mut self) -> *const f32 {
        let at = self.row.wrapping_add(self.line * LINE);
        self.line += 1;
        if self.line >= self.row_lines {
            (self.line, self.rows, self.row) = (0, self.rows.saturating_sub(1), self.row.wrapping_add(self.stride));
        }
        at
    }
}
