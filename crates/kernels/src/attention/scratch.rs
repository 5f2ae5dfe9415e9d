//! A thread's work memory.

use crate::aligned::Aligned;
use std::cell::RefCell;

/// Buffers that grow as needed and are kept. What they hold at a task's start is left over, except the positions.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys, transposed.
    pub(super) keys: Aligned<f32>,
    pub(super) values: Aligned<f32>,
    /// Relative keys and queries last copied.
    pub(super) keys_by_distance: Positions,
    pub(super) queries_by_distance: Positions,
    /// Scores of a block of queries.
    pub(super) scores: Aligned<f32>,
    /// Queries by relative keys.
    pub(super) by_key: Aligned<f32>,
    /// Keys by relative queries.
    pub(super) by_query: Aligned<f32>,
    pub(super) products: Aligned<f32>,
    /// Queries of a block.
    pub(super) asked: Aligned<f32>,
    /// One over the sum of a row's shares.
    pub(super) inverses: Aligned<f32>,
}

/// A head's relative positions, transposed, a column a distance.
#[derive(Default)]
pub(super) struct Positions {
    /// The call and head they are of.
    pub(super) owner: (u64, usize),
    /// The longest sequence they serve.
    pub(super) length: usize,
    pub(super) lines: Aligned<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the thread's buffers; new ones in the case, which does not arise, that they are lent out already.
pub(super) fn with<T>(task: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => task(&mut scratch),
        Err(_) => task(&mut Scratch::default()),
    })
}
