//! Sequences whose keys and values lie in pages.

use super::layout::{PAGE_TOKENS, PageLayout, page_len};
use crate::{AttentionShape, ShapeError};
use std::ops::Range;

/// New tokens of one sequence, and where its keys and values lie.
#[derive(Clone, Debug)]
pub struct PagedSequence<'a> {
    /// Its rows of `q` and `out`, or of `k` and `v`: a row a new token. The ranges of a call's sequences rise and do not overlap.
    pub queries: Range<usize>,
    /// Tokens before the first of them, whose keys and values are in the pages already. With [`Seen::Kept`], all the keys.
    pub kept: usize,
    /// The numbers of its pages, in the order of tokens. Enough for `kept + queries.len()` tokens, or for `kept` with [`Seen::Kept`].
    pub pages: &'a [u32],
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Query r of a sequence sees the keys `0..=kept + r`, its own among them. With a window, only the last `window` of those.
    Earlier,
    /// Every query sees the keys `0..kept`: cross-attention. There is no window, and no bias by distance.
    Kept,
}

impl PagedSequence<'_> {
    /// The keys that query `index` of this sequence sees.
    pub(super) fn keys_of(&self, index: usize, seen: Seen, window: Option<usize>) -> Range<usize> {
        match seen {
            Seen::Kept => 0..self.kept,
            Seen::Earlier => {
                let end = self.kept + index + 1;
                end - window.map_or(end, |window| window.min(end))..end
            }
        }
    }

    /// The page of a token, and the token's place in it.
    pub(super) fn place(&self, token: usize) -> (usize, usize) {
        (self.pages[token / PAGE_TOKENS] as usize, token % PAGE_TOKENS)
    }

    /// Whether another sequence sees the same keys, where all see what is kept.
    fn sees_as(&self, other: &PagedSequence<'_>) -> bool {
        let pages = self.kept.div_ceil(PAGE_TOKENS);
        self.kept == other.kept && self.pages[..pages] == other.pages[..pages]
    }

    fn check(&self, seen: Seen, pool_pages: usize) -> Result<(), ShapeError> {
        let tokens = match seen {
            Seen::Kept => Some(self.kept),
            Seen::Earlier => self.kept.checked_add(self.queries.len()),
        };
        let needed = tokens.unwrap_or(usize::MAX).div_ceil(PAGE_TOKENS);
        if self.pages.len() < needed {
            return Err(ShapeError::Length {
                what: "the pages of a sequence",
                expected: needed,
                got: self.pages.len(),
            });
        }
        if seen == Seen::Kept && self.kept == 0 && !self.queries.is_empty() {
            return Err(ShapeError::Malformed {
                what: "a sequence that sees what is kept",
                rule: "must have kept something",
            });
        }
        match self.pages[..needed].iter().find(|&&page| page as usize >= pool_pages) {
            None => Ok(()),
            Some(&page) => Err(ShapeError::TooLarge {
                what: "the number of a page",
                max: pool_pages.saturating_sub(1),
                got: page as usize,
            }),
        }
    }
}

/// Sequences that see the same keys as one: the beams of a source. A page is then read once for all of them; no query's result changes.
pub(super) fn together<'a>(sequences: &[PagedSequence<'a>], seen: Seen) -> Vec<PagedSequence<'a>> {
    let mut joined: Vec<PagedSequence<'a>> = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        match joined.last_mut() {
            Some(last)
                if seen == Seen::Kept && last.sees_as(sequence) && last.queries.end == sequence.queries.start =>
            {
                last.queries.end = sequence.queries.end
            }
            _ => joined.push(sequence.clone()),
        }
    }
    joined
}

/// The heads, and the layout of pages that they make, for a pool of `pool` elements; and how many rows the sequences have.
pub(super) fn check(
    sequences: &[PagedSequence<'_>],
    seen: Seen,
    shape: &AttentionShape,
    pool: usize,
) -> Result<(PageLayout, usize), ShapeError> {
    ShapeError::product("heads · head_dim", shape.heads, shape.head_dim)?;
    if shape.key_heads == 0 || !shape.heads.is_multiple_of(shape.key_heads) {
        return Err(ShapeError::Malformed { what: "heads", rule: "must be a multiple of the key heads" });
    }
    ShapeError::product("a page's elements", page_len(shape), 1)?;
    let layout = PageLayout::new(shape);
    let pool_pages = pool.checked_div(layout.page).unwrap_or(usize::MAX);
    let mut end = 0;
    for sequence in sequences {
        if sequence.queries.start < end || sequence.queries.end < sequence.queries.start {
            return Err(ShapeError::Malformed { what: "the rows of sequences", rule: "must rise" });
        }
        end = sequence.queries.end;
        sequence.check(seen, pool_pages)?;
    }
    Ok((layout, end))
}
