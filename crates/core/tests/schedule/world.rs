//! A schedule with a naive model of it. The model knows all answers, but not which batch comes next.

use grice_core::schedule::{
    Accumulate, Answer, BatchId, Caching, Config, Counters, EngineId, Failure, Priority, Pushed, Rejection, Request,
    RequestId, Retry, Run, Schedule, Source, Step, Time,
};
use grice_core::{EngineError, Error, Logits, Precision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LABELS: usize = 4;
/// First ids from here on are those of a bypass.
const BYPASS: u32 = 4_000_000_000;

/// What can be asked for: which of a few sequences, so that some are asked for twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) kind: u32,
    pub(crate) tokens: usize,
    pub(crate) priority: Priority,
    pub(crate) patience: Option<Duration>,
    pub(crate) bypass: bool,
}

/// A sequence that has no outcome. The model knows it by its ids: those of a bypass are made unique.
#[derive(Debug)]
struct Job {
    owners: Vec<RequestId>,
    batch: Option<BatchId>,
    failed_on: Option<EngineId>,
    failures: usize,
    losses: usize,
    since: Time,
    number: u64,
    /// Those that went before it: waiting when it came, or put back since.
    older: u64,
    older_tokens: u64,
    /// Batches formed while it waited.
    batches: u64,
}

#[derive(Debug)]
struct Owner {
    ids: Arc<[u32]>,
    deadline: Option<Time>,
    source: Source,
    since: Time,
}

/// The expected answer of an owner.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Logits(Vec<f32>),
    Late,
    Failed(String),
    ShuttingDown,
}

#[derive(Debug)]
struct Ran {
    engine: EngineId,
    sequences: Vec<Arc<[u32]>>,
}

pub(crate) struct World {
    pub(crate) schedule: Schedule,
    pub(crate) now: Time,
    config: Config,
    jobs: BTreeMap<Arc<[u32]>, Job>,
    owners: BTreeMap<RequestId, Owner>,
    expected: BTreeMap<RequestId, (Owner, Expected)>,
    ever: BTreeSet<RequestId>,
    running: BTreeMap<BatchId, Ran>,
    in_use: Vec<bool>,
    /// Ids whose logits have been in the cache.
    known: BTreeSet<Arc<[u32]>>,
    /// Whether the cache can hold all that is ever known.
    cache_is_roomy: bool,
    draining: bool,
    jobs_ever: u64,
    /// Those ever asked for.
    priorities: BTreeSet<Priority>,
    pub(crate) answered: u64,
}

impl World {
    pub(crate) fn new(config: Config, cache_is_roomy: bool) -> World {
        World {
            schedule: Schedule::new(config.clone(), "sha256:0123", Precision::Fp32),
            now: Time::START,
            in_use: vec![true; config.engines],
            config,
            jobs: BTreeMap::new(),
            owners: BTreeMap::new(),
            expected: BTreeMap::new(),
            ever: BTreeSet::new(),
            running: BTreeMap::new(),
            known: BTreeSet::new(),
            cache_is_roomy,
            draining: false,
            jobs_ever: 0,
            priorities: BTreeSet::new(),
            answered: 0,
        }
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    pub(crate) fn push(&mut self, ask: Ask) -> Option<RequestId> {
        self.priorities.insert(ask.priority);
        let mut ids: Vec<u32> = (0..ask.tokens as u32).map(|place| ask.kind * 1000 + place).collect();
        if ask.bypass && !ids.is_empty() {
            ids[0] = BYPASS + self.jobs_ever as u32;
        }
        let ids: Arc<[u32]> = ids.into();
        let deadline = ask.patience.map(|patience| self.now + patience);
        let caching = if ask.bypass { Caching::Bypass } else { Caching::Use };
        let request = Request { priority: ask.priority, deadline, caching, ..Request::new(Arc::clone(&ids)) };
        self.expire();
        let before = self.schedule.counters();
        let pushed = self.schedule.push(request, self.now);
        self.check_pushed(&ask, &ids, &before, &pushed);
        let accepted = match pushed {
            Pushed::Accepted(request) => request,
            Pushed::Answered(_) | Pushed::Rejected(_) => return None,
        };
        assert!(self.ever.insert(accepted), "{accepted:?} is used twice");
        let source = self.join(&ids, accepted, ask.bypass);
        let owner = Owner { ids, deadline, source, since: self.now };
        self.owners.insert(accepted, owner);
        self.check();
        Some(accepted)
    }

    /// Cancels the waiting request with this index, modulo their number. `false` if none waits.
    pub(crate) fn cancel(&mut self, place: usize) -> bool {
        let waiting: Vec<RequestId> = self.owners.keys().copied().collect();
        let Some(&request) = waiting.get(place % waiting.len().max(1)) else { return false };
        self.cancel_request(request);
        true
    }

    pub(crate) fn cancel_request(&mut self, request: RequestId) {
        assert!(self.schedule.cancel(request), "{request:?} waits and can be cancelled");
        assert!(!self.schedule.cancel(request), "{request:?} was cancelled twice");
        self.owners.remove(&request).expect("it waited");
        self.forget(request);
        self.check();
    }

    /// Asks for steps until there are none, and checks each. The runs that began.
    pub(crate) fn poll(&mut self) -> Vec<Run> {
        self.expire();
        let mut runs = Vec::new();
        for _ in 0..100_000 {
            match self.schedule.poll(self.now) {
                Step::Answer(answer) => self.check_answer(answer),
                Step::Run(run) => {
                    self.check_run(&run);
                    runs.push(run);
                }
                step @ (Step::Tokens(..) | Step::Text(_) | Step::Courses(_)) => {
                    panic!("nobody asked for texts: {step:?}")
                }
                Step::WaitUntil(moment) => {
                    self.check_rest(Some(moment));
                    return runs;
                }
                Step::Idle => {
                    self.check_rest(None);
                    return runs;
                }
            }
        }
        panic!("poll never comes to rest");
    }

    /// When the schedule wants to be asked again.
    pub(crate) fn wakes_at(&mut self) -> Option<Time> {
        match self.schedule.poll(self.now) {
            Step::WaitUntil(moment) => Some(moment),
            Step::Idle => None,
            step => panic!("at rest, and yet {step:?}"),
        }
    }

    /// Completes the run at this place among those that run, counted around, with the logits of its sequences.
    pub(crate) fn complete(&mut self, place: usize) {
        let Some(batch) = self.running_at(place) else { return };
        self.complete_batch(batch);
    }

    pub(crate) fn complete_batch(&mut self, batch: BatchId) {
        self.expire();
        let ran = self.running.remove(&batch).expect("it runs");
        let mut logits = Logits::zeros(ran.sequences.len(), LABELS);
        for (row, ids) in ran.sequences.iter().enumerate() {
            logits.row_mut(row).copy_from_slice(&logits_of(ids));
        }
        assert!(self.schedule.complete(batch, Ok(logits), self.now));
        for ids in &ran.sequences {
            let job = self.jobs.remove(ids).expect("what runs is a job");
            if !is_bypass(ids) {
                self.known.insert(Arc::clone(ids));
            }
            self.expect(&job.owners, &Expected::Logits(logits_of(ids).to_vec()));
        }
        self.check();
    }

    /// Lets the run at this place fail.
    pub(crate) fn fail(&mut self, place: usize, retry: Retry) {
        let Some(batch) = self.running_at(place) else { return };
        self.fail_batch(batch, retry);
    }

    pub(crate) fn fail_batch(&mut self, batch: BatchId, retry: Retry) {
        self.expire();
        let text = format!("batch {} failed", batch.0);
        let error = Arc::new(Error::Engine(EngineError::Run(text.clone())));
        let ran = self.running.remove(&batch).expect("it runs");
        assert!(self.schedule.complete(batch, Err(Failure { error, retry }), self.now));
        for ids in &ran.sequences {
            let job = self.jobs.get_mut(ids).expect("what runs is a job");
            let (tried, tries_max) = match retry {
                Retry::Never => (&mut 0, 0),
                Retry::Once => (&mut job.failures, 1),
                Retry::OnceAnEngine => (&mut job.losses, self.config.engines),
            };
            if *tried < tries_max && !job.owners.is_empty() {
                *tried += 1;
                job.failed_on = Some(ran.engine);
                job.batch = None;
                let number = job.number;
                self.count_older_anew(ids, number);
                continue;
            }
            let job = self.jobs.remove(ids).expect("it was just there");
            self.expect(&job.owners, &Expected::Failed(text.clone()));
        }
        self.check();
    }

    /// An engine that answers one row too few or too many.
    pub(crate) fn complete_wrongly(&mut self, place: usize, rows_off: isize) {
        let Some(batch) = self.running_at(place) else { return };
        self.expire();
        let ran = self.running.remove(&batch).expect("it runs");
        let rows = ran.sequences.len().saturating_add_signed(rows_off);
        assert!(self.schedule.complete(batch, Ok(Logits::zeros(rows, LABELS)), self.now));
        for ids in &ran.sequences {
            let job = self.jobs.remove(ids).expect("what runs is a job");
            let text = format!("returned {rows} rows for a batch of {}", ran.sequences.len());
            self.expect(&job.owners, &Expected::Failed(text));
        }
        self.check();
    }

    pub(crate) fn complete_unknown(&mut self) {
        let unknown = BatchId(self.counters().batches_total + 7);
        assert!(!self.schedule.complete(unknown, Ok(Logits::zeros(1, LABELS)), self.now));
        self.expire();
        self.check();
    }

    pub(crate) fn set_engine(&mut self, engine: usize, in_use: bool) {
        let engine = engine % self.config.engines;
        assert!(self.schedule.set_engine(EngineId(engine), in_use));
        self.in_use[engine] = in_use;
        assert!(!self.schedule.set_engine(EngineId(self.config.engines), in_use), "there is no such engine");
    }

    pub(crate) fn abort(&mut self) {
        self.draining = true;
        self.schedule.abort();
        let left: Vec<RequestId> = self.owners.keys().copied().collect();
        for &request in &left {
            self.forget(request);
        }
        self.expect(&left, &Expected::ShuttingDown);
        self.poll();
    }

    /// Drains with working engines: at the end nothing waits or runs.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.schedule.drain();
        (0..self.config.engines).for_each(|engine| self.set_engine(engine, true));
        self.poll();
        while !self.running.is_empty() {
            self.advance(Duration::from_millis(5));
            self.complete(0);
            self.poll();
        }
        self.assert_over();
    }

    pub(crate) fn assert_over(&mut self) {
        self.poll();
        assert!(self.owners.is_empty() && self.expected.is_empty(), "left: {:?} {:?}", self.owners, self.expected);
        assert!(self.jobs.is_empty(), "left: {:?}", self.jobs);
        assert!(self.schedule.is_empty());
        let Counters { queue_rows, queue_tokens, requests_pending, running_rows, .. } = self.counters();
        assert_eq!((queue_rows, queue_tokens, requests_pending, running_rows), (0, 0, 0, 0));
    }

    pub(crate) fn counters(&self) -> Counters {
        self.schedule.counters()
    }

    fn running_at(&self, place: usize) -> Option<BatchId> {
        self.running.keys().copied().nth(place % self.running.len().max(1))
    }

    fn queued(&self) -> impl Iterator<Item = (&Arc<[u32]>, &Job)> {
        self.jobs.iter().filter(|(_, job)| job.batch.is_none())
    }

    fn check_pushed(&self, ask: &Ask, ids: &Arc<[u32]>, before: &Counters, pushed: &Pushed) {
        let rejection = match pushed {
            Pushed::Answered(row) => {
                assert!(!ask.bypass && self.known.contains(ids), "the cache cannot know {ids:?}");
                assert_eq!(row[..], logits_of(ids), "somebody else's logits");
                assert_eq!(self.counters().cache_hits_total, before.cache_hits_total + 1);
                return;
            }
            Pushed::Accepted(_) => None,
            Pushed::Rejected(rejection) => Some(rejection.reason()),
        };
        let must_be_known = self.cache_is_roomy && !ask.bypass && self.known.contains(ids);
        let rows = self.queued().count();
        let tokens: usize = self.queued().map(|(ids, _)| ids.len()).sum();
        let is_full =
            rows >= self.config.queue_rows_max || rows > 0 && tokens + ids.len() > self.config.queue_tokens_max;
        let too_many = self.owners.len() + self.expected.len() >= self.config.requests_max;
        let expected = if ids.is_empty() {
            Some("empty")
        } else if self.draining {
            Some("shutting_down")
        } else if ask.patience == Some(Duration::ZERO) {
            Some("deadline")
        } else if too_many || is_full && !self.jobs.contains_key(ids) {
            Some("queue_full")
        } else {
            None
        };
        assert_eq!(rejection, expected, "{rows} rows, {tokens} tokens, {} owners", self.owners.len());
        assert!(!must_be_known || rejection.is_some() && rejection != Some("queue_full"), "the cache lost {ids:?}");
    }

    /// Adds an owner to the job that the model has for these ids, or to a new one.
    fn join(&mut self, ids: &Arc<[u32]>, owner: RequestId, bypass: bool) -> Source {
        if let Some(job) = self.jobs.get_mut(ids) {
            job.owners.push(owner);
            return Source::Coalesced;
        }
        let older = self.queued().count() as u64;
        let older_tokens = self.queued().map(|(ids, _)| ids.len() as u64).sum();
        let job = Job {
            owners: vec![owner],
            batch: None,
            failed_on: None,
            failures: 0,
            losses: 0,
            since: self.now,
            number: self.jobs_ever,
            older,
            older_tokens,
            batches: 0,
        };
        self.jobs_ever += 1;
        self.jobs.insert(Arc::clone(ids), job);
        if bypass { Source::Bypass } else { Source::Miss }
    }

    /// For one that is put back: it waits from now on, and goes before all that are younger.
    fn count_older_anew(&mut self, ids: &Arc<[u32]>, number: u64) {
        let older: Vec<u64> =
            self.queued().filter(|(_, job)| job.number < number).map(|(ids, _)| ids.len() as u64).collect();
        for (other, job) in self.jobs.iter_mut().filter(|(_, job)| job.batch.is_none()) {
            if other == ids {
                (job.older, job.older_tokens, job.batches) = (older.len() as u64, older.iter().sum(), 0);
            } else if job.number > number {
                job.older += 1;
                job.older_tokens += ids.len() as u64;
            }
        }
    }

    /// Removes an owner from its job, and a job without owners from the queue.
    fn forget(&mut self, request: RequestId) {
        self.jobs.values_mut().for_each(|job| job.owners.retain(|&owner| owner != request));
        self.jobs.retain(|_, job| job.batch.is_some() || !job.owners.is_empty());
    }

    fn late(&self) -> impl Iterator<Item = RequestId> {
        let now = self.now;
        let late = self.owners.iter().filter(move |(_, owner)| owner.deadline.is_some_and(|deadline| deadline <= now));
        late.map(|(&request, _)| request)
    }

    fn expire(&mut self) {
        let late: Vec<RequestId> = self.late().collect();
        late.iter().for_each(|&request| self.forget(request));
        self.expect(&late, &Expected::Late);
    }

    fn expect(&mut self, requests: &[RequestId], expected: &Expected) {
        for request in requests {
            let owner = self.owners.remove(request).expect("an owner waits");
            let twice = self.expected.insert(*request, (owner, expected.clone()));
            assert!(twice.is_none());
        }
    }

    fn check_answer(&mut self, answer: Answer) {
        let Answer { request, outcome, source, queued, ran } = answer;
        let (owner, expected) =
            self.expected.remove(&request).unwrap_or_else(|| panic!("{request:?} has nothing to be told: {outcome:?}"));
        let told = match outcome {
            Ok(row) => Expected::Logits(row.to_vec()),
            Err(Rejection::DeadlineExceeded) => Expected::Late,
            Err(Rejection::ShuttingDown) => Expected::ShuttingDown,
            Err(Rejection::Failed(error)) => Expected::Failed(error.to_string()),
            Err(rejection) => panic!("{request:?}: {rejection}"),
        };
        match (&told, &expected) {
            (Expected::Failed(told), Expected::Failed(expected)) => assert!(told.contains(expected), "{told}"),
            (told, expected) => assert_eq!(told, expected, "{request:?} {:?}", owner.ids),
        }
        assert_eq!(source, owner.source, "{request:?}");
        assert!(queued + ran <= self.now.since(owner.since), "{request:?} cannot have taken longer than it was here");
        self.answered += 1;
    }

    fn check_run(&mut self, run: &Run) {
        let Run { id, engine, batch, longest } = run;
        assert!(self.in_use[engine.0], "{engine:?} is not in use");
        assert!(self.running.values().all(|ran| ran.engine != *engine), "{engine:?} is busy");
        assert!(batch.rows() <= self.config.batch_rows_max, "{} rows", batch.rows());
        assert!(batch.tokens() <= self.config.batch_tokens_max || batch.rows() == 1, "{} tokens", batch.tokens());
        let sequences: Vec<Arc<[u32]>> = (0..batch.rows()).map(|row| batch.sequence(row).into()).collect();
        assert_eq!(sequences.iter().map(|ids| ids.len()).max(), Some(*longest));
        assert!((0.0..1.0).contains(&run.padding_ratio()));
        let has_others = self.in_use.iter().enumerate().any(|(other, in_use)| *in_use && other != engine.0);
        for ids in &sequences {
            let job = self.jobs.get_mut(ids).unwrap_or_else(|| panic!("nobody wants {ids:?}"));
            assert_eq!(job.batch, None, "{ids:?} runs already");
            assert!(!has_others || job.failed_on != Some(*engine), "{ids:?} failed on {engine:?}");
            job.batch = Some(*id);
        }
        let is_retried = sequences.iter().any(|ids| self.jobs.get(ids).is_some_and(|job| job.failures > 0));
        assert!(!is_retried || sequences.len() == 1, "a sequence that failed shares a batch");
        let is_first = self.running.insert(*id, Ran { engine: *engine, sequences }).is_none();
        assert!(is_first, "{id:?} is used twice");
        // What is tried again runs alone, and the others wait that long: the stated exception.
        if !is_retried {
            self.check_fairness();
        }
    }

    /// Checks the promises of the queue's documentation for every waiting sequence.
    fn check_fairness(&mut self) {
        // A sequence that waits for another engine is the stated exception, and others wait behind it.
        let anywhere = self.jobs.values().all(|job| job.failed_on.is_none()) || self.config.engines == 1;
        let Config { batch_rows_max, batch_tokens_max, passed_over_max, fair_batches, .. } = self.config;
        for (ids, job) in self.jobs.iter_mut().filter(|(_, job)| job.batch.is_none()) {
            job.batches += 1;
            let tokens = job.older_tokens + ids.len() as u64;
            let mut bound = fair_batches * (job.older + 1);
            if self.priorities.len() == 1 {
                let first_in_first_out = job.older / batch_rows_max as u64 + 2 * tokens / batch_tokens_max as u64;
                bound = bound.min(passed_over_max + first_in_first_out + 1);
            }
            assert!(!anywhere || job.batches < bound, "{ids:?} was left behind by {} batches: {job:?}", job.batches);
        }
    }

    /// After a round of polls: every sequence that could run does, and the next round is in time.
    fn check_rest(&mut self, wakes_at: Option<Time>) {
        assert!(self.expected.is_empty(), "not told: {:?}", self.expected);
        let deadline = self.owners.values().filter_map(|owner| owner.deadline).min();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "a deadline has passed in silence");
        assert!(wakes_at.is_none_or(|moment| moment > self.now), "to wait for a moment that has passed");
        assert!(deadline.is_none_or(|deadline| wakes_at.is_some_and(|moment| moment <= deadline)));
        let busy: BTreeSet<usize> = self.running.values().map(|ran| ran.engine.0).collect();
        let has_free = (0..self.config.engines).any(|engine| self.in_use[engine] && !busy.contains(&engine));
        let oldest = self.queued().filter(|(_, job)| job.failed_on.is_none()).map(|(_, job)| job.since).min();
        if let Some(since) = oldest.filter(|_| has_free) {
            let holds = match self.config.accumulate {
                Accumulate::Never => false,
                Accumulate::WhileBusy => !self.running.is_empty(),
                Accumulate::Always => true,
            };
            assert!(holds && !self.draining, "an engine is idle while somebody waits");
            let leaves = since + self.config.wait_max;
            assert!(wakes_at.is_some_and(|moment| moment <= leaves), "held back beyond wait_max");
            assert!(self.queued().count() < self.config.batch_rows_max, "a full batch is held back");
        }
        self.check();
        assert_eq!(self.counters().requests_pending, self.owners.len());
    }

    /// The invariants.
    fn check(&self) {
        let counters = self.counters();
        let Config { queue_rows_max, queue_tokens_max, requests_max, batch_rows_max, engines, .. } = self.config;
        assert!(counters.cache_bytes <= self.config.cache_bytes_max, "{} bytes cached", counters.cache_bytes);
        assert!(counters.queue_rows <= queue_rows_max + engines * batch_rows_max, "{} rows wait", counters.queue_rows);
        assert!(counters.requests_pending <= requests_max);
        let put_back: usize = self.queued().filter(|(_, job)| job.failed_on.is_some()).map(|(ids, _)| ids.len()).sum();
        let longest = self.queued().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        assert!(counters.queue_tokens <= queue_tokens_max.max(longest) + put_back, "{} tokens", counters.queue_tokens);
        assert_eq!(counters.queue_rows, self.queued().count());
        assert_eq!(counters.queue_tokens, self.queued().map(|(ids, _)| ids.len()).sum::<usize>());
        assert_eq!(counters.running_batches, self.running.len());
        let ended = counters.answered_total
            + counters.failed_total
            + counters.expired_total
            + counters.cancelled_total
            + counters.aborted_total;
        assert_eq!(counters.accepted_total, ended + counters.requests_pending as u64, "{counters:?}");
        assert!(counters.batch_tokens_total <= counters.batch_tokens_padded_total);
    }
}

/// Logits that identify their sequence.
pub(crate) fn logits_of(ids: &[u32]) -> [f32; LABELS] {
    let sum: u64 = ids.iter().enumerate().map(|(place, &id)| (place as u64 + 1) * u64::from(id)).sum();
    [ids.len() as f32, ids[0] as f32, (sum % 65_521) as f32, -1.0]
}

fn is_bypass(ids: &[u32]) -> bool {
    ids[0] >= BYPASS
}
