//! The bodies of `/v1/repair` and `/v1/pipeline`: what is asked of a turn, and what came of it.

use super::input::Thresholds;
use crate::app::App;
use crate::arrival::Arrival;
use crate::mending::Mending;
use crate::problem::Problem;
use crate::scribe::Scribe;
use grice_core::schedule::Caching;
use grice_core::task::{NamedViolations, Outcome, Pipeline, TraceStep};
use grice_core::{Context, PerMaxim, Turn};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Repairs of a response if the request does not say.
const ROUNDS: u32 = 3;
/// Each round costs a text.
const ROUNDS_MOST: u32 = 20;

/// A turn to repair, or to answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    context: Option<Context>,
    #[serde(default)]
    evidence: Option<String>,
    /// What is repaired; a pipeline writes it.
    #[serde(default)]
    response: Option<String>,
    #[serde(default)]
    violations: Option<NamedViolations>,
    #[serde(default)]
    rounds: Option<u32>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    trace: bool,
    #[serde(default)]
    stream: bool,
    /// The model that repairs.
    #[serde(default)]
    model: Option<String>,
    /// The model that answers.
    #[serde(default)]
    generator: Option<String>,
    #[serde(default)]
    detector: Option<String>,
    #[serde(default)]
    thresholds: Option<Thresholds>,
}

/// What came of a turn.
#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    generated: Option<String>,
    repaired: String,
    is_fallback: bool,
    before: PerMaxim<f32>,
    after: PerMaxim<f32>,
    cooperative: bool,
    rounds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<TraceStep>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: Option<String>,
    detector: String,
}

/// A turn on its way, ready to run.
pub(super) struct Asked {
    pub(super) mending: Mending,
    pub(super) pipeline: Pipeline,
    with_trace: bool,
    pub(super) streams: bool,
}

impl Item {
    /// Only with violations that are named.
    pub(super) fn naming(violations: Option<NamedViolations>) -> Item {
        Item { violations, ..Item::default() }
    }

    fn turn(&mut self, answers: bool) -> Result<Turn, Problem> {
        let context = self.context.take().unwrap_or_default();
        let evidence = self.evidence.take();
        match (self.response.take(), answers) {
            (Some(response), false) => Ok(Turn { context, evidence, response }),
            (None, false) => Err(Problem::unusable("missing field `response`")),
            (Some(_), true) => {
                Err(Problem::unusable("`response` has no place here: the pipeline writes it; see /v1/repair"))
            }
            (None, true) => {
                if context.is_blank() {
                    return Err(Problem::unusable("`context` is empty; it must hold the text to answer"));
                }
                let turn = Turn { context, evidence, response: String::new() };
                turn.check_texts().map_err(|error| Problem::from(&error))?;
                Ok(turn)
            }
        }
    }
}

impl Asked {
    /// # Errors
    /// 422 for a turn that cannot be judged or answered, and those of [`crate::catalog::Catalog::find`].
    pub(super) fn read(app: &App, mut item: Item, caching: Caching, answers: bool) -> Result<Asked, Problem> {
        let turn = item.turn(answers)?;
        Asked::new(app, &item, turn, caching, answers)
    }

    /// As [`Asked::read`], for a turn that is read already.
    pub(super) fn new(app: &App, item: &Item, turn: Turn, caching: Caching, answers: bool) -> Result<Asked, Problem> {
        let rounds = item.rounds.unwrap_or(ROUNDS);
        if rounds > ROUNDS_MOST {
            return Err(Problem::unusable(format!("`rounds` is {rounds}; it must be at most {ROUNDS_MOST}")));
        }
        let catalog = &app.catalog;
        let served = catalog.find(item.detector.as_deref())?;
        let thresholds = item.thresholds.map(|given| given.over(served.task().thresholds())).transpose()?;
        let find = |name: &Option<String>, of_answers: bool, needed: bool| match catalog
            .find_by_recipe(name.as_deref(), of_answers)
        {
            Ok(scribe) => Ok(Some(scribe)),
            Err(problem) if needed || name.is_some() => Err(problem),
            Err(_) => Ok(None),
        };
        let repairer = find(&item.model, false, !answers)?;
        // A response is replaced by an answer only by a model that the request names for it.
        let generator = match answers || item.generator.is_some() {
            true => find(&item.generator, true, answers)?,
            false => None,
        };
        let seed = item.seed.unwrap_or(0);
        let retrieval = catalog.retrieval();
        let mending = Mending { served, repairer, generator, retrieval, thresholds, seed, caching };
        let named = item.violations.map(|named| named.0);
        let pipeline = match answers {
            true => Pipeline::answer(turn, mending.skills(), rounds),
            false => {
                turn.check().map_err(|error| Problem::from(&error))?;
                Pipeline::repair(turn, named, mending.skills(), rounds)
            }
        };
        Ok(Asked { mending, pipeline, with_trace: item.trace, streams: item.stream })
    }

    pub(super) async fn answer(self, app: &Arc<App>, arrival: &Arrival) -> Result<Answer, Problem> {
        let Asked { mending, pipeline, with_trace, .. } = self;
        let outcome = mending.run(app, arrival, pipeline, |_| ()).await?;
        Ok(Answer::new(outcome, &mending, with_trace))
    }
}

impl Answer {
    pub(super) fn new(outcome: Outcome, mending: &Mending, with_trace: bool) -> Answer {
        let name = |scribe: &Option<Arc<Scribe>>| Some(scribe.as_ref()?.name().to_owned());
        Answer {
            generator: outcome.generated.as_ref().and_then(|_| name(&mending.generator)),
            generated: outcome.generated,
            repaired: outcome.response,
            is_fallback: outcome.is_fallback,
            before: outcome.before.probabilities,
            after: outcome.after.probabilities,
            cooperative: outcome.after.cooperative,
            rounds: outcome.rounds,
            trace: with_trace.then_some(outcome.trace),
            model: name(&mending.repairer),
            detector: mending.served.name().to_owned(),
        }
    }
}
