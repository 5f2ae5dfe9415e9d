//! The waiting sequences, and the selection of the next batch.
//!
//! # The rule
//!
//! The oldest sequence of the highest priority is the *anchor*: it is always in the batch. Every [`Rules::fair_batches`] batches the
//! anchor is the oldest of all priorities. Then, lane by lane from the highest priority:
//!
//! 1. sequences that were passed over by [`Rules::passed_over_max`] batches, oldest first, up to the first that does not fit;
//! 2. sequences nearest in length to the anchor, while rows, tokens and the share of padding stay within the limits.
//!
//! # Why no sequence starves
//!
//! A sequence is passed over by at most `passed_over_max` batches before it is *overdue*. Older sequences of its priority are
//! then overdue too, because the same batches passed them over. From then on, its priority's part of the batches is first in,
//! first out, and no later arrival delays it. With one priority, the number of batches after a push, up to and including the one
//! that contains the sequence, is at most
//!
//! ```text
//! passed_over_max + ⌊older / rows_max⌋ + ⌊2 · tokens / tokens_max⌋ + 1
//! ```
//!
//! where `older` counts the sequences that waited or ran when it arrived, and `tokens` counts their tokens and its own. (A batch of
//! overdue sequences that leaves one behind is full, or stopped at one that did not fit; that one is in the next batch, and the two
//! batches hold more than `tokens_max` together.) With any priorities, it is in one of the next
//! `fair_batches · (older + 1)` batches. Sequences that failed are the exception: they wait for another engine and run
//! alone, so that a sequence that breaks engines does not affect others; their batches do not count for the others.

use super::{EngineId, Priority, Time};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Identifies a sequence in the queue and later. A smaller id is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobId(pub(super) u64);

/// A waiting sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Its length.
    pub(super) tokens: usize,
    /// When it arrived.
    pub(super) since: Time,
    /// The engine that it failed on.
    pub(super) not_on: Option<EngineId>,
    /// Whether its batch failed, perhaps because of it: then it runs alone.
    pub(super) alone: bool,
}

/// Limits of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) rows_max: usize,
    pub(super) tokens_max: usize,
    pub(super) padding_ratio_max: f64,
    pub(super) passed_over_max: u64,
    pub(super) fair_batches: u64,
}

/// All waiting sequences.
#[derive(Debug)]
pub(super) struct Queue {
    rules: Rules,
    lanes: [Lane; Priority::ALL.len()],
    rows: usize,
    tokens: usize,
    batches_formed: u64,
}

#[derive(Debug, Default)]
struct Lane {
    by_age: BTreeMap<JobId, Place>,
    by_length: BTreeSet<(usize, JobId)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    waiting: Waiting,
    /// The number of the first batch in which it is overdue.
    overdue_from: u64,
}

/// A batch under construction, for one engine.
struct Forming {
    rules: Rules,
    batch_number: u64,
    /// `None` if every sequence may run there, even after a failure.
    engine: Option<EngineId>,
    jobs: Vec<JobId>,
    tokens: usize,
    longest: usize,
    anchor_tokens: usize,
}

impl Queue {
    pub(super) fn new(rules: Rules) -> Queue {
        Queue { rules, lanes: Default::default(), rows: 0, tokens: 0, batches_formed: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Whether the waiting sequences would fill a batch.
    pub(super) fn fills_a_batch(&self) -> bool {
        self.rows >= self.rules.rows_max || self.tokens >= self.rules.tokens_max
    }

    /// The arrival of the oldest sequence.
    pub(super) fn oldest_since(&self) -> Option<Time> {
        self.lanes.iter().filter_map(|lane| Some(lane.by_age.first_key_value()?.1.waiting.since)).min()
    }

    pub(super) fn push(&mut self, job: JobId, waiting: Waiting, priority: Priority) {
        let overdue_from = self.batches_formed.saturating_add(self.rules.passed_over_max);
        self.place(job, Place { waiting, overdue_from }, priority);
    }

    /// Puts a sequence from a batch back: it keeps its age and is overdue at once.
    pub(super) fn put_back(&mut self, job: JobId, waiting: Waiting, priority: Priority) {
        self.place(job, Place { waiting, overdue_from: 0 }, priority);
    }

    /// Removes a sequence, if it waits.
    pub(super) fn remove(&mut self, job: JobId, priority: Priority) {
        if let Some(place) = self.lanes[priority as usize].remove(job) {
            self.rows -= 1;
            self.tokens -= place.waiting.tokens;
        }
    }

    /// Changes the priority of a waiting sequence; it keeps its age.
    pub(super) fn move_to(&mut self, job: JobId, from: Priority, to: Priority) {
        if from == to {
            return;
        }
        if let Some(place) = self.lanes[from as usize].remove(job) {
            self.lanes[to as usize].insert(job, place);
        }
    }

    /// Removes the next batch for an engine: empty only if no waiting sequence may run there. With `None` for the engine, every
    /// sequence may run.
    pub(super) fn form_batch(&mut self, engine: Option<EngineId>) -> Vec<JobId> {
        let Some((lane, anchor)) = self.anchor(engine) else { return Vec::new() };
        let mut forming = Forming {
            rules: self.rules,
            batch_number: self.batches_formed,
            engine,
            jobs: Vec::new(),
            tokens: 0,
            longest: 0,
            anchor_tokens: 0,
        };
        let mut alone = false;
        if let Some(place) = self.lanes[lane].remove(anchor) {
            forming.anchor_tokens = place.waiting.tokens;
            forming.take(anchor, place.waiting.tokens);
            alone = place.waiting.alone;
        }
        for lane in self.lanes.iter_mut().rev().filter(|_| !alone) {
            forming.take_overdue(lane);
            forming.take_alike(lane);
        }
        self.batches_formed += 1;
        self.rows -= forming.jobs.len();
        self.tokens -= forming.tokens;
        forming.jobs
    }

    fn place(&mut self, job: JobId, place: Place, priority: Priority) {
        self.rows += 1;
        self.tokens += place.waiting.tokens;
        self.lanes[priority as usize].insert(job, place);
    }

    fn anchor(&self, engine: Option<EngineId>) -> Option<(usize, JobId)> {
        let oldest = |lane: &Lane| lane.by_age.iter().find(|(_, place)| place.may_run(engine)).map(|(&job, _)| job);
        let firsts = self.lanes.iter().enumerate().filter_map(|(index, lane)| Some((index, oldest(lane)?)));
        match (self.batches_formed + 1).is_multiple_of(self.rules.fair_batches) {
            true => firsts.min_by_key(|&(_, job)| job),
            false => firsts.min_by_key(|&(index, _)| Reverse(index)),
        }
    }
}

impl Priority {
    const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];
}

impl Place {
    fn may_run(&self, engine: Option<EngineId>) -> bool {
        engine.is_none() || self.waiting.not_on != engine
    }

    fn may_join(&self, engine: Option<EngineId>) -> bool {
        self.may_run(engine) && !self.waiting.alone
    }
}

impl Lane {
    fn insert(&mut self, job: JobId, place: Place) {
        self.by_length.insert((place.waiting.tokens, job));
        self.by_age.insert(job, place);
    }

    fn remove(&mut self, job: JobId) -> Option<Place> {
        let place = self.by_age.remove(&job)?;
        self.by_length.remove(&(place.waiting.tokens, job));
        Some(place)
    }
}

impl Forming {
    fn take(&mut self, job: JobId, tokens: usize) {
        self.jobs.push(job);
        self.tokens += tokens;
        self.longest = self.longest.max(tokens);
    }

    fn is_full(&self) -> bool {
        self.jobs.len() >= self.rules.rows_max
    }

    fn tokens_left(&self) -> usize {
        self.rules.tokens_max.saturating_sub(self.tokens)
    }

    fn take_overdue(&mut self, lane: &mut Lane) {
        let mut after = JobId(0);
        while !self.is_full() {
            let mut waiting = lane.by_age.range(after..);
            let next = waiting.find(|(_, place)| place.may_join(self.engine));
            let Some((&job, &place)) = next else { return };
            if place.overdue_from > self.batch_number || place.waiting.tokens > self.tokens_left() {
                return;
            }
            lane.remove(job);
            self.take(job, place.waiting.tokens);
            after = job;
        }
    }

    /// Walks outward from the anchor's length, in both directions at once.
    fn take_alike(&mut self, lane: &mut Lane) {
        let start = (self.anchor_tokens, JobId(0));
        let (mut below, mut above) = (Some(start), Some(start));
        while !self.is_full() {
            let fits = (self.tokens_left().saturating_add(1), JobId(0));
            let shorter = below.and_then(|edge| self.next(lane.by_length.range(..edge.min(fits)).rev(), lane));
            let longer = above.and_then(|edge| self.next(lane.by_length.range(edge..), lane));
            // Beyond one that does not fit there are only longer ones.
            let longer = longer.filter(|&(tokens, _)| tokens <= self.tokens_left());
            let distance = |(tokens, _): (usize, JobId)| tokens.abs_diff(self.anchor_tokens);
            let goes_down = match (shorter, longer) {
                (None, None) => return,
                (Some(shorter), Some(longer)) => distance(shorter) < distance(longer),
                (shorter, _) => shorter.is_some(),
            };
            let side = if goes_down { &mut below } else { &mut above };
            let Some((tokens, job)) = (if goes_down { shorter } else { longer }) else { return };
            if self.pads_too_much(tokens) {
                // Further out it only gets worse.
                *side = None;
                continue;
            }
            *side = Some((tokens, job));
            lane.remove(job);
            self.take(job, tokens);
        }
    }

    fn next<'a>(
        &self,
        mut candidates: impl Iterator<Item = &'a (usize, JobId)>,
        lane: &Lane,
    ) -> Option<(usize, JobId)> {
        candidates.find(|(_, job)| lane.by_age.get(job).is_some_and(|place| place.may_join(self.engine))).copied()
    }

    fn pads_too_much(&self, tokens: usize) -> bool {
        let padded = (self.jobs.len() + 1) * self.longest.max(tokens);
        let packed = self.tokens + tokens;
        (padded - packed) as f64 > self.rules.padding_ratio_max * padded as f64
    }
}
