//! What is asked of the schedule and what it answers.

use super::{CacheKey, Time};
use grice_model::Batch;
use std::sync::Arc;
use std::time::Duration;

/// The logits of one sequence, unscaled, in the order of the manifest's labels. Cheap to clone: owners and cache share it.
pub type LogitsRow = Arc<[f32]>;

/// Names a request from [`super::Schedule::push`] to its [`Answer`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a batch from [`Step::Run`] to [`super::Schedule::complete`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// One of the engines (replicas) that the driver runs batches on, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(pub usize);

/// Which requests go first. Those of a lower priority still get every so many batches' first place
/// ([`super::Config::fair_batches`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// When nobody else asks: bulk work.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Somebody is watching the screen.
    High,
}

/// Whether a request may be answered by, or share, another one's run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Caching {
    /// Looks in the cache, joins an identical request in flight, and leaves its logits in the cache.
    #[default]
    Use,
    /// A run of its own that leaves no trace.
    Bypass,
}

/// One sequence to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its token ids; at least one.
    pub ids: Arc<[u32]>,
    /// Their key, by [`super::Schedule::keyer`], if the caller has computed it; else the schedule computes it.
    pub key: Option<CacheKey>,
    /// Which requests it may overtake.
    pub priority: Priority,
    /// When an answer is of no use any more.
    pub deadline: Option<Time>,
    /// Whether it may share.
    pub caching: Caching,
}

impl Request {
    /// A request of normal priority without a deadline, that may share.
    pub fn new(ids: impl Into<Arc<[u32]>>) -> Request {
        Request { ids: ids.into(), key: None, priority: Priority::Normal, deadline: None, caching: Caching::Use }
    }
}

/// What became of a push.
#[derive(Clone, Debug)]
pub enum Pushed {
    /// It waits, or shares a run; its [`Answer`] comes from [`super::Schedule::poll`].
    Accepted(RequestId),
    /// The cache knew; there is nothing to wait for.
    Answered(LogitsRow),
    /// It was not taken; no answer will follow.
    Rejected(Rejection),
}

/// Why a request got no logits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// There are as many requests as may wait.
    #[error("the queue is full; try again in {} ms", retry_after.as_millis())]
    QueueFull {
        /// When there should be room again.
        retry_after: Duration,
    },
    /// Its deadline passed before there were logits.
    #[error("the deadline passed before there was an answer")]
    DeadlineExceeded,
    /// The schedule is being drained.
    #[error("shutting down; ask another server, or this one once it is back")]
    ShuttingDown,
    /// A sequence without tokens has no logits.
    #[error("the sequence holds no tokens")]
    Empty,
    /// The engine failed, and so did another one if that was worth a try. Everyone who shared the run gets this.
    #[error("{0}")]
    Failed(Arc<crate::Error>),
}

impl Rejection {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::QueueFull { .. } => "queue_full",
            Rejection::DeadlineExceeded => "deadline",
            Rejection::ShuttingDown => "shutting_down",
            Rejection::Empty => "empty",
            Rejection::Failed(_) => "failed",
        }
    }
}

/// Where logits came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A run that this request began.
    Miss,
    /// A run that an identical request had begun.
    Coalesced,
    /// A run of its own, as asked by [`Caching::Bypass`].
    Bypass,
}

/// The end of a request; there is exactly one for each that was accepted and not cancelled.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whose it is.
    pub request: RequestId,
    /// Logits, or why there are none.
    pub outcome: Result<LogitsRow, Rejection>,
    /// Where they came from.
    pub source: Source,
    /// How long it waited for a run to begin.
    pub queued: Duration,
    /// How long its run, or what it saw of a shared one, took.
    pub ran: Duration,
}

/// A batch for an engine to run now.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// To be handed to [`super::Schedule::complete`].
    pub id: BatchId,
    /// Where it is to run. This engine counts as busy until then.
    pub engine: EngineId,
    /// The tokens.
    pub batch: Batch,
    /// The longest sequence in it, in tokens.
    pub longest: usize,
}

impl Run {
    /// The share of padding, 0 to 1, that an engine would add that pads to the longest sequence.
    pub fn padding_ratio(&self) -> f64 {
        let padded = self.batch.rows() * self.longest;
        1.0 - self.batch.tokens() as f64 / padded.max(1) as f64
    }
}

/// What is to be done next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Hand this to its owner.
    Answer(Answer),
    /// Run this.
    Run(Run),
    /// Nothing before this moment, unless something is pushed or completed.
    WaitUntil(Time),
    /// Nothing, unless something is pushed or completed.
    Idle,
}

/// A batch that did not run to its end.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Arc<crate::Error>,
    /// Whether another try might do better.
    pub retry: Retry,
}

/// How often the sequences of a batch that failed are tried again, on another engine where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The fault is theirs.
    Never,
    /// Once: nobody knows whether the fault is theirs.
    Once,
    /// As often as there are engines, for all that is known is that the engine went away: a batch may come upon one engine
    /// after the other that was on the same device.
    OnceAnEngine,
}
