//! Copies of pages: what a beam that splits still writes to.

use super::layout::{PAGE_TOKENS, PageLayout};
use crate::ShapeError;
use crate::pool::Parts;
use crate::vector::LANES_MAX;

/// A page to copy, with the first of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCopy {
    /// Its number.
    pub from: usize,
    /// The number of the page to write.
    pub to: usize,
    /// How many tokens are copied; what lies past them in the other page may stay as it is.
    pub tokens: usize,
}

impl PageCopy {
    pub(super) fn check(&self, pages: usize) -> Result<(), ShapeError> {
        let last = self.from.max(self.to);
        if last >= pages {
            return Err(ShapeError::TooLarge { what: "the number of a page", max: pages.saturating_sub(1), got: last });
        }
        match self.tokens > PAGE_TOKENS {
            true => Err(ShapeError::TooLarge { what: "the tokens of a page", max: PAGE_TOKENS, got: self.tokens }),
            false => Ok(()),
        }
    }

    /// Numbers that it moves, of one head of keys.
    pub(super) fn numbers(&self, layout: &PageLayout) -> usize {
        layout.head / PAGE_TOKENS * self.tokens
    }

    /// Copies one head of keys and its values.
    ///
    /// # Safety
    /// No other task uses this head's parts of the pages.
    pub(super) unsafe fn write(&self, layout: &PageLayout, key_head: usize, pool: &Parts<'_, f32>) {
        if self.from == self.to {
            return;
        }
        let start = |page: usize| page * layout.page + key_head * layout.head;
        // SAFETY: the caller's promise, and the pages are two.
        let (from, to) = unsafe { (pool.part(start(self.from), layout.head), pool.part(start(self.to), layout.head)) };
        // In whole vectors.
        let columns = self.tokens.next_multiple_of(LANES_MAX);
        for line in (0..layout.keys).step_by(PAGE_TOKENS) {
            to[line..line + columns].copy_from_slice(&from[line..line + columns]);
        }
        let values = layout.keys..layout.keys + self.tokens * layout.value_stride;
        to[values.clone()].copy_from_slice(&from[values]);
    }
}
