//! Where the keys and values of a token lie.

use crate::AttentionShape;
use crate::vector::LANES_MAX;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;

/// Elements of one page of one layer: keys and values of [`PAGE_TOKENS`] tokens, of all key heads. `usize::MAX` for a shape that no memory
/// holds.
///
/// Key head h has the elements from `h · page_len / key_heads` on: first its keys `[head_dim, PAGE_TOKENS]`, then its values
/// `[PAGE_TOKENS, head_dim]`, whose rows are padded to a multiple of 16 elements.
pub fn page_len(shape: &AttentionShape) -> usize {
    let head = shape.head_dim.checked_next_multiple_of(LANES_MAX).and_then(|row| row.checked_add(shape.head_dim));
    let head = head.and_then(|columns| columns.checked_mul(PAGE_TOKENS));
    head.and_then(|head| head.checked_mul(shape.key_heads)).unwrap_or(usize::MAX)
}

/// Sizes of a page's parts, for a shape whose pages fit into memory.
#[derive(Clone, Copy)]
pub(super) struct PageLayout {
    /// Elements of a page.
    pub(super) page: usize,
    /// Elements of a head's keys and values.
    pub(super) head: usize,
    /// Elements of a head's keys, after which its values begin.
    pub(super) keys: usize,
    /// Elements from a token's values to the next token's.
    pub(super) value_stride: usize,
}

impl PageLayout {
    pub(super) fn new(shape: &AttentionShape) -> Self {
        let keys = shape.head_dim * PAGE_TOKENS;
        let value_stride = shape.head_dim.next_multiple_of(LANES_MAX);
        Self { page: page_len(shape), head: keys + PAGE_TOKENS * value_stride, keys, value_stride }
    }
}
