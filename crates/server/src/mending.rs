//! Runs a pipeline for one request: the detector and the models that write, in turn.

use crate::app::App;
use crate::arrival::Arrival;
use crate::judging::{Judging, Question};
use crate::problem::Problem;
use crate::retrieval::Retrieval;
use crate::scribe::Scribe;
use crate::served::Served;
use grice_core::schedule::Caching;
use grice_core::task::{Draft, Kind, Outcome, Pipeline, PipelineNext, Skills, TraceStep};
use grice_core::{PerMaxim, Recipe, Turn, Verdict};
use std::sync::Arc;
use std::time::Instant;

/// The models of a request's pipeline, and its options.
#[derive(Clone)]
pub(crate) struct Mending {
    pub(crate) served: Arc<Served>,
    /// Repairs.
    pub(crate) repairer: Option<Arc<Scribe>>,
    /// Writes answers.
    pub(crate) generator: Option<Arc<Scribe>>,
    /// Finds responses.
    pub(crate) retrieval: Option<Arc<Retrieval>>,
    /// Replace the detector's.
    pub(crate) thresholds: Option<PerMaxim<f32>>,
    pub(crate) seed: u64,
    pub(crate) caching: Caching,
}

impl Mending {
    /// What its models can do.
    pub(crate) fn skills(&self) -> Skills {
        let recipe = |maxim| self.repairer.as_ref()?.recipes().repair.get(maxim).as_ref().map(Recipe::skill);
        let answer = self.generator.as_ref().and_then(|scribe| scribe.recipes().answer.as_ref().map(Recipe::skill));
        Skills { repair: PerMaxim::from_fn(recipe), answer, nearest: self.retrieval.is_some() }
    }

    /// Runs a pipeline to its end. `tell` gets each step.
    ///
    /// # Errors
    /// 422 for a turn that cannot be judged or answered; those of the schedule.
    pub(crate) async fn run(
        &self,
        app: &Arc<App>,
        arrival: &Arrival,
        mut pipeline: Pipeline,
        mut tell: impl FnMut(&TraceStep),
    ) -> Result<Outcome, Problem> {
        let mut judging = Judging::new(Arc::clone(&self.served), arrival);
        let mut told = 0;
        loop {
            let start = Instant::now();
            match pipeline.next().clone() {
                PipelineNext::Done => break,
                PipelineNext::Detect(turns) => {
                    let (back, verdicts) = self.judge(app, arrival, judging, turns).await?;
                    judging = back;
                    pipeline.judged(verdicts, start.elapsed());
                }
                PipelineNext::Write(draft) => {
                    let text = self.write(app, arrival, draft).await?;
                    pipeline.wrote(text, start.elapsed());
                }
                PipelineNext::Nearest(turn) => {
                    let found = match &self.retrieval {
                        Some(retrieval) => retrieval.find(&app.lanes, arrival, &turn, self.caching).await?,
                        None => Vec::new(),
                    };
                    pipeline.found(found, start.elapsed());
                }
            }
            pipeline.trace()[told..].iter().for_each(&mut tell);
            told = pipeline.trace().len();
        }
        app.metrics.count_repairs(pipeline.trace());
        let none = || Problem::unusable("no response could be written; the model gave no text for this context");
        let outcome = pipeline.finish().ok_or_else(none)?;
        judging.succeed();
        Ok(outcome)
    }

    async fn judge(
        &self,
        app: &Arc<App>,
        arrival: &Arrival,
        mut judging: Judging,
        turns: Vec<Turn>,
    ) -> Result<(Judging, Vec<Verdict>), Problem> {
        let (thresholds, bytes) = (self.thresholds, bytes_of(&turns));
        let work = move || {
            let questions: Result<Vec<Question>, Problem> =
                turns.iter().map(|turn| judging.prepare(turn, thresholds)).collect();
            (judging, questions)
        };
        let ((mut judging, questions), _place) = app.lanes.run(bytes, arrival.deadline, work).await?;
        let questions = questions?;
        let questions: Vec<&Question> = questions.iter().collect();
        let found = judging.judge(&app.metrics, &questions, arrival.deadline, self.caching).await?;
        let verdicts = found.into_iter().map(|found| found.map(|found| found.verdict)).collect::<Result<_, _>>()?;
        Ok((judging, verdicts))
    }

    /// A text, or why it cannot be written.
    async fn write(&self, app: &Arc<App>, arrival: &Arrival, draft: Draft) -> Result<Result<String, String>, Problem> {
        let scribe = if draft.kind == Kind::Answer { &self.generator } else { &self.repairer };
        let scribe = Arc::clone(scribe.as_ref().ok_or_else(|| Problem::internal("a text without a model"))?);
        let (writer, seed, bytes) = (Arc::clone(&scribe), self.seed, bytes_of(std::slice::from_ref(&draft.turn)));
        let work = move || writer.prepare_by(&draft, seed, None);
        let (prepared, _place) = app.lanes.run(bytes, arrival.deadline, work).await?;
        let prepared = match prepared.ok_or_else(|| Problem::internal("a text without a recipe"))? {
            Ok(prepared) => prepared,
            // A turn that does not fit is not repaired.
            Err(problem) if problem.status.as_u16() == 422 => return Ok(Err(problem.detail)),
            Err(problem) => return Err(problem),
        };
        let told = prepared.told(&scribe);
        let begun = match scribe.begin(prepared, arrival.deadline, self.caching) {
            Ok(begun) => begun,
            Err(problem) if problem.status.as_u16() == 422 => return Ok(Err(problem.detail)),
            Err(problem) => return Err(problem),
        };
        let first = || scribe.metrics().first_token.observe(arrival.start.elapsed().as_secs_f64());
        let (generated, heard) = begun.end(first).await?;
        if let Some(heard) = &heard {
            scribe.metrics().queue.observe(heard.queued.as_secs_f64());
        }
        Ok(Ok(told.text(&generated)))
    }
}

/// The size of some turns' texts.
fn bytes_of(turns: &[Turn]) -> usize {
    turns.iter().map(Turn::bytes).sum()
}
