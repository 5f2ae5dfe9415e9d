//! Texts on one engine, for a caller that runs its passes in a loop: the schedule without a clock, a cache or a limit of waiting texts.
//!
//! ```text
//! Courses::add ─► schedule ─► Courses::next ─► engine ─► Courses::take ─► new tokens, and again
//! ```

use super::bounds::{Bounds, Refused};
use super::course::Work;
use super::decoding::Decoding;
use super::options::DecodeOptions;
use super::outcome::{DecodeError, Generated, Start};
use crate::Error;
use crate::schedule::{
    Config, Counters, CourseRun, EngineId, Failure, Rejection, RequestId, Retry, Schedule, Step, Time,
};
use crate::text::Speller;
use grice_model::Precision;
use std::sync::Arc;

/// The only engine.
const ENGINE: EngineId = EngineId(0);

/// A course's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CourseId(RequestId);

/// What a pass led to for a course.
#[derive(Debug)]
pub enum Event<'a> {
    /// New tokens that are certain.
    Tokens(CourseId, &'a [u32]),
    /// The course has ended.
    Done(CourseId, Vec<Generated>),
    /// It cannot go on.
    Failed(CourseId, DecodeError),
}

/// All courses of an engine.
#[derive(Debug)]
pub struct Courses {
    schedule: Schedule,
    /// The pass that the caller runs.
    run: Option<CourseRun>,
}

impl Courses {
    /// None yet.
    pub fn new(bounds: Bounds) -> Courses {
        let config = Config { batch_rows_max: usize::MAX, cache_bytes_max: 0, ..Config::default() };
        // Nothing is cached, so the key of the model does not matter.
        let schedule = Schedule::new(config, "", Precision::Fp32).with_courses(bounds, 0);
        Courses { schedule, run: None }
    }

    /// Adds a course, which waits until there is room for it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add(
        &mut self,
        options: Arc<DecodeOptions>,
        start: Start,
        speller: Option<Speller>,
    ) -> Result<CourseId, Refused> {
        let decoding = match speller {
            Some(speller) => Decoding::with_text(options, start, speller)?,
            None => Decoding::new(options, start)?,
        };
        self.schedule.add_course(decoding, Time::START).map(CourseId)
    }

    /// Ends a course. Its memory is free at once, unless it is in a pass: then after it.
    pub fn cancel(&mut self, id: CourseId) {
        self.schedule.cancel(id.0);
    }

    /// Whether nothing is to be run.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_empty()
    }

    /// How much waits and runs, and the engine's memory.
    pub fn counters(&self) -> Counters {
        self.schedule.counters()
    }

    /// What is to run next; `None` if there is nothing. Texts that have begun go first, a token each; then prompts, in pieces if they are
    /// longer than what is left of the pass.
    #[allow(clippy::should_implement_trait, reason = "it is no iterator: what is next depends on what is taken")]
    pub fn next(&mut self) -> Option<Work> {
        loop {
            match self.schedule.poll(Time::START) {
                Step::Courses(mut run) => {
                    let work = std::mem::take(&mut run.work);
                    self.run = Some(run);
                    return Some(work);
                }
                Step::WaitUntil(_) | Step::Idle => return None,
                // Answers that were not taken. There are no sequences that run once.
                Step::Tokens(..) | Step::Text(_) | Step::Answer(_) | Step::Run(_) => {}
            }
        }
    }

    /// Takes the logits of the last pass, and tells what they led to.
    pub fn take(&mut self, logits: &mut [f32], mut tell: impl FnMut(Event<'_>)) {
        let Some(mut run) = self.run.take() else { return };
        let failed = |error| Failure { error: Arc::new(Error::Decode(error)), retry: Retry::Never };
        let outcome = run.decide(logits).map_err(failed);
        self.schedule.complete_courses(run, outcome, Time::START);
        while let Some(step) = self.schedule.told() {
            match step {
                Step::Tokens(id, tokens) => tell(Event::Tokens(CourseId(id), &tokens)),
                Step::Text(answer) => match answer.outcome {
                    Ok(texts) => tell(Event::Done(CourseId(answer.request), texts.to_vec())),
                    Err(Rejection::Failed(error)) => {
                        if let Error::Decode(error) = &*error {
                            tell(Event::Failed(CourseId(answer.request), error.clone()));
                        }
                    }
                    Err(_) => {}
                },
                _ => {}
            }
        }
    }

    /// The engine lost what it kept: all courses run their tokens again, and draw the same.
    pub fn refill(&mut self) {
        self.schedule.set_engine(ENGINE, false);
        if let Some(run) = self.run.take() {
            self.schedule.complete_courses(run, Ok(()), Time::START);
        }
        self.schedule.set_engine(ENGINE, true);
    }
}
