//! `POST /v1/detect` and its siblings.

use super::body::{bytes_response, expect_json, read_body};
use super::explain::{check_runs, run_explanations, runs_of};
use super::input::{Item, Items, items_problem};
use crate::app::App;
use crate::arrival::{Arrival, LoggedText};
use crate::judging::{Finding, Judging, Question};
use crate::problem::Problem;
use crate::timing::Timing;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::schedule::Caching;
use grice_core::task::{Explain, Explanation};
use grice_core::{Turn, Verdict};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// The answer to one turn: the verdict, what moved it if that was asked for, and the model's name.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
    model: &'a str,
}

/// An error in place of an answer.
#[derive(Serialize)]
struct NoAnswer<'a> {
    error: &'a str,
    /// The status that the turn alone would have had.
    status: u16,
    index: usize,
}

/// A body that is ready to run.
struct Asked {
    is_array: bool,
    /// Each turn, or why it cannot be judged.
    items: Vec<Result<Prepared, Problem>>,
    /// One for each requested model.
    shares: Vec<Judging>,
}

/// A turn that is ready to run.
struct Prepared {
    /// The index of its model in the shares.
    share: usize,
    question: Question,
    /// The turn, if its verdict is to be explained.
    explained: Option<Turn>,
}

/// Judges one turn, or each of an array.
pub(crate) async fn detect(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    judge(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn judge(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let (reader, bytes, arrived) = (Arc::clone(app), body.clone(), *arrival);
    let work = move || Asked::read(&reader, &bytes, &arrived);
    let (asked, _place) = app.lanes.run(body.len(), arrival.deadline, work).await?;
    let mut response = asked?.answer(app, arrival, caching_of(&head.headers)).await?;
    if app.settings.log_texts {
        response.extensions_mut().insert(LoggedText(String::from_utf8_lossy(&body).into()));
    }
    Ok(response)
}

impl Asked {
    fn read(app: &App, body: &[u8], arrival: &Arrival) -> Result<Asked, Problem> {
        let (is_array, items) = match Items::parse(body, app.settings.limits.items_max)? {
            Items::One(item) => (false, vec![Ok(*item)]),
            Items::Many(items) => (true, items),
        };
        let explained = items.iter().flatten().filter(|item| item.explain == Some(true)).count();
        check_runs(items.len(), explained, app.settings.limits.items_max)?;
        let mut asked = Asked { is_array, items: Vec::with_capacity(items.len()), shares: Vec::new() };
        for item in items {
            let prepared = item.and_then(|item| asked.prepare(app, item, arrival));
            asked.items.push(prepared);
            if Instant::now() >= arrival.deadline {
                return Err(Problem::deadline());
            }
        }
        Ok(asked)
    }

    fn prepare(&mut self, app: &App, mut item: Item, arrival: &Arrival) -> Result<Prepared, Problem> {
        let served = app.catalog.find(item.model.as_deref())?;
        let known = self.shares.iter().position(|share| Arc::ptr_eq(share.served(), &served));
        let share = known.unwrap_or(self.shares.len());
        if known.is_none() {
            self.shares.push(Judging::new(Arc::clone(&served), arrival));
        }
        let thresholds = item.thresholds.map(|given| given.over(served.task().thresholds())).transpose()?;
        let (turn, explains) = (item.turn(), item.explain == Some(true));
        let question = self.shares[share].prepare(&turn, thresholds)?;
        Ok(Prepared { share, question, explained: explains.then_some(turn) })
    }

    /// Judges the turns that can be judged; the others get errors.
    async fn answer(mut self, app: &Arc<App>, arrival: &Arrival, caching: Caching) -> Result<Response<Body>, Problem> {
        let mut answers = Vec::with_capacity(self.items.len());
        let mut items = std::mem::take(&mut self.items).into_iter().peekable();
        while let Some(item) = items.next() {
            let mut run = match item {
                Ok(item) => vec![item],
                Err(problem) => {
                    answers.push(Err(problem));
                    continue;
                }
            };
            // Adjacent turns for one model go to it together; usually these are all turns.
            while let Some(Ok(item)) = items.next_if(|next| matches!(next, Ok(next) if next.share == run[0].share)) {
                run.push(item);
            }
            self.judge_run(app, &run, arrival, caching, &mut answers).await?;
        }
        self.write(answers, arrival)
    }

    async fn judge_run(
        &mut self,
        app: &Arc<App>,
        run: &[Prepared],
        arrival: &Arrival,
        caching: Caching,
        answers: &mut Vec<Result<String, Problem>>,
    ) -> Result<(), Problem> {
        let share = &mut self.shares[run[0].share];
        let questions: Vec<&Question> = run.iter().map(|item| &item.question).collect();
        let found = share.judge(&app.metrics, &questions, arrival.deadline, caching).await?;
        let mut explanations = explain(app, share, run, &found, arrival, caching).await?.into_iter();
        let start = Instant::now();
        for (found, item) in found.into_iter().zip(run) {
            let write = |found: Finding| {
                let explanation = item.explained.as_ref().and_then(|_| explanations.next()).transpose()?;
                to_json(&Answer { verdict: &found.verdict, explanation, model: share.served().name() })
            };
            answers.push(found.and_then(write));
        }
        share.timing.output += start.elapsed();
        Ok(())
    }

    /// A turn that cannot be judged gets an error at its index, and the others their answers. If there is no answer at all, the
    /// request itself fails with all errors.
    fn write(self, answers: Vec<Result<String, Problem>>, arrival: &Arrival) -> Result<Response<Body>, Problem> {
        if !self.is_array {
            let answer = answers.into_iter().next().ok_or_else(|| Problem::internal("an item without an outcome"))?;
            return Ok(self.finish(answer?, arrival));
        }
        let count = answers.len();
        let mut written = Vec::with_capacity(count);
        let mut refused = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(answer) => written.push(answer),
                Err(problem) => {
                    let none = NoAnswer { error: &problem.detail, status: problem.status.as_u16(), index };
                    written.push(to_json(&none)?);
                    refused.push((index, problem));
                }
            }
        }
        if refused.len() == count
            && let Some(problem) = items_problem(refused)
        {
            return Err(problem);
        }
        Ok(self.finish(format!("[{}]", written.join(",")), arrival))
    }

    fn finish(self, body: String, arrival: &Arrival) -> Response<Body> {
        let mut response = bytes_response(StatusCode::OK, "application/json", body);
        let mut whole = Timing::default();
        self.shares.iter().for_each(|share| whole.join(&share.timing));
        whole.write(response.headers_mut(), arrival.start.elapsed());
        self.shares.into_iter().for_each(Judging::succeed);
        response
    }
}

/// The explanations of the judged turns that are to have one, in order.
async fn explain(
    app: &Arc<App>,
    share: &mut Judging,
    run: &[Prepared],
    found: &[Result<Finding, Problem>],
    arrival: &Arrival,
    caching: Caching,
) -> Result<Vec<Result<Explanation, Problem>>, Problem> {
    let judged =
        run.iter().zip(found).filter_map(|(item, found)| Some((item.explained.as_ref()?, found.as_ref().ok()?)));
    let judged: Vec<(&Turn, &Finding)> = judged.collect();
    if judged.is_empty() {
        return Ok(Vec::new());
    }
    let (max_tokens, runs) = (share.served().task().manifest().max_tokens, runs_of(app.settings.limits.items_max)?);
    let explains = judged.iter().map(|(turn, found)| Explain::new(turn, &found.verdict, max_tokens, runs)).collect();
    run_explanations(app, share, explains, arrival, caching).await
}

fn to_json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|error| Problem::internal(format!("writing an answer: {error}")))
}

/// `Cache-Control: no-store` means a separate run that stores nothing; `no-cache` means the same here.
pub(super) fn caching_of(headers: &HeaderMap) -> Caching {
    let told = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if told.contains("no-store") || told.contains("no-cache") { Caching::Bypass } else { Caching::Use }
}
