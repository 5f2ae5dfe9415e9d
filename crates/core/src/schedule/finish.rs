//! The end of a request: the outcome of a batch, requests without owners, and answers.

use super::inflight::Wants;
use super::inflight::{Left, Pending, Stage};
use super::queue::JobId;
use super::{Answer, BatchId, EngineId, Failure, LogitsRow, Rejection, RequestId, Retry, Schedule, Step, Texts, Time};
use crate::Error;
use grice_model::{EngineError, Logits};
use std::sync::Arc;

impl Schedule {
    /// Takes the outcome of a batch and frees its engine. Returns `false`, and does nothing, if no such batch runs.
    ///
    /// A wrong number of rows is a failure of the engine. Rows with a value that is not finite are returned, so that
    /// the readout can name it, but not cached.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Logits, Failure>, now: Time) -> bool {
        let rows = outcome.map(|logits| (0..logits.rows()).map(|row| Ok(logits.row(row).into())).collect());
        self.complete_rows(batch, rows, now)
    }

    /// The same with one outcome per sequence, in the order of the batch.
    pub fn complete_rows(
        &mut self,
        batch: BatchId,
        outcome: Result<Vec<Result<LogitsRow, Failure>>, Failure>,
        now: Time,
    ) -> bool {
        let now = self.advance(now);
        // This comes first, so that an answer at or after its deadline is late in every order of calls.
        self.expire(now);
        let Some(run) = self.running.remove(&batch) else { return false };
        if let Some(engine) = self.engines.get_mut(run.engine.0) {
            engine.is_busy = false;
        }
        match outcome {
            Ok(rows) if rows.len() == run.jobs.len() => {
                // Sequences that fail cost more than their tokens.
                if rows.iter().all(Result::is_ok) {
                    self.pace.learn(run.tokens, now.since(run.since));
                }
                for (row, &job) in rows.into_iter().zip(&run.jobs) {
                    match row {
                        Ok(row) => self.finish(job, row, now),
                        Err(failure) => self.fail(job, &failure, run.engine, now),
                    }
                }
            }
            Ok(rows) => {
                let rows = (rows.len(), run.jobs.len());
                let error = EngineError::Run(format!("it returned {} rows for a batch of {}", rows.0, rows.1));
                let failure = Failure { error: Arc::new(Error::Engine(error)), retry: Retry::Never };
                run.jobs.iter().for_each(|&job| self.fail(job, &failure, run.engine, now));
            }
            Err(failure) => run.jobs.iter().for_each(|&job| self.fail(job, &failure, run.engine, now)),
        }
        true
    }

    /// Drops a request, so that no answer follows. Requests that share its run continue. Returns `false` if the answer
    /// already exists.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let left = self.leave(request).is_some();
        if left {
            self.told.retain(|step| !matches!(step, Step::Tokens(of, _) if *of == request));
        }
        self.totals.cancelled_total += u64::from(left);
        left
    }

    fn finish(&mut self, job: JobId, row: LogitsRow, now: Time) {
        let Some(job) = self.inflight.end(job) else { return };
        if let Some(key) = job.key.filter(|_| row.iter().all(|logit| logit.is_finite())) {
            self.cache.insert(key, Arc::clone(&row));
        }
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.answered_total += 1;
            self.answer(owner, &pending, Ok(Arc::clone(&row)), Some(job.stage), now);
        }
    }

    pub(super) fn fail(&mut self, id: JobId, failure: &Failure, engine: EngineId, now: Time) {
        if self.may_retry(id, failure, engine) {
            let Some(job) = self.inflight.job_mut(id) else { return };
            job.stage = Stage::Queued;
            self.queue.put_back(id, job.waiting(), job.priority);
            self.totals.retried_total += 1;
            return;
        }
        let Some(job) = self.inflight.end(id) else { return };
        for owner in job.owners {
            let Some(pending) = self.inflight.take(owner) else { continue };
            self.totals.failed_total += 1;
            let rejection = Rejection::Failed(Arc::clone(&failure.error));
            self.reject(owner, &pending, rejection, Some(job.stage), now);
        }
    }

    /// Whether a job that failed on an engine is tried again, and notes that it failed.
    pub(super) fn may_retry(&mut self, id: JobId, failure: &Failure, engine: EngineId) -> bool {
        let Some(job) = self.inflight.job_mut(id) else { return false };
        let may_retry = match failure.retry {
            Retry::Never => false,
            Retry::Once => job.failures == 0,
            Retry::OnceAnEngine => job.losses < self.engines.len(),
        };
        if !may_retry || job.owners.is_empty() {
            return false;
        }
        match failure.retry {
            Retry::OnceAnEngine => job.losses += 1,
            _ => job.failures += 1,
        }
        job.failed_on = Some(engine);
        true
    }

    pub(super) fn expire(&mut self, now: Time) {
        while let Some((deadline, request)) = self.inflight.deadline() {
            if deadline > now {
                return;
            }
            let job = self.inflight.pending(request).and_then(|pending| self.inflight.job(pending.job));
            let stage = job.map(|job| job.stage);
            let Some(pending) = self.leave(request) else { return };
            self.totals.expired_total += 1;
            self.reject(request, &pending, Rejection::DeadlineExceeded, stage, now);
        }
    }

    /// Removes a request from its job, and a job without requests from the queue.
    pub(super) fn leave(&mut self, request: RequestId) -> Option<Pending> {
        let (pending, left) = self.inflight.leave(request)?;
        match left {
            Left::Unchanged => self.abandon(pending.job),
            Left::Lowered(before) => self.requeue(pending.job, before),
            Left::Dropped(priority) => {
                self.queue.remove(pending.job, priority);
                self.line.remove(pending.job, priority);
            }
        }
        Some(pending)
    }

    fn answer(
        &mut self,
        request: RequestId,
        pending: &Pending,
        outcome: Result<LogitsRow, Rejection>,
        stage: Option<Stage>,
        now: Time,
    ) {
        self.told.push_back(Step::Answer(answer_of(request, pending, outcome, stage, now)));
    }

    pub(super) fn answer_text(
        &mut self,
        request: RequestId,
        pending: &Pending,
        outcome: Result<Texts, Rejection>,
        stage: Option<Stage>,
        now: Time,
    ) {
        self.told.push_back(Step::Text(answer_of(request, pending, outcome, stage, now)));
    }

    /// Tells the owner of a request why there is no answer.
    pub(super) fn reject(
        &mut self,
        request: RequestId,
        pending: &Pending,
        rejection: Rejection,
        stage: Option<Stage>,
        now: Time,
    ) {
        match pending.wants {
            Wants::Logits => self.answer(request, pending, Err(rejection), stage, now),
            Wants::Text | Wants::Tokens => self.answer_text(request, pending, Err(rejection), stage, now),
        }
    }
}

fn answer_of<T>(
    request: RequestId,
    pending: &Pending,
    outcome: Result<T, Rejection>,
    stage: Option<Stage>,
    now: Time,
) -> Answer<T> {
    let ran_since = match stage {
        Some(Stage::Running { since }) => since.max(pending.since),
        Some(Stage::Queued) | None => now,
    };
    let (queued, ran) = (ran_since.since(pending.since), now.since(ran_since));
    Answer { request, outcome, source: pending.source, queued, ran }
}
