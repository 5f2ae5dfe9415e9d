//! `POST /v1/detect` and its siblings.

use super::body::{bytes_response, expect_json, read_body};
use super::input::{Item, Items, items_problem};
use crate::app::App;
use crate::arrival::{Arrival, LoggedText};
use crate::attempt::Attempt;
use crate::inferred::Inferred;
use crate::problem::Problem;
use crate::served::Served;
use crate::texts::Tokenized;
use crate::timing::Timing;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::schedule::Caching;
use grice_core::{PerMaxim, Verdict};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// An answer to one turn: the verdict, and who gave it.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    model: &'a str,
}

/// In the place of an answer, why there is none.
#[derive(Serialize)]
struct NoAnswer<'a> {
    error: &'a str,
    /// The status that the turn would have had alone.
    status: u16,
    index: usize,
}

/// A body made ready to run.
struct Asked {
    is_array: bool,
    /// Each turn, or why it cannot be judged.
    items: Vec<Result<Prepared, Problem>>,
    shares: Vec<Share>,
}

/// A turn made ready to run.
struct Prepared {
    served: Arc<Served>,
    tokenized: Tokenized,
    thresholds: Option<PerMaxim<f32>>,
}

/// What one model has to do with a request.
struct Share {
    attempt: Attempt,
    timing: Timing,
}

/// Judges one turn, or each of an array.
pub(crate) async fn detect(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    judge(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// 501: no bundle of today has such a task.
pub(crate) async fn repair() -> Problem {
    absent("repair")
}

/// 501.
pub(crate) async fn generate() -> Problem {
    absent("generate")
}

/// 501.
pub(crate) async fn pipeline() -> Problem {
    absent("pipeline")
}

pub(super) fn absent(task: &str) -> Problem {
    let detail =
        format!("no model here has the task `{task}`; the models that are served detect violations, see /v1/models");
    Problem::new(StatusCode::NOT_IMPLEMENTED, "no-such-task", detail)
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
        if !self.shares.iter().any(|share| share.attempt.is_of(&served)) {
            self.shares.push(Share { attempt: Attempt::new(&served, arrival.start), timing: Timing::default() });
        }
        let thresholds = item.thresholds.map(|given| given.over(served.reader().thresholds())).transpose()?;
        let start = Instant::now();
        let tokenized = served.tokenize(&item.turn());
        if let Some(timing) = self.timing(&served) {
            timing.tokenize += start.elapsed();
        }
        Ok(Prepared { tokenized: tokenized?, served, thresholds })
    }

    fn timing(&mut self, served: &Arc<Served>) -> Option<&mut Timing> {
        self.shares.iter_mut().find(|share| share.attempt.is_of(served)).map(|share| &mut share.timing)
    }

    /// Judges what can be judged, whatever becomes of the others.
    async fn answer(mut self, app: &App, arrival: &Arrival, caching: Caching) -> Result<Response<Body>, Problem> {
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
            // Neighbours for one model go to it together; nearly always that is all of them.
            while let Some(Ok(item)) =
                items.next_if(|next| matches!(next, Ok(next) if Arc::ptr_eq(&next.served, &run[0].served)))
            {
                run.push(item);
            }
            self.judge_run(app, &run, arrival, caching, &mut answers).await?;
        }
        self.write(answers, arrival)
    }

    async fn judge_run(
        &mut self,
        app: &App,
        run: &[Prepared],
        arrival: &Arrival,
        caching: Caching,
        answers: &mut Vec<Result<String, Problem>>,
    ) -> Result<(), Problem> {
        let served = &run[0].served;
        let sequences: Vec<Arc<[u32]>> = run.iter().map(|item| Arc::clone(&item.tokenized.ids)).collect();
        let inferred = served.infer(&sequences, arrival.deadline, caching).await?;
        let start = Instant::now();
        for (item, inferred) in run.iter().zip(inferred) {
            if let (Some(timing), Ok(inferred)) = (self.timing(served), &inferred) {
                timing.add(inferred);
            }
            answers.push(inferred.and_then(|inferred| judge_one(app, item, &inferred)));
        }
        if let Some(timing) = self.timing(served) {
            timing.output += start.elapsed();
        }
        Ok(())
    }

    /// One that cannot be judged gets its error in its place, and the others their answers. Where there is no answer at all, the
    /// errors are the request's.
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
        self.shares.into_iter().for_each(|share| share.attempt.succeed(&share.timing));
        response
    }
}

fn judge_one(app: &App, item: &Prepared, inferred: &Inferred) -> Result<String, Problem> {
    let reader = item.served.reader();
    let thresholds = item.thresholds.as_ref().unwrap_or(reader.thresholds());
    let verdict = reader.verdict_above(thresholds, &inferred.row, item.tokenized.reading);
    let verdict = verdict.map_err(|error| Problem::from(&error))?;
    app.metrics.count_verdict(&verdict);
    to_json(&Answer { verdict: &verdict, model: item.served.name() })
}

fn to_json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|error| Problem::internal(format!("writing an answer: {error}")))
}

/// `Cache-Control: no-store` asks for a run of its own that leaves no trace; `no-cache` too, which comes to the same here.
pub(super) fn caching_of(headers: &HeaderMap) -> Caching {
    let told = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if told.contains("no-store") || told.contains("no-cache") { Caching::Bypass } else { Caching::Use }
}
