//! The operands of attention: rows, heads, and who asks.

use crate::{Rounding, ShapeError};
use std::ops::Range;

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
    /// How far from a query, to either side, it sees keys; `None` for all of the sequence. Over pages it is a number of keys, the query's own
    /// among them ([`crate::Seen::Earlier`]): one more than how far.
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

impl Rows<'_> {
    pub(super) fn check(&self, what: &'static str, rows: usize, columns: usize) -> Result<(), ShapeError> {
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
    pub(super) unsafe fn at(&self, row: usize, column: usize) -> *const f32 {
        // SAFETY: the caller's.
        unsafe { self.data.as_ptr().add(self.offset + row * self.stride + column) }
    }
}
