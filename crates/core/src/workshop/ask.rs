//! What is asked of a workshop.

use crate::generate::Choice;
use crate::task::NamedViolations;
use crate::{Context, Error, Result, Turn};
use grice_model::PerMaxim;
use serde::Deserialize;

/// Tries of a repair if nothing is said.
const ROUNDS: u32 = 3;
/// Each costs a text.
const ROUNDS_MOST: u32 = 20;

/// Options of a workshop; missing ones keep their defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkshopOptions {
    /// Thresholds that replace those of the detector's bundle: numbers from 0 to 1.
    pub thresholds: PerMaxim<Option<f32>>,
    /// Bytes for the keys and values of texts, 64 MiB if left out. Texts that do not fit beside others wait.
    pub memory_max: Option<usize>,
}

/// A job for a workshop.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Repair a response.
    Repair(RepairAsk),
    /// Write a response to a context, and repair it.
    Answer(AnswerAsk),
    /// Continue a prompt; a model with an encoder reads it instead.
    Text(TextAsk),
}

/// A response to repair.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairAsk {
    /// The response, and what it answers.
    pub turn: Turn,
    /// What it violates; the detector says if it is left out.
    #[serde(default)]
    pub violations: Option<NamedViolations>,
    /// Tries at most, 3 if left out.
    #[serde(default)]
    pub rounds: Option<u32>,
    /// What draws depend on.
    #[serde(default)]
    pub seed: u64,
}

/// A context to answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerAsk {
    /// What is answered.
    pub context: Context,
    /// What the answer may use.
    #[serde(default)]
    pub evidence: Option<String>,
    /// Tries of a repair at most, 3 if left out.
    #[serde(default)]
    pub rounds: Option<u32>,
    /// What draws depend on.
    #[serde(default)]
    pub seed: u64,
}

/// A prompt to continue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextAsk {
    /// The prompt.
    pub prompt: String,
    /// How its tokens are chosen, where it is not as the model's makers do it.
    #[serde(default)]
    pub options: Choice,
    /// The seed of a text that is drawn, if the options have none.
    #[serde(default)]
    pub draw: u64,
}

impl RepairAsk {
    /// The turn that is repaired, what it violates, and the rounds.
    ///
    /// # Errors
    /// Those of [`Turn::check`], and [`Error::Rounds`].
    pub(super) fn read(self) -> Result<(Turn, Option<PerMaxim<bool>>, u32)> {
        self.turn.check()?;
        Ok((self.turn, self.violations.map(|named| named.0), rounds_of(self.rounds)?))
    }
}

impl AnswerAsk {
    /// The turn that is answered, and the rounds.
    ///
    /// # Errors
    /// [`Error::EmptyField`], those of [`Turn::check_texts`], and [`Error::Rounds`].
    pub(super) fn read(self) -> Result<(Turn, u32)> {
        if self.context.is_blank() {
            return Err(Error::EmptyField { field: "context" });
        }
        let turn = Turn { context: self.context, evidence: self.evidence, response: String::new() };
        turn.check_texts()?;
        Ok((turn, rounds_of(self.rounds)?))
    }
}

fn rounds_of(rounds: Option<u32>) -> Result<u32> {
    match rounds.unwrap_or(ROUNDS) {
        found if found > ROUNDS_MOST => Err(Error::Rounds { found, most: ROUNDS_MOST }),
        rounds => Ok(rounds),
    }
}
