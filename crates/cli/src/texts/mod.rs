//! Commands that read texts and embed them: the model, and files whose rows get an answer each.

mod files;
mod model;

pub(crate) use files::{Answer, Answers, run};
pub(crate) use model::{note, note_of_cut, open, prompt_of};
