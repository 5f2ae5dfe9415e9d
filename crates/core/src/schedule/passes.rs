//! Passes of courses: what runs in one, and what it led to.

use super::course_run::{CourseRun, Part};
use super::inflight::{Job, Wants};
use super::pace::Load;
use super::queue::JobId;
use super::track::Track;
use super::{EngineId, Failure, NewTokens, PassId, Rejection, RunningPass, Schedule, Step, Texts, Time};
use crate::Error;
use crate::generate::{DecodeError, Progress, Work};
use std::sync::Arc;

impl Schedule {
    /// The next pass of an engine's texts, if there is anything to run: a step of those that have begun, then prompts, in pieces if they
    /// are longer than what is left.
    pub(super) fn start_pass(&mut self, engine: EngineId, now: Time) -> Option<CourseRun> {
        self.place(engine, now);
        let mut work = Work::default();
        let (parts, load) = self.fill(engine, &mut work)?;
        let id = PassId(self.totals.passes_total);
        self.totals.passes_total += 1;
        self.totals.pass_tokens_total += work.pass.ids.len() as u64;
        self.tracks.get_mut(engine.0)?.is_running = true;
        if let Some(state) = self.engines.get_mut(engine.0) {
            (state.is_busy, state.ran_courses) = (true, true);
        }
        self.passes.insert(id, RunningPass { engine, load, since: now });
        Some(CourseRun { id, engine, work, parts })
    }

    fn fill(&mut self, engine: EngineId, work: &mut Work) -> Option<(Vec<Part>, Load)> {
        let track = self.tracks.get_mut(engine.0)?;
        let mut left = self.bounds?.pass_tokens.max(1);
        let (mut parts, mut load) = (Vec::new(), Load::default());
        for (id, has_begun) in in_turn(&track.jobs(), |id| self.inflight.job(id)) {
            let Some(writing) = self.inflight.job_mut(id).and_then(Job::writing_mut) else { continue };
            // At least one course goes on, however much it asks for.
            let room = if parts.is_empty() { left.max(1) } else { left };
            let Some(entered) = writing.course.enter(room, &mut track.pool, work) else { continue };
            let Some(decoding) = writing.course.lend() else { continue };
            left = left.saturating_sub(entered.tokens);
            load.new += usize::from(has_begun);
            load.prompt += if has_begun { 0 } else { entered.tokens };
            parts.push(Part { job: id, decoding, asked: entered.asked, outcome: None });
        }
        (!parts.is_empty()).then_some((parts, load))
    }

    /// Takes a pass back with its outcome and frees its engine. Returns `false`, and does nothing, if no such pass runs.
    ///
    /// A failure means that the engine has lost its pages: all texts that it was writing run their tokens again, on any engine, and go on
    /// with the same tokens. [`Failure::retry`] bounds how often the texts of the failed pass may fail without a new token in between.
    pub fn complete_courses(&mut self, run: CourseRun, outcome: Result<(), Failure>, now: Time) -> bool {
        let now = self.advance(now);
        self.expire(now);
        let Some(RunningPass { engine, load, since }) = self.passes.remove(&run.id) else { return false };
        if let Some(state) = self.engines.get_mut(engine.0) {
            state.is_busy = false;
        }
        if let Some(track) = self.tracks.get_mut(engine.0) {
            track.is_running = false;
        }
        if outcome.is_ok() {
            self.pace.learn_pass(load, now.since(since));
        }
        let mut undecided = Vec::new();
        for Part { job, decoding, asked, outcome } in run.parts {
            let Some(writing) = self.inflight.job_mut(job).and_then(Job::writing_mut) else { continue };
            writing.course.take_back(decoding);
            match outcome {
                Some(outcome) => self.go_on(job, outcome, now),
                None => undecided.push((job, asked)),
            }
        }
        self.settle(engine, &undecided, outcome.err(), now);
        true
    }

    /// Ends texts that have no owner any more, and moves those whose pages are lost.
    fn settle(&mut self, engine: EngineId, undecided: &[(JobId, usize)], failure: Option<Failure>, now: Time) {
        let jobs = self.tracks.get(engine.0).map(Track::jobs).unwrap_or_default();
        jobs.into_iter().for_each(|job| self.abandon(job));
        for &(job, asked) in undecided {
            match &failure {
                Some(failure) => self.fail_course(job, failure, engine, now),
                // Logits that were asked for and not given: run them again.
                None if asked > 0 => self.displace(job),
                None => {}
            }
        }
        let in_use = self.engines.get(engine.0).is_some_and(|state| state.in_use);
        if failure.is_some() || !in_use {
            self.clear_track(engine);
        }
    }

    /// A text got some tokens further, or ended.
    fn go_on(&mut self, id: JobId, outcome: Result<Progress, DecodeError>, now: Time) {
        let Some(job) = self.inflight.job_mut(id) else { return };
        (job.failures, job.losses, job.failed_on) = (0, 0, None);
        let owners = job.owners.clone();
        let Some(writing) = job.writing_mut() else { return };
        writing.course.ran_all();
        let (ids, logs) = writing.course.tokens_after(writing.told.len());
        let new = NewTokens { ids, logs };
        writing.told.extend_from_slice(&new.ids);
        writing.logs.extend_from_slice(&new.logs);
        self.totals.new_tokens_total += new.len() as u64;
        for owner in owners.into_iter().filter(|_| !new.is_empty()) {
            if self.inflight.pending(owner).is_some_and(|pending| pending.wants == Wants::Tokens) {
                self.told.push_back(Step::Tokens(owner, new.clone()));
            }
        }
        match outcome {
            Ok(Progress::More) => {}
            Ok(Progress::Done(texts)) => self.finish_course(id, &texts.into(), now),
            Err(error) => self.give_up(id, &Arc::new(Error::Decode(error)), now),
        }
    }

    fn finish_course(&mut self, id: JobId, texts: &Texts, now: Time) {
        let Some(job) = self.end_course(id) else { return };
        if let Some(key) = job.key {
            self.texts.insert(key, Arc::clone(texts));
        }
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.answered_total += 1;
            self.answer_text(owner, &pending, Ok(Arc::clone(texts)), Some(job.stage), now);
        }
    }

    /// A text whose pass failed waits again, or ends if it has failed too often.
    fn fail_course(&mut self, id: JobId, failure: &Failure, engine: EngineId, now: Time) {
        if self.may_retry(id, failure, engine) {
            self.totals.retried_total += 1;
            self.displace(id);
        } else {
            self.give_up(id, &failure.error, now);
        }
    }

    fn give_up(&mut self, id: JobId, error: &Arc<Error>, now: Time) {
        let Some(job) = self.end_course(id) else { return };
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.failed_total += 1;
            self.reject(owner, &pending, Rejection::Failed(Arc::clone(error)), Some(job.stage), now);
        }
    }
}

/// Texts in the order in which they enter a pass, and whether each has begun: those that have, then the others, the oldest first. One whose
/// last pass failed runs alone until it is a token further, so that a text that breaks engines does not affect others.
fn in_turn<'j>(jobs: &[JobId], job: impl Fn(JobId) -> Option<&'j Job>) -> Vec<(JobId, bool)> {
    let suspect = jobs.iter().copied().find(|&id| job(id).is_some_and(|job| job.failures > 0));
    let among = suspect.map_or(jobs.to_vec(), |suspect| vec![suspect]);
    let has_begun = |id| job(id).and_then(Job::writing).is_some_and(|writing| writing.course.has_begun());
    let mut turn: Vec<(JobId, bool)> = among.into_iter().map(|id| (id, has_begun(id))).collect();
    turn.sort_by_key(|&(_, has_begun)| !has_begun);
    turn
}
