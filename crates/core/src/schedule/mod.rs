//! Requests in, batches and answers out: queue, batcher, cache and in-flight sharing. Owns no clock, thread, lock or channel.
//!
//! Sequences run once, in batches. Texts run step by step: they wait in line for pages of an engine, and are part of its passes until they
//! end.
//!
//! ```text
//! push(request, now) ─► cache? ─► in flight? ─► queue ─► batcher ─► Step::Run ─► complete(batch, outcome, now)
//!                         │            │                                                │
//!                         └► Answered  └► joins                 Step::Answer ◄──────────┘──► cache
//!
//! push_course ─► cache? ─► in flight? ─► line ─► pages ─► Step::Courses ─► complete_courses ─► Step::Tokens, and again
//!                                                                                         └─► Step::Text ─► cache
//! ```
//!
//! A driver calls [`Schedule::poll`] after every push, completion or cancellation and at the moment of the last
//! [`Step::WaitUntil`], and again until it gets [`Step::WaitUntil`] or [`Step::Idle`].

mod admit;
mod cache;
mod config;
mod counters;
mod course_run;
mod courses;
mod dispatch;
mod finish;
mod ids;
mod inflight;
mod key;
mod line;
mod pace;
mod passes;
mod priority;
mod queue;
mod request;
mod time;
mod track;

pub use cache::{AnswerCache, LogitsCache, Weigh};
pub use config::{Accumulate, Config};
pub use counters::Counters;
pub use course_run::CourseRun;
pub use ids::{BatchId, EngineId, PassId, RequestId};
pub use key::{CacheKey, Keyer};
pub use priority::Priority;
pub use request::{
    Answer, Caching, CourseRequest, Failure, LogitsRow, NewTokens, Pushed, Rejection, Request, Retry, Run, Source,
    Step, Texts,
};
pub use time::Time;

use crate::generate::Bounds;
use grice_model::Precision;
use inflight::Inflight;
use line::Line;
use pace::{Load, Pace};
use queue::{JobId, Queue, Rules};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use track::Track;

/// The queue, batcher and cache of one model.
#[derive(Debug)]
pub struct Schedule {
    config: Config,
    /// The latest time passed in; the schedule ignores a clock that steps back.
    now: Time,
    keyer: Keyer,
    cache: LogitsCache,
    texts: AnswerCache<Texts>,
    queue: Queue,
    /// Texts that wait for pages.
    line: Line,
    /// What bounds texts; `None` if the engines write none.
    bounds: Option<Bounds>,
    /// One for each engine that writes texts.
    tracks: Vec<Track>,
    inflight: Inflight,
    running: BTreeMap<BatchId, Running>,
    passes: BTreeMap<PassId, RunningPass>,
    engines: Vec<EngineState>,
    /// What owners are still to be told.
    told: VecDeque<Step>,
    draining: bool,
    pace: Pace,
    /// The totals; [`Schedule::counters`] adds the current values.
    totals: Counters,
}

#[derive(Debug)]
struct Running {
    engine: EngineId,
    jobs: Vec<JobId>,
    tokens: usize,
    since: Time,
}

#[derive(Debug)]
struct RunningPass {
    engine: EngineId,
    load: Load,
    since: Time,
}

#[derive(Clone, Copy, Debug)]
struct EngineState {
    in_use: bool,
    is_busy: bool,
    /// Whether its last run was a pass of courses.
    ran_courses: bool,
}

impl Schedule {
    /// An empty schedule for the model of this digest and precision; both are part of the keys of its cache. Limits of 0 that
    /// would stop everything count as 1.
    pub fn new(config: Config, bundle_digest: &str, precision: Precision) -> Schedule {
        let rules = Rules {
            rows_max: config.batch_rows_max.max(1),
            tokens_max: config.batch_tokens_max.max(1),
            padding_ratio_max: config.padding_ratio_max,
            passed_over_max: config.passed_over_max,
            fair_batches: config.fair_batches.max(1),
        };
        Schedule {
            now: Time::START,
            keyer: Keyer::new(bundle_digest, precision),
            cache: LogitsCache::new(config.cache_bytes_max),
            texts: AnswerCache::new(0),
            queue: Queue::new(rules),
            line: Line::new(rules.fair_batches),
            bounds: None,
            tracks: Vec::new(),
            inflight: Inflight::default(),
            running: BTreeMap::new(),
            passes: BTreeMap::new(),
            engines: vec![EngineState { in_use: true, is_busy: false, ran_courses: false }; config.engines.max(1)],
            told: VecDeque::new(),
            draining: false,
            pace: Pace::default(),
            totals: Counters::default(),
            config,
        }
    }

    /// The next action; call again until it returns [`Step::WaitUntil`] or [`Step::Idle`].
    pub fn poll(&mut self, now: Time) -> Step {
        let now = self.advance(now);
        self.expire(now);
        if let Some(told) = self.told.pop_front() {
            return told;
        }
        if let Some(run) = self.dispatch(now) {
            return run;
        }
        // A batch that could not be packed may have produced answers.
        if let Some(told) = self.told.pop_front() {
            return told;
        }
        let deadline = self.inflight.deadline().map(|(deadline, _)| deadline);
        match deadline.into_iter().chain(self.leaves_at(now)).min() {
            Some(moment) => Step::WaitUntil(moment),
            None => Step::Idle,
        }
    }

    /// What an owner is to be told, without starting a run.
    pub(crate) fn told(&mut self) -> Option<Step> {
        self.told.pop_front()
    }

    /// Rejects all later pushes. Accepted requests are still answered, without waiting for fuller batches.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Drains, and answers all open requests with [`Rejection::ShuttingDown`]. Running batches must still be completed.
    pub fn abort(&mut self) {
        self.drain();
        while let Some(request) = self.inflight.oldest() {
            let Some(pending) = self.leave(request) else { return };
            self.totals.aborted_total += 1;
            self.reject(request, &pending, Rejection::ShuttingDown, None, self.now);
        }
    }

    /// Whether every accepted request has its answer, no batch runs and no answer waits for [`Schedule::poll`].
    pub fn is_empty(&self) -> bool {
        self.inflight.len() == 0 && self.running.is_empty() && self.passes.is_empty() && self.told.is_empty()
    }

    /// Takes an engine out of use, or back into use. Its running batch or pass must still be completed. An engine out of use loses its
    /// pages: its texts run their tokens again, on any engine. Returns `false` if there is no such engine.
    pub fn set_engine(&mut self, engine: EngineId, in_use: bool) -> bool {
        let Some(state) = self.engines.get_mut(engine.0) else { return false };
        state.in_use = in_use;
        if !in_use {
            self.clear_track(engine);
        }
        true
    }

    /// Makes the keys of sequences. They are the same in every process that runs this model, so processes can share a cache.
    pub fn keyer(&self) -> &Keyer {
        &self.keyer
    }

    /// The cached logits of a key. Does not count as a look-up, so a caller can check another cache before a push.
    pub fn peek(&self, key: &CacheKey) -> Option<LogitsRow> {
        self.cache.get(key)
    }

    /// Adds logits from another cache. Rows with a value that is not finite are not stored.
    pub fn seed(&mut self, key: CacheKey, row: LogitsRow) {
        if row.iter().all(|logit| logit.is_finite()) {
            self.cache.insert(key, row);
        }
    }

    /// The waiting time of the oldest waiting sequence; zero if none waits.
    pub fn waited(&self, now: Time) -> Duration {
        self.queue.oldest_since().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A snapshot of all counters.
    pub fn counters(&self) -> Counters {
        Counters {
            queue_rows: self.queue.rows() + self.line.rows(),
            queue_tokens: self.queue.tokens() + self.line.load().prompt,
            requests_pending: self.inflight.len(),
            running_batches: self.running.len(),
            running_rows: self.running.values().map(|run| run.jobs.len()).sum(),
            running_courses: self.tracks.iter().map(Track::len).sum(),
            pages: self.tracks.iter().map(|track| track.pool.len()).sum(),
            pages_used: self.tracks.iter().map(|track| track.pool.used()).sum(),
            pages_reserved: self.tracks.iter().map(|track| track.pool.reserved()).sum(),
            cache_bytes: self.cache.bytes() + self.texts.bytes(),
            cache_entries: self.cache.len() + self.texts.len(),
            cache_evictions_total: self.cache.evictions() + self.texts.evictions(),
            ..self.totals
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }
}
