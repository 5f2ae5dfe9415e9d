//! Where the keys and values of a token lie.

use crate::vector::LANES_MAX;
use crate::{AttentionShape, ShapeError};

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

/// Copies the keys and values of a page's first `tokens` tokens to another page of `pool` `[pages, page_len]`; what lies past them may stay
/// as it is. Nothing happens where `tokens` is 0.
///
/// # Errors
/// A page that the pool does not have, or more than [`PAGE_TOKENS`].
pub fn copy_page(
    shape: &AttentionShape,
    pool: &mut [f32],
    [from, to]: [usize; 2],
    tokens: usize,
) -> Result<(), ShapeError> {
    let length = page_len(shape);
    let pages = pool.len().checked_div(length).unwrap_or(usize::MAX);
    if from.max(to) >= pages {
        let max = pages.saturating_sub(1);
        return Err(ShapeError::TooLarge { what: "the number of a page", max, got: from.max(to) });
    }
    if tokens > PAGE_TOKENS {
        return Err(ShapeError::TooLarge { what: "the tokens of a page", max: PAGE_TOKENS, got: tokens });
    }
    let PageLayout { head, keys, value_stride, .. } = PageLayout::new(shape);
    // In whole vectors.
    let columns = tokens.next_multiple_of(LANES_MAX);
    for start in (0..length).step_by(head.max(1)) {
        let (source, target) = (from * length + start, to * length + start);
        for line in (0..keys).step_by(PAGE_TOKENS) {
            pool.copy_within(source + line..source + line + columns, target + line);
        }
        let values = source + keys..source + keys + tokens * value_stride;
        pool.copy_within(values, target + keys);
    }
    Ok(())
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
