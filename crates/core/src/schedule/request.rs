//! Requests to the schedule, and its answers.

use super::{BatchId, CacheKey, CourseRun, EngineId, Priority, RequestId, Time};
use crate::generate::{Decoding, Generated, Refused, TokenLog};
use grice_model::Batch;
use std::sync::Arc;
use std::time::Duration;

/// The logits of one sequence, unscaled, in the order of the manifest's labels. Cheap to clone: owners and cache share it.
pub type LogitsRow = Arc<[f32]>;

/// What a course wrote: its sequences, the best first. Cheap to clone: owners and cache share it.
pub type Texts = Arc<[Generated]>;

/// Whether a request may use the result of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Caching {
    /// Looks in the cache, joins an identical request in flight, and stores its logits in the cache.
    #[default]
    Use,
    /// Runs separately and stores nothing.
    Bypass,
}

/// One sequence to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its token ids; at least one.
    pub ids: Arc<[u32]>,
    /// Their key from [`super::Schedule::keyer`]; if `None`, the schedule computes it.
    pub key: Option<CacheKey>,
    /// The priority over other requests.
    pub priority: Priority,
    /// The time after which the answer is useless.
    pub deadline: Option<Time>,
    /// Whether it may use the result of another request.
    pub caching: Caching,
}

impl Request {
    /// A request of normal priority without a deadline that may use other results.
    pub fn new(ids: impl Into<Arc<[u32]>>) -> Request {
        Request { ids: ids.into(), key: None, priority: Priority::Normal, deadline: None, caching: Caching::Use }
    }
}

/// A text to write.
#[derive(Clone, Debug)]
pub struct CourseRequest {
    /// The text at its start.
    pub decoding: Decoding,
    /// Its key from [`super::Keyer::course_key`]; if `None`, the schedule computes it.
    pub key: Option<CacheKey>,
    /// The priority over other requests.
    pub priority: Priority,
    /// The time after which the text is useless.
    pub deadline: Option<Time>,
    /// Whether it may use the result of another request.
    pub caching: Caching,
    /// Whether its tokens are told as they come, by [`Step::Tokens`].
    pub streams: bool,
}

impl CourseRequest {
    /// A request of normal priority without a deadline that may use other results, and wants its tokens as they come.
    pub fn new(decoding: Decoding) -> CourseRequest {
        let (key, priority, deadline, caching) = (None, Priority::Normal, None, Caching::Use);
        CourseRequest { decoding, key, priority, deadline, caching, streams: true }
    }
}

/// The outcome of a push.
#[derive(Clone, Debug)]
pub enum Pushed<T = LogitsRow> {
    /// It waits, or shares a run; its [`Answer`] comes from [`super::Schedule::poll`].
    Accepted(RequestId),
    /// The cache had the answer.
    Answered(T),
    /// It was rejected; no answer will follow.
    Rejected(Rejection),
}

/// Why a request got no logits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The queue is full.
    #[error("the queue is full; try again in {} ms", retry_after.as_millis())]
    QueueFull {
        /// When there should be space again.
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
    /// A text that no engine can ever write.
    #[error(transparent)]
    Refused(Refused),
    /// The engine failed, and so did a retry, if there was one. All requests that shared the run get this.
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
            Rejection::Refused(_) => "refused",
            Rejection::Failed(_) => "failed",
        }
    }
}

/// The source of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A run that this request started.
    Miss,
    /// A run that an identical request had started.
    Coalesced,
    /// A separate run, because of [`Caching::Bypass`].
    Bypass,
}

/// The end of a request; there is exactly one for each accepted request that was not cancelled.
#[derive(Clone, Debug)]
pub struct Answer<T = LogitsRow> {
    /// The request.
    pub request: RequestId,
    /// Logits or texts, or the reason why there are none.
    pub outcome: Result<T, Rejection>,
    /// Their source.
    pub source: Source,
    /// How long it waited for a run to begin; for a text, for its pages.
    pub queued: Duration,
    /// How long its run took, or all passes of a text; for a shared run, the part after it joined.
    pub ran: Duration,
}

/// A batch for an engine to run now.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// For [`super::Schedule::complete`].
    pub id: BatchId,
    /// The engine to run it on, which is busy until completion.
    pub engine: EngineId,
    /// The tokens.
    pub batch: Batch,
    /// The longest sequence in it, in tokens.
    pub longest: usize,
}

impl Run {
    /// The share of padding, 0 to 1, if an engine padded to the longest sequence.
    pub fn padding_ratio(&self) -> f64 {
        let padded = self.batch.rows() * self.longest;
        1.0 - self.batch.tokens() as f64 / padded.max(1) as f64
    }
}

/// New tokens of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewTokens {
    /// Their ids.
    pub ids: Arc<[u32]>,
    /// Their log-probabilities, one entry a token, where the options ask for them; else none.
    pub logs: Arc<[Arc<TokenLog>]>,
}

impl std::ops::Deref for NewTokens {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.ids
    }
}

/// The next action for the driver.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this answer to its owner.
    Answer(Answer),
    /// Send these new tokens of a text to its owner.
    Tokens(RequestId, NewTokens),
    /// Send this text to its owner.
    Text(Answer<Texts>),
    /// Run this batch.
    Run(Run),
    /// Run this pass of courses.
    Courses(CourseRun),
    /// Do nothing before this time, unless something is pushed or completed.
    WaitUntil(Time),
    /// Do nothing, unless something is pushed or completed.
    Idle,
}

/// A batch that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Arc<crate::Error>,
    /// Whether to try again.
    pub retry: Retry,
}

/// How often the sequences of a failed batch are retried, if possible on another engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Never: the sequences are at fault.
    Never,
    /// Once: the cause is unknown.
    Once,
    /// Once per engine: the engine was lost, and a batch may meet several engines of the same lost
    /// device.
    OnceAnEngine,
}
