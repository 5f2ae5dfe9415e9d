//! Texts that wait for pages: the oldest of the highest priority is next.
//!
//! No text overtakes the next one, so a text that needs many pages does not wait behind small ones for ever. Every
//! `fair` times the oldest of all priorities is next. So no text starves: pages always come back, because every text that has some
//! has reserved all that it can need.

use super::pace::Load;
use super::queue::JobId;
use super::{EngineId, Priority, Time};
use crate::generate::Size;
use std::collections::BTreeMap;

/// A text that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct InLine {
    pub(super) size: Size,
    /// When it arrived.
    pub(super) since: Time,
    /// The engine that it failed on.
    pub(super) not_on: Option<EngineId>,
}

/// All texts that wait, by priority and age.
#[derive(Debug)]
pub(super) struct Line {
    lanes: [BTreeMap<JobId, InLine>; 3],
    load: Load,
    left_ever: u64,
    fair: u64,
}

impl Line {
    pub(super) fn new(fair: u64) -> Line {
        Line { lanes: Default::default(), load: Load::default(), left_ever: 0, fair: fair.max(1) }
    }

    pub(super) fn rows(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// What waits.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// The arrival of the oldest text.
    pub(super) fn oldest_since(&self) -> Option<Time> {
        self.lanes.iter().filter_map(|lane| Some(lane.first_key_value()?.1.since)).min()
    }

    /// Adds a text. One that was here before keeps its age.
    pub(super) fn push(&mut self, job: JobId, text: InLine, priority: Priority) {
        self.load.prompt = self.load.prompt.saturating_add(text.size.given);
        self.load.new = self.load.new.saturating_add(text.size.new);
        self.lanes[priority as usize].insert(job, text);
    }

    /// Removes a text, if it waits.
    pub(super) fn remove(&mut self, job: JobId, priority: Priority) -> Option<InLine> {
        let text = self.lanes[priority as usize].remove(&job)?;
        self.load.prompt = self.load.prompt.saturating_sub(text.size.given);
        self.load.new = self.load.new.saturating_sub(text.size.new);
        Some(text)
    }

    /// Changes the priority of a waiting text; it keeps its age.
    pub(super) fn move_to(&mut self, job: JobId, from: Priority, to: Priority) {
        if let Some(text) = self.lanes[from as usize].remove(&job) {
            self.lanes[to as usize].insert(job, text);
        }
    }

    /// The next text for an engine. With `None` for the engine, every text may run there.
    pub(super) fn next(&self, engine: Option<EngineId>) -> Option<(JobId, Size)> {
        let may_run = |text: &InLine| engine.is_none() || text.not_on != engine;
        let mut firsts = self.lanes.iter().filter_map(|lane| lane.iter().find(|(_, text)| may_run(text)));
        let (&job, text) = match (self.left_ever + 1).is_multiple_of(self.fair) {
            true => firsts.min_by_key(|(job, _)| **job),
            false => firsts.next_back(),
        }?;
        Some((job, text.size))
    }

    /// Removes a text that [`Line::next`] named.
    pub(super) fn leave(&mut self, job: JobId, priority: Priority) {
        self.left_ever += u64::from(self.remove(job, priority).is_some());
    }
}
