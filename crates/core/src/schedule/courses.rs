//! Admission of texts, and which engine writes them.

use super::inflight::{Ask, Job, Stage, Wants, Work, Writing};
use super::line::InLine;
use super::queue::JobId;
use super::track::Track;
use super::{
    AnswerCache, CacheKey, Caching, CourseRequest, EngineId, NewTokens, Priority, Pushed, Rejection, RequestId,
    Schedule, Step, Texts, Time,
};
use crate::generate::{Bounds, Course, DecodeOptions, Decoding, Refused, Start};
use std::time::Duration;

impl Schedule {
    /// Lets its engines write texts, each within these bounds. Their cache holds `cache_bytes_max` beside the one of logits; 0 turns it
    /// off.
    #[must_use]
    pub fn with_courses(mut self, bounds: Bounds, cache_bytes_max: u64) -> Schedule {
        self.tracks = self.engines.iter().map(|_| Track::new(bounds.pages)).collect();
        self.texts = AnswerCache::new(cache_bytes_max);
        self.bounds = Some(bounds);
        self
    }

    /// Accepts a request for a text, answers it from the cache, or rejects it. A request that joins a running text first gets
    /// its tokens so far.
    ///
    /// Draws must be repeatable, so a seed that was made up for one request should come with [`Caching::Bypass`].
    pub fn push_course(&mut self, request: CourseRequest, now: Time) -> Pushed<Texts> {
        let now = self.advance(now);
        self.expire(now);
        let pushed = self.admit_course(request, now);
        self.totals.count_pushed(&pushed);
        pushed
    }

    /// Adds a text, however many wait, without the cache.
    ///
    /// # Errors
    /// [`Refused`] if it never fits.
    pub(crate) fn add_course(&mut self, decoding: Decoding, now: Time) -> Result<RequestId, Refused> {
        self.fits(decoding.options(), decoding.start())?;
        self.totals.accepted_total += 1;
        let ask = Ask { priority: Priority::Normal, deadline: None, wants: Wants::Tokens };
        Ok(self.stand_in_line(Course::new(decoding), ask, None, now))
    }

    /// How long a new text would wait for its pages, estimated from the passes so far; zero before the first has ended.
    pub fn course_wait_expected(&self) -> Duration {
        self.pace.run_courses(self.line.load(), self.engines_in_use())
    }

    /// The waiting time of the oldest text that waits for pages; zero if none does.
    pub fn course_waited(&self, now: Time) -> Duration {
        self.line.oldest_since().map_or(Duration::ZERO, |since| now.since(since))
    }

    fn admit_course(&mut self, request: CourseRequest, now: Time) -> Pushed<Texts> {
        let (options, start) = (request.decoding.options(), request.decoding.start());
        if let Err(refused) = self.fits(options, start) {
            return Pushed::Rejected(Rejection::Refused(refused));
        }
        if let Some(rejection) = self.closed_for(request.deadline, now) {
            return Pushed::Rejected(rejection);
        }
        let uses = request.caching == Caching::Use;
        let key = uses.then(|| request.key.unwrap_or_else(|| self.keyer.course_key(start, options)));
        if let Some(key) = &key {
            if let Some(texts) = self.texts.get(key) {
                self.totals.cache_hits_total += 1;
                return Pushed::Answered(texts);
            }
            self.totals.cache_misses_total += 1;
        }
        let wants = if request.streams { Wants::Tokens } else { Wants::Text };
        let ask = Ask { priority: request.priority, deadline: request.deadline, wants };
        let shared = key.and_then(|key| self.inflight.find(&key));
        let course = Course::new(request.decoding);
        if self.has_no_room_for(course.size().given, shared.is_some()) {
            let retry_after = self.pace.retry_after_courses(self.line.load(), self.engines_in_use());
            return Pushed::Rejected(Rejection::QueueFull { retry_after });
        }
        match shared.and_then(|job| Some((job, self.inflight.join(job, ask, now)?))) {
            Some((job, (owner, before))) => {
                self.totals.coalesced_total += 1;
                self.requeue(job, before);
                self.tell_so_far(job, owner);
                Pushed::Accepted(owner)
            }
            None => Pushed::Accepted(self.stand_in_line(course, ask, key, now)),
        }
    }

    fn fits(&self, options: &DecodeOptions, start: &Start) -> Result<(), Refused> {
        let nowhere = Refused::Large { needed: 1, pages: 0 };
        self.bounds.map_or(Err(nowhere), |bounds| bounds.check(options, start))
    }

    fn stand_in_line(&mut self, course: Course, ask: Ask, key: Option<CacheKey>, now: Time) -> RequestId {
        let writing = Writing { course, told: Vec::new(), logs: Vec::new(), engine: None };
        let (owner, id) = self.inflight.begin(Work::Course(Box::new(writing)), ask, key, now);
        if let Some((text, job)) = self.inflight.job(id).and_then(|job| Some((in_line(job)?, job))) {
            self.line.push(id, text, job.priority);
        }
        owner
    }

    fn tell_so_far(&mut self, job: JobId, owner: RequestId) {
        let streams = self.inflight.pending(owner).is_some_and(|pending| pending.wants == Wants::Tokens);
        let writing = self.inflight.job(job).and_then(Job::writing);
        if let Some(writing) = writing.filter(|writing| streams && !writing.told.is_empty()) {
            let tokens = NewTokens { ids: writing.told.as_slice().into(), logs: writing.logs.as_slice().into() };
            self.told.push_back(Step::Tokens(owner, tokens));
        }
    }

    /// Gives waiting texts pages of an engine, in their order, while there is room.
    pub(super) fn place(&mut self, engine: EngineId, now: Time) {
        let others = self.engines.iter().enumerate().any(|(other, state)| other != engine.0 && state.in_use);
        let rows_max = self.config.batch_rows_max.max(1);
        let Some(track) = self.tracks.get_mut(engine.0) else { return };
        while let Some((id, size)) = self.line.next(others.then_some(engine)) {
            if !track.admit(id, size, rows_max) {
                return;
            }
            let Some(job) = self.inflight.job_mut(id) else { return };
            self.line.leave(id, job.priority);
            job.stage = Stage::Running { since: now };
            if let Some(writing) = job.writing_mut() {
                writing.engine = Some(engine);
            }
        }
    }

    /// Takes a text off its engine: it waits again, and its tokens so far will run again.
    pub(super) fn displace(&mut self, id: JobId) {
        let Some(job) = self.inflight.job_mut(id) else { return };
        let Some(writing) = job.writing_mut() else { return };
        if let Some(track) = writing.engine.take().and_then(|engine| self.tracks.get_mut(engine.0)) {
            writing.course.refill(&mut track.pool);
            track.dismiss(id);
        }
        job.stage = Stage::Queued;
        if let Some(text) = in_line(job) {
            self.line.push(id, text, job.priority);
        }
    }

    /// Ends a text: its pages are free.
    pub(super) fn end_course(&mut self, id: JobId) -> Option<Job> {
        let mut job = self.inflight.end(id)?;
        let writing = job.writing_mut()?;
        if let Some(track) = writing.engine.and_then(|engine| self.tracks.get_mut(engine.0)) {
            writing.course.free(&mut track.pool);
            track.dismiss(id);
        }
        Some(job)
    }

    /// Ends a text without an owner. A text that is in a pass ends after it.
    pub(super) fn abandon(&mut self, id: JobId) {
        let Some(job) = self.inflight.job(id).filter(|job| job.owners.is_empty()) else { return };
        let engine = job.writing().and_then(|writing| writing.engine);
        if engine.and_then(|engine| self.tracks.get(engine.0)).is_some_and(|track| !track.is_running) {
            self.end_course(id);
        }
    }

    /// Takes all texts off an engine, which has lost its pages or is out of use.
    pub(super) fn clear_track(&mut self, engine: EngineId) {
        let jobs = self.tracks.get(engine.0).filter(|track| !track.is_running).map(Track::jobs).unwrap_or_default();
        jobs.into_iter().for_each(|job| self.displace(job));
    }
}

fn in_line(job: &Job) -> Option<InLine> {
    let size = job.writing()?.course.size();
    Some(InLine { size, since: job.since, not_on: job.failed_on })
}
