//! Requests in, batches and answers out: queue, batcher, cache and in-flight sharing. Owns no clock, thread, lock or channel.
//!
//! ```text
//! push(request, now) ─► cache? ─► in flight? ─► queue ─► batcher ─► Step::Run ─► complete(batch, outcome, now)
//!                         │            │                                                │
//!                         └► Answered  └► joins                 Step::Answer ◄──────────┘──► cache
//! ```
//!
//! A driver calls [`Schedule::poll`] after every push, completion or cancellation and at the moment of the last
//! [`Step::WaitUntil`], and again until it gets [`Step::WaitUntil`] or [`Step::Idle`].

mod config;
mod counters;
mod request;
mod time;

pub use config::{Accumulate, Config};
pub use counters::Counters;
pub use request::{
    Answer, BatchId, Caching, EngineId, Failure, LogitsRow, Priority, Pushed, Rejection, Request, RequestId, Run,
    Source, Step,
};
pub use time::Time;

use grice_model::{Logits, Precision};

/// The queue, batcher and cache of one model.
#[derive(Debug)]
pub struct Schedule {
    config: Config,
}

impl Schedule {
    /// An empty schedule for the model of this digest and precision; both go into the keys of its cache.
    pub fn new(config: Config, bundle_digest: &str, precision: Precision) -> Schedule {
        let _ = (bundle_digest, precision);
        Schedule { config }
    }

    /// Takes a request, answers it from the cache, or turns it away.
    pub fn push(&mut self, request: Request, now: Time) -> Pushed {
        let _ = (request, now);
        todo!()
    }

    /// What to do next; call again until it says [`Step::WaitUntil`] or [`Step::Idle`].
    pub fn poll(&mut self, now: Time) -> Step {
        let _ = now;
        todo!()
    }

    /// Tells what became of a batch and frees its engine. `false`, and nothing else, if no such batch runs.
    pub fn complete(&mut self, batch: BatchId, outcome: Result<Logits, Failure>, now: Time) -> bool {
        let _ = (batch, outcome, now);
        todo!()
    }

    /// Forgets a request: no answer follows. Those that share its run are not disturbed. `false` if it has its answer.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let _ = request;
        todo!()
    }

    /// From now on pushes are turned away; what was accepted is still answered.
    pub fn drain(&mut self) {
        todo!()
    }

    /// Drains, and answers everything that is left with [`Rejection::ShuttingDown`].
    pub fn abort(&mut self) {
        todo!()
    }

    /// Whether every accepted request has its answer, no batch runs and no answer waits for [`Schedule::poll`].
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Takes an engine out of use, or back into it. A batch that runs there must still be completed.
    pub fn set_engine(&mut self, engine: EngineId, in_use: bool) {
        let _ = (engine, in_use);
        todo!()
    }

    /// How things stand.
    pub fn counters(&self) -> Counters {
        todo!()
    }

    /// How it was told to behave.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
