//! A schedule of sequences and texts, with what each of them must lead to.

use super::toy::{Toy, VOCABULARY, alone};
use super::world::{LABELS, logits_of};
use grice_core::generate::{Bounds, DecodeOptions, Decoding, Generated, Start};
use grice_core::schedule::{
    Answer, BatchId, Caching, Config, CourseRequest, CourseRun, EngineId, Failure, PassId, Priority, Pushed, Rejection,
    Request, RequestId, Retry, Run, Schedule, Source, Step, Texts, Time,
};
use grice_core::{EngineError, Error, Logits, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A text that can be asked for, and what is written for it.
pub(crate) struct Kind {
    pub(crate) options: Arc<DecodeOptions>,
    pub(crate) start: Start,
    pub(crate) texts: Vec<Generated>,
}

/// How something is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) priority: Priority,
    pub(crate) patience: Option<Duration>,
    pub(crate) bypass: bool,
    pub(crate) streams: bool,
}

#[derive(Debug)]
enum Wanted {
    Once(Arc<[u32]>),
    Text { kind: usize, told: Vec<u32>, streams: bool },
}

#[derive(Debug)]
struct Owner {
    wanted: Wanted,
    deadline: Option<Time>,
    since: Time,
}

/// A text that was written: who asked, when it got pages, and how it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) request: RequestId,
    pub(crate) placed: Time,
    pub(crate) source: Source,
}

pub(crate) struct Mixed {
    pub(crate) schedule: Schedule,
    pub(crate) now: Time,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) pages: usize,
    toys: Vec<Toy>,
    in_use: Vec<bool>,
    /// Whether the last run of each engine was a pass.
    ran_pass: Vec<bool>,
    owners: BTreeMap<RequestId, Owner>,
    pub(crate) passes: BTreeMap<PassId, CourseRun>,
    pub(crate) batches: BTreeMap<BatchId, Run>,
    failures: u64,
    pub(crate) written: Vec<Written>,
    pub(crate) refused: u64,
    /// The longest wait of a sequence for its run.
    pub(crate) once_waited_most: Duration,
}

/// A run that began.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Began {
    Pass(PassId, usize),
    Batch(BatchId, usize),
}

impl Mixed {
    pub(crate) fn new(config: Config, bounds: Bounds, kinds: Vec<(DecodeOptions, Start)>) -> Mixed {
        let kind = |(options, start): (DecodeOptions, Start)| Kind {
            texts: alone(&options, &start),
            options: Arc::new(options),
            start,
        };
        let engines = config.engines;
        let schedule = Schedule::new(config, "sha256:0123", Precision::Fp32).with_courses(bounds, 1 << 20);
        Mixed {
            schedule,
            now: Time::START,
            kinds: kinds.into_iter().map(kind).collect(),
            pages: bounds.pages,
            toys: (0..engines).map(|_| Toy::new(bounds.pages)).collect(),
            in_use: vec![true; engines],
            ran_pass: vec![false; engines],
            owners: BTreeMap::new(),
            passes: BTreeMap::new(),
            batches: BTreeMap::new(),
            failures: 0,
            written: Vec::new(),
            refused: 0,
            once_waited_most: Duration::ZERO,
        }
    }

    pub(crate) fn push_once(&mut self, ids: Vec<u32>, how: How) {
        let ids: Arc<[u32]> = ids.into();
        let request = Request {
            priority: how.priority,
            deadline: how.patience.map(|patience| self.now + patience),
            caching: if how.bypass { Caching::Bypass } else { Caching::Use },
            ..Request::new(Arc::clone(&ids))
        };
        let deadline = request.deadline;
        match self.schedule.push(request, self.now) {
            Pushed::Answered(row) => assert_eq!(row[..], logits_of(&ids)),
            Pushed::Accepted(id) => self.own(id, Wanted::Once(ids), deadline),
            Pushed::Rejected(rejection) => self.check_rejection(&rejection, deadline),
        }
        self.check();
    }

    pub(crate) fn push_text(&mut self, kind: usize, how: How) -> Option<RequestId> {
        let kind = kind % self.kinds.len();
        let Kind { options, start, texts } = &self.kinds[kind];
        let request = CourseRequest {
            key: None,
            priority: how.priority,
            deadline: how.patience.map(|patience| self.now + patience),
            caching: if how.bypass { Caching::Bypass } else { Caching::Use },
            streams: how.streams,
            decoding: Decoding::new(Arc::clone(options), start.clone()).unwrap(),
        };
        let deadline = request.deadline;
        match self.schedule.push_course(request, self.now) {
            Pushed::Answered(known) => {
                assert!(!how.bypass);
                assert_eq!(known[..], texts[..], "the cache has another text");
            }
            Pushed::Accepted(id) => {
                self.own(id, Wanted::Text { kind, told: Vec::new(), streams: how.streams }, deadline);
                self.check();
                return Some(id);
            }
            Pushed::Rejected(Rejection::Refused(_)) => self.refused += 1,
            Pushed::Rejected(rejection) => self.check_rejection(&rejection, deadline),
        }
        self.check();
        None
    }

    fn own(&mut self, id: RequestId, wanted: Wanted, deadline: Option<Time>) {
        let owner = Owner { wanted, deadline, since: self.now };
        assert!(self.owners.insert(id, owner).is_none(), "{id:?} is used twice");
    }

    fn check_rejection(&self, rejection: &Rejection, deadline: Option<Time>) {
        match rejection {
            Rejection::DeadlineExceeded => assert!(deadline.is_some_and(|deadline| deadline <= self.now)),
            Rejection::QueueFull { retry_after } => assert!(!retry_after.is_zero()),
            other => panic!("{other}"),
        }
    }

    /// Asks for steps until there are none, and checks each.
    pub(crate) fn poll(&mut self) -> (Vec<Began>, Option<Time>) {
        let mut began = Vec::new();
        for _ in 0..100_000 {
            match self.schedule.poll(self.now) {
                Step::Answer(answer) => self.check_answer(answer),
                Step::Tokens(request, tokens) => self.take_tokens(request, &tokens),
                Step::Text(answer) => self.check_text(answer),
                Step::Run(run) => began.push(self.begin_batch(run)),
                Step::Courses(run) => began.push(self.begin_pass(run)),
                Step::WaitUntil(moment) => {
                    assert!(moment > self.now);
                    self.check_rest();
                    return (began, Some(moment));
                }
                Step::Idle => {
                    self.check_rest();
                    return (began, None);
                }
            }
        }
        panic!("poll never comes to rest");
    }

    fn begin_batch(&mut self, run: Run) -> Began {
        self.check_engine(run.engine);
        self.ran_pass[run.engine.0] = false;
        let began = Began::Batch(run.id, run.batch.tokens());
        assert!(self.batches.insert(run.id, run).is_none());
        began
    }

    fn begin_pass(&mut self, run: CourseRun) -> Began {
        self.check_engine(run.engine);
        let engine = run.engine.0;
        assert!(!self.ran_pass[engine] || !self.once_waits(), "a sequence waits for more than one pass");
        self.ran_pass[engine] = true;
        for past in &run.work.pass.pasts {
            let source = past.source.iter().flat_map(|source| source.pages.iter());
            assert!(past.pages.iter().chain(source).all(|&page| (page as usize) < self.pages));
        }
        let began = Began::Pass(run.id, run.work.pass.ids.len());
        assert!(self.passes.insert(run.id, run).is_none());
        began
    }

    fn check_engine(&self, engine: EngineId) {
        assert!(self.in_use[engine.0], "{engine:?} is not in use");
        let mut busy = self.busy();
        assert!(busy.all(|other| other != engine), "{engine:?} is busy");
    }

    fn busy(&self) -> impl Iterator<Item = EngineId> {
        self.passes.values().map(|run| run.engine).chain(self.batches.values().map(|run| run.engine))
    }

    /// Whether a sequence waits for a run.
    fn once_waits(&self) -> bool {
        let runs = |ids: &[u32]| {
            let mut batches = self.batches.values();
            batches.any(|run| (0..run.batch.rows()).any(|row| run.batch.sequence(row) == ids))
        };
        self.owners.values().any(|owner| matches!(&owner.wanted, Wanted::Once(ids) if !runs(ids)))
    }

    fn take_tokens(&mut self, request: RequestId, tokens: &[u32]) {
        let owner = self.owners.get_mut(&request).unwrap_or_else(|| panic!("{request:?} is gone"));
        let Wanted::Text { told, streams: true, kind } = &mut owner.wanted else { panic!("{owner:?} wants no tokens") };
        told.extend_from_slice(tokens);
        assert!(self.kinds[*kind].texts[0].tokens.starts_with(told), "{told:?} of {:?}", self.kinds[*kind].texts);
    }

    fn check_text(&mut self, answer: Answer<Texts>) {
        let Answer { request, outcome, source, queued, ran } = answer;
        let owner = self.owners.remove(&request).unwrap_or_else(|| panic!("{request:?} is gone"));
        assert!(queued + ran <= self.now.since(owner.since));
        let Wanted::Text { kind, told, streams } = owner.wanted else { panic!("{request:?} wanted no text") };
        match outcome {
            Ok(texts) => {
                assert_eq!(texts[..], self.kinds[kind].texts[..], "{:?}", self.kinds[kind].options);
                assert!(!streams || told == texts[0].tokens, "{told:?} were told of {texts:?}");
                self.written.push(Written { request, placed: owner.since + queued, source });
            }
            Err(rejection) => self.check_end(&rejection, owner.deadline),
        }
    }

    fn check_answer(&mut self, answer: Answer) {
        let owner = self.owners.remove(&answer.request).expect("it has not been told yet");
        let Wanted::Once(ids) = owner.wanted else { panic!("{:?} wanted a text", answer.request) };
        self.once_waited_most = self.once_waited_most.max(answer.queued);
        match answer.outcome {
            Ok(row) => assert_eq!(row[..], logits_of(&ids)),
            Err(rejection) => self.check_end(&rejection, owner.deadline),
        }
    }

    fn check_end(&self, rejection: &Rejection, deadline: Option<Time>) {
        match rejection {
            Rejection::DeadlineExceeded => assert!(deadline.is_some_and(|deadline| deadline <= self.now)),
            Rejection::Failed(_) => assert!(self.failures > 0, "nothing has failed"),
            other => panic!("{other}"),
        }
    }

    /// Completes the run at this place among those that run, counted around.
    pub(crate) fn complete(&mut self, place: usize) {
        let count = self.passes.len() + self.batches.len();
        if count == 0 {
            return;
        }
        let place = place % count;
        match self.passes.keys().nth(place).copied() {
            Some(pass) => self.complete_pass(pass),
            None => self.complete_batch(*self.batches.keys().nth(place - self.passes.len()).unwrap()),
        }
    }

    pub(crate) fn complete_pass(&mut self, pass: PassId) {
        let mut run = self.passes.remove(&pass).unwrap();
        let mut logits = self.toys[run.engine.0].run(&run.work);
        run.decide(&mut logits).unwrap();
        assert!(self.schedule.complete_courses(run.clone(), Ok(()), self.now));
        assert!(!self.schedule.complete_courses(run, Ok(()), self.now), "a pass ended twice");
        self.check();
    }

    pub(crate) fn complete_batch(&mut self, batch: BatchId) {
        let run = self.batches.remove(&batch).unwrap();
        let mut logits = Logits::zeros(run.batch.rows(), LABELS);
        (0..run.batch.rows()).for_each(|row| logits.row_mut(row).copy_from_slice(&logits_of(run.batch.sequence(row))));
        assert!(self.schedule.complete(batch, Ok(logits), self.now));
        self.check();
    }

    /// An engine fails in a pass, before tokens are chosen or after it. What it kept is lost.
    pub(crate) fn fail_pass(&mut self, place: usize, retry: Retry, decided: bool) {
        let Some(pass) = self.passes.keys().nth(place % self.passes.len().max(1)).copied() else { return };
        let mut run = self.passes.remove(&pass).unwrap();
        if decided {
            let mut logits = self.toys[run.engine.0].run(&run.work);
            run.decide(&mut logits).unwrap();
        }
        self.failures += 1;
        self.toys[run.engine.0] = Toy::new(self.pages);
        let error = Arc::new(Error::Engine(EngineError::DeviceLost("unplugged".to_owned())));
        assert!(self.schedule.complete_courses(run, Err(Failure { error, retry }), self.now));
        self.check();
    }

    /// An engine that gives too few logits: nothing is decided.
    pub(crate) fn decide_wrongly(&mut self, place: usize) {
        let Some(run) = self.passes.values_mut().nth(place % 3) else { return };
        let asked: usize = run.work.pass.pasts.iter().map(|past| past.asked).sum();
        let wrong = run.decide(&mut vec![0.0; asked * VOCABULARY + 1]).unwrap_err();
        assert!(wrong.to_string().contains("were asked for"), "{wrong}");
    }

    pub(crate) fn set_engine(&mut self, engine: usize, in_use: bool) {
        let engine = engine % self.in_use.len();
        if !in_use && !self.busy().any(|busy| busy.0 == engine) {
            self.toys[engine] = Toy::new(self.pages);
        }
        assert!(self.schedule.set_engine(EngineId(engine), in_use));
        self.in_use[engine] = in_use;
        self.check();
    }

    pub(crate) fn cancel(&mut self, place: usize) {
        let Some(request) = self.owners.keys().nth(place % self.owners.len().max(1)).copied() else { return };
        self.cancel_request(request);
    }

    pub(crate) fn cancel_request(&mut self, request: RequestId) {
        let pending = self.schedule.counters().requests_pending;
        if self.schedule.cancel(request) {
            assert!(!self.schedule.cancel(request), "{request:?} was cancelled twice");
            self.owners.remove(&request).unwrap();
        } else {
            // Its answer is there already, and is told.
            assert!(pending < self.owners.len(), "{request:?} is open and can be cancelled");
            self.poll();
            assert!(!self.owners.contains_key(&request), "{request:?} was told nothing");
        }
        self.check();
    }

    /// Everybody leaves at once: all memory comes back, at the latest with the running passes.
    pub(crate) fn leave(&mut self) {
        while !self.owners.is_empty() {
            self.cancel(0);
        }
        if self.passes.is_empty() {
            self.assert_free();
        }
        self.drain();
    }

    /// Drains with working engines: at the end nothing waits, runs, or has pages.
    pub(crate) fn drain(&mut self) {
        self.schedule.drain();
        (0..self.in_use.len()).for_each(|engine| self.set_engine(engine, true));
        self.poll();
        let mut runs = 0;
        while !self.passes.is_empty() || !self.batches.is_empty() {
            self.now = self.now + Duration::from_millis(5);
            self.complete(runs);
            self.poll();
            runs += 1;
            assert!(runs < 100_000, "the schedule never ends");
        }
        assert!(self.owners.is_empty(), "left: {:?}", self.owners);
        assert!(self.schedule.is_empty());
        self.assert_free();
    }

    fn assert_free(&self) {
        let counters = self.schedule.counters();
        assert_eq!((counters.pages_used, counters.pages_reserved), (0, 0));
        assert_eq!((counters.running_courses, counters.queue_rows, counters.queue_tokens), (0, 0, 0));
    }

    /// At rest: nothing waits for an engine that is idle.
    fn check_rest(&self) {
        let busy: Vec<EngineId> = self.busy().collect();
        let has_idle = (0..self.in_use.len()).any(|engine| self.in_use[engine] && !busy.contains(&EngineId(engine)));
        let counters = self.schedule.counters();
        // What failed waits for another engine.
        if has_idle && counters.retried_total == 0 {
            assert_eq!(counters.queue_rows, 0, "an engine is idle while somebody waits: {counters:?}");
        }
        let late = |owner: &Owner| owner.deadline.is_some_and(|deadline| deadline <= self.now);
        assert!(!self.owners.values().any(late), "a deadline has passed in silence");
        assert_eq!(counters.requests_pending, self.owners.len());
        self.check();
    }

    fn check(&self) {
        let counters = self.schedule.counters();
        assert!(counters.pages_used <= counters.pages_reserved, "{counters:?}");
        assert!(counters.pages_reserved <= counters.pages, "{counters:?}");
        assert_eq!(counters.pages, self.pages * self.in_use.len());
        let ended = counters.answered_total
            + counters.failed_total
            + counters.expired_total
            + counters.cancelled_total
            + counters.aborted_total;
        assert_eq!(counters.accepted_total, ended + counters.requests_pending as u64, "{counters:?}");
    }
}
