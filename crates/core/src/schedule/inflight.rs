//! Open requests, and the sequences and texts that they share.

use super::queue::{JobId, Waiting};
use super::{CacheKey, EngineId, Priority, RequestId, Source, Time};
use crate::generate::{Course, TokenLog};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a job runs.
#[derive(Debug)]
pub(super) enum Work {
    /// A sequence, once.
    Once(Arc<[u32]>),
    /// A text, step by step.
    Course(Box<Writing>),
}

/// A text that is written.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) course: Course,
    /// Its new tokens that were told.
    pub(super) told: Vec<u32>,
    /// Their log-probabilities, if the options ask for them.
    pub(super) logs: Vec<Arc<TokenLog>>,
    /// Where it is, if it has pages.
    pub(super) engine: Option<EngineId>,
}

/// A sequence or text from its first push until it has an outcome.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    /// `None` for a sequence that is not cached or shared.
    pub(super) key: Option<CacheKey>,
    /// In order of arrival. Empty if all were cancelled while it ran.
    pub(super) owners: Vec<RequestId>,
    /// The highest priority of its owners.
    pub(super) priority: Priority,
    pub(super) since: Time,
    /// The last engine that it failed on, if any.
    pub(super) failed_on: Option<EngineId>,
    /// Number of tries that failed for an unknown reason.
    pub(super) failures: usize,
    /// Number of tries whose engine was lost.
    pub(super) losses: usize,
    pub(super) stage: Stage,
}

/// The state of a job; if it runs, since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Running { since: Time },
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) job: JobId,
    pub(super) priority: Priority,
    pub(super) deadline: Option<Time>,
    pub(super) since: Time,
    pub(super) source: Source,
    pub(super) wants: Wants,
}

/// What the owner of a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Logits,
    Text,
    /// Tokens as they come, then the text.
    Tokens,
}

/// A request without its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) priority: Priority,
    pub(super) deadline: Option<Time>,
    pub(super) wants: Wants,
}

/// The effect of removing a request on its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The queue need not change.
    Unchanged,
    /// Its priority fell from this one to its `priority`.
    Lowered(Priority),
    /// It was queued, had no other requests, and was removed. This was its priority.
    Dropped(Priority),
}

/// Every request without an answer, and every job without an outcome.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    jobs: BTreeMap<JobId, Job>,
    by_key: HashMap<CacheKey, JobId>,
    requests: BTreeMap<RequestId, Pending>,
    deadlines: BTreeSet<(Time, RequestId)>,
    jobs_ever: u64,
    requests_ever: u64,
}

impl Job {
    /// The sequence, if it is one.
    pub(super) fn ids(&self) -> Option<&Arc<[u32]>> {
        match &self.work {
            Work::Once(ids) => Some(ids),
            Work::Course(_) => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn writing(&self) -> Option<&Writing> {
        match &self.work {
            Work::Once(_) => None,
            Work::Course(writing) => Some(writing),
        }
    }

    /// The text, if it is one.
    pub(super) fn writing_mut(&mut self) -> Option<&mut Writing> {
        match &mut self.work {
            Work::Once(_) => None,
            Work::Course(writing) => Some(writing),
        }
    }

    pub(super) fn waiting(&self) -> Waiting {
        let tokens = match &self.work {
            Work::Once(ids) => ids.len(),
            Work::Course(writing) => writing.course.size().given,
        };
        Waiting { tokens, since: self.since, not_on: self.failed_on, alone: self.failures > 0 }
    }
}

impl Inflight {
    /// Requests without an answer.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// The job that computes a key.
    pub(super) fn find(&self, key: &CacheKey) -> Option<JobId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn job(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(&job)
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&job)
    }

    /// A new job with its first owner.
    pub(super) fn begin(&mut self, work: Work, ask: Ask, key: Option<CacheKey>, now: Time) -> (RequestId, JobId) {
        let job = JobId(self.jobs_ever);
        self.jobs_ever += 1;
        let source = if key.is_some() { Source::Miss } else { Source::Bypass };
        let owner = self.own(job, ask, source, now);
        if let Some(key) = key {
            self.by_key.insert(key, job);
        }
        let begun = Job {
            work,
            key,
            owners: vec![owner],
            priority: ask.priority,
            since: now,
            failed_on: None,
            failures: 0,
            losses: 0,
            stage: Stage::Queued,
        };
        self.jobs.insert(job, begun);
        (owner, job)
    }

    /// Adds an owner to a job, and returns the job's earlier priority.
    pub(super) fn join(&mut self, job: JobId, ask: Ask, now: Time) -> Option<(RequestId, Priority)> {
        self.jobs.get(&job)?;
        let owner = self.own(job, ask, Source::Coalesced, now);
        let job = self.jobs.get_mut(&job)?;
        let before = job.priority;
        job.priority = before.max(ask.priority);
        job.owners.push(owner);
        Some((owner, before))
    }

    /// Removes a request from its job.
    pub(super) fn leave(&mut self, request: RequestId) -> Option<(Pending, Left)> {
        let pending = self.take(request)?;
        let Some(job) = self.jobs.get_mut(&pending.job) else { return Some((pending, Left::Unchanged)) };
        job.owners.retain(|&owner| owner != request);
        let before = job.priority;
        if job.owners.is_empty() {
            if job.stage == Stage::Queued {
                self.end(pending.job);
                return Some((pending, Left::Dropped(before)));
            }
            return Some((pending, Left::Unchanged));
        }
        let owners = job.owners.iter().filter_map(|owner| self.requests.get(owner));
        job.priority = owners.map(|owner| owner.priority).max().unwrap_or(before);
        let left = if job.priority == before { Left::Unchanged } else { Left::Lowered(before) };
        Some((pending, left))
    }

    /// Ends a job; its owners can then be removed.
    pub(super) fn end(&mut self, job: JobId) -> Option<Job> {
        let ended = self.jobs.remove(&job)?;
        if let Some(key) = ended.key {
            self.by_key.remove(&key);
        }
        Some(ended)
    }

    /// A request without an answer.
    pub(super) fn pending(&self, request: RequestId) -> Option<&Pending> {
        self.requests.get(&request)
    }

    /// Removes a request whose job has ended.
    pub(super) fn take(&mut self, request: RequestId) -> Option<Pending> {
        let pending = self.requests.remove(&request)?;
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, request));
        }
        Some(pending)
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<(Time, RequestId)> {
        self.deadlines.first().copied()
    }

    /// The oldest request.
    pub(super) fn oldest(&self) -> Option<RequestId> {
        self.requests.first_key_value().map(|(&request, _)| request)
    }

    fn own(&mut self, job: JobId, ask: Ask, source: Source, now: Time) -> RequestId {
        let owner = RequestId(self.requests_ever);
        self.requests_ever += 1;
        let Ask { priority, deadline, wants } = ask;
        self.requests.insert(owner, Pending { job, priority, deadline, since: now, source, wants });
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, owner));
        }
        owner
    }
}
