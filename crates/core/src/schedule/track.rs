//! The texts that one engine writes, and its pages.

use super::queue::JobId;
use crate::generate::{PagePool, Size};
use std::collections::BTreeMap;

/// Texts that have pages on an engine, in order of age.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) pool: PagePool,
    texts: BTreeMap<JobId, Size>,
    width: usize,
    /// Whether a pass of it runs.
    pub(super) is_running: bool,
}

impl Track {
    pub(super) fn new(pages: usize) -> Track {
        Track { pool: PagePool::new(pages), texts: BTreeMap::new(), width: 0, is_running: false }
    }

    /// Reserves the pages of a text, if there are that many, and if there is room beside the others in a pass of `rows_max`
    /// hypotheses. One text always has room.
    pub(super) fn admit(&mut self, job: JobId, size: Size, rows_max: usize) -> bool {
        let is_wide = self.width.saturating_add(size.width) > rows_max;
        if is_wide && !self.texts.is_empty() || !self.pool.reserve(size.pages) {
            return false;
        }
        self.width += size.width;
        self.texts.insert(job, size);
        true
    }

    /// Takes the promise to a text back. Its pages must be free already.
    pub(super) fn dismiss(&mut self, job: JobId) {
        if let Some(size) = self.texts.remove(&job) {
            self.width -= size.width;
            self.pool.unreserve(size.pages);
        }
    }

    /// All texts, the oldest first.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.texts.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}
