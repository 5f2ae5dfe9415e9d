//! Dispatch: which batch runs on which engine, and when.

use super::inflight::Stage;
use super::queue::JobId;
use super::{Accumulate, BatchId, EngineId, Failure, Retry, Run, Running, Schedule, Step, Time};
use crate::Error;
use grice_model::Batch;
use std::sync::Arc;

impl Schedule {
    /// What a free engine runs next. Where sequences and texts wait for the same engine, batches and passes take turns: each waits for
    /// one of the other at most.
    pub(super) fn dispatch(&mut self, now: Time) -> Option<Step> {
        for index in 0..self.engines.len() {
            if !self.is_free(index) {
                continue;
            }
            let engine = EngineId(index);
            let after_pass = self.engines[index].ran_courses;
            let first = if after_pass { self.start_batch(engine, now).map(Step::Run) } else { None };
            let step = first
                .or_else(|| self.start_pass(engine, now).map(Step::Courses))
                .or_else(|| self.start_batch(engine, now).map(Step::Run));
            if step.is_some() {
                return step;
            }
        }
        None
    }

    fn start_batch(&mut self, engine: EngineId, now: Time) -> Option<Run> {
        if self.queue.rows() == 0 || self.leaves_at(now).is_some() {
            return None;
        }
        let others = self.engines.iter().enumerate().any(|(other, state)| other != engine.0 && state.in_use);
        let jobs = self.queue.form_batch(others.then_some(engine));
        // Nothing runs only if packing failed. Then the owners have their answers, and the next poll continues.
        if jobs.is_empty() { None } else { self.start(engine, jobs, now) }
    }

    fn start(&mut self, engine: EngineId, jobs: Vec<JobId>, now: Time) -> Option<Run> {
        let id = BatchId(self.totals.batches_total);
        let sequences: Vec<Arc<[u32]>> =
            jobs.iter().filter_map(|&job| self.inflight.job(job)?.ids().cloned()).collect();
        let batch = match Batch::pack(&sequences) {
            Ok(batch) => batch,
            Err(error) => {
                let failure = Failure { error: Arc::new(Error::Batch(error.into())), retry: Retry::Never };
                jobs.iter().for_each(|&job| self.fail(job, &failure, engine, now));
                return None;
            }
        };
        for &job in &jobs {
            if let Some(job) = self.inflight.job_mut(job) {
                job.stage = Stage::Running { since: now };
            }
        }
        let longest = sequences.iter().map(|ids| ids.len()).max().unwrap_or(0);
        self.totals.count_batch(batch.rows(), batch.tokens(), longest);
        if let Some(engine) = self.engines.get_mut(engine.0) {
            (engine.is_busy, engine.ran_courses) = (true, false);
        }
        self.running.insert(id, Running { engine, jobs, tokens: batch.tokens(), since: now });
        Some(Run { id, engine, batch, longest })
    }

    /// When the delayed batch runs; `None` if there is none, or if it may run now.
    pub(super) fn leaves_at(&self, now: Time) -> Option<Time> {
        let has_free = (0..self.engines.len()).any(|index| self.is_free(index));
        let holds = match self.config.accumulate {
            Accumulate::Never => false,
            Accumulate::WhileBusy => !self.running.is_empty() || !self.passes.is_empty(),
            Accumulate::Always => true,
        };
        if !has_free || !holds || self.draining || self.queue.fills_a_batch() {
            return None;
        }
        let waited = self.queue.oldest_since()? + self.config.wait_max;
        // A delay must not make a request miss its deadline.
        let batch = self.pace.batch().unwrap_or(self.config.wait_max);
        let in_time = self.inflight.deadline().map(|(deadline, _)| deadline.before(batch));
        let moment = in_time.map_or(waited, |in_time| waited.min(in_time));
        (moment > now).then_some(moment)
    }

    fn is_free(&self, index: usize) -> bool {
        self.engines[index].in_use && !self.engines[index].is_busy
    }
}
