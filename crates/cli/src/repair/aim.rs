//! What is done with each turn.

use grice_core::task::{Pipeline, Skills};
use grice_core::{PerMaxim, PipelineRunner, Turn};

/// What is done with each turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Its response is repaired.
    Repair,
    /// It gets a response.
    Answer,
}

/// The pipeline of a turn.
pub(super) fn course(
    aim: Aim,
    turn: Turn,
    named: Option<PerMaxim<bool>>,
    runner: &PipelineRunner,
    rounds: u32,
) -> Pipeline {
    match aim {
        // A response is not replaced by an answer of the model that repairs.
        Aim::Repair => Pipeline::repair(turn, named, Skills { answer: None, ..runner.skills() }, rounds),
        Aim::Answer => Pipeline::answer(turn, runner.skills(), rounds),
    }
}
