//! A pass of courses while an engine's thread has it.

use super::queue::JobId;
use super::{EngineId, PassId};
use crate::generate::{DecodeError, Decoding, Progress, Work};
use grice_model::{EngineError, GeneratorEngine};

/// A pass of some courses for an engine to run now. It owns their decodings until [`super::Schedule::complete_courses`], so tokens are
/// chosen on the engine's thread, without holding a lock.
#[derive(Clone, Debug)]
pub struct CourseRun {
    /// The pass.
    pub id: PassId,
    /// The engine to run it on, which is busy until completion.
    pub engine: EngineId,
    /// What is to be computed.
    pub work: Work,
    pub(super) parts: Vec<Part>,
}

/// One course in it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) job: JobId,
    pub(super) decoding: Decoding,
    /// Rows of logits that it asks for; none before the end of its prompt.
    pub(super) asked: usize,
    /// What its logits led to.
    pub(super) outcome: Option<Result<Progress, DecodeError>>,
}

impl CourseRun {
    /// Runs it on an engine and chooses the next tokens.
    ///
    /// # Errors
    /// Errors of the engine. What was decided before stays so.
    pub fn run(&mut self, engine: &mut (impl GeneratorEngine + ?Sized)) -> Result<(), EngineError> {
        if !self.work.sources.is_empty() {
            engine.read(&self.work.sources)?;
        }
        let logits = engine.step(&self.work.pass)?;
        self.decide(logits).map_err(|error| EngineError::Run(error.to_string()))
    }

    /// Chooses the next tokens from the logits of its pass, `[asked, vocabulary]`, which are overwritten.
    ///
    /// # Errors
    /// [`DecodeError::Shape`] for another number of logits. What goes wrong for one course is part of the pass's outcome.
    pub fn decide(&mut self, logits: &mut [f32]) -> Result<(), DecodeError> {
        let length = |part: &Part| part.asked.saturating_mul(part.decoding.start().vocabulary);
        let expected: usize = self.parts.iter().map(length).sum();
        if logits.len() != expected {
            return Err(DecodeError::Shape { expected, found: logits.len() });
        }
        let mut rest = logits;
        for part in &mut self.parts {
            let (own, after) = rest.split_at_mut(length(part));
            rest = after;
            if part.asked > 0 {
                part.outcome = Some(part.decoding.advance(own));
            }
        }
        Ok(())
    }

    /// How many courses are in it.
    pub fn courses(&self) -> usize {
        self.parts.len()
    }
}
