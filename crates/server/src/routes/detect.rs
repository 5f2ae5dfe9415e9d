//! `POST /v1/detect` and its siblings.

use super::input::{Item, Items, items_problem};
use super::{bytes_response, expect_json, expect_plain, read_body};
use crate::envelope::{Arrival, LoggedText};
use crate::problem::Problem;
use crate::served::{Cached, Inferred, Served};
use crate::server::App;
use crate::texts::Tokenized;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::schedule::Caching;
use grice_core::{PerMaxim, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer to one turn: the verdict, and who gave it.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    model: &'a str,
}

/// What stands in an array in place of the answer to a turn that has none.
#[derive(Serialize)]
struct NoAnswer<'a> {
    error: &'a str,
    status: u16,
    index: usize,
}

/// A turn made ready to run.
struct Prepared {
    served: Arc<Served>,
    tokenized: Tokenized,
    thresholds: Option<PerMaxim<f32>>,
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
    expect_plain(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let items = Items::parse(&body, app.settings.limits.items_max)?;
    let caching = caching_of(&head.headers);
    let start = Instant::now();
    let mut response = match items {
        Items::One(item) => {
            let prepared = prepare(app, *item).await?;
            let mut timing = Timing::new(start.elapsed());
            let ids = [Arc::clone(&prepared.tokenized.ids)];
            let inferred = prepared.served.infer(&ids, arrival.deadline, caching).await?;
            let inferred = inferred.into_iter().next().ok_or_else(|| Problem::internal("no logits for a turn"))??;
            timing.add(&inferred);
            let verdict = read(app, &prepared, &inferred)?;
            let mut out = Vec::with_capacity(256);
            write_answer(&mut out, &verdict, prepared.served.name())?;
            finish(out, &timing, arrival)
        }
        Items::Many(items) => judge_many(app, arrival, items, caching).await?,
    };
    if app.settings.log_texts {
        response.extensions_mut().insert(LoggedText(String::from_utf8_lossy(&body).into()));
    }
    Ok(response)
}

/// One that cannot be judged gets its error in its place, and the others their answers. Where there is no answer at all, the errors are
/// the request's.
async fn judge_many(
    app: &Arc<App>,
    arrival: &Arrival,
    items: Vec<Result<Item, Problem>>,
    caching: Caching,
) -> Result<Response<Body>, Problem> {
    let start = Instant::now();
    let count = items.len();
    let mut prepared = Vec::with_capacity(count);
    let mut refused = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let item = match item {
            Ok(item) => prepare(app, item).await,
            Err(problem) => Err(problem),
        };
        match item {
            Ok(item) => prepared.push((index, item)),
            Err(problem) => _ = refused.insert(index, problem),
        }
        if Instant::now() >= arrival.deadline {
            return Err(Problem::deadline());
        }
    }
    let mut timing = Timing::new(start.elapsed());
    let mut judged = BTreeMap::new();
    // Runs of items for one model go to it together; nearly always that is all of them.
    for run in prepared.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.served, &b.served)) {
        let served = &run[0].1.served;
        let sequences: Vec<Arc<[u32]>> = run.iter().map(|(_, item)| Arc::clone(&item.tokenized.ids)).collect();
        let inferred = served.infer(&sequences, arrival.deadline, caching).await?;
        for ((index, item), inferred) in run.iter().zip(inferred) {
            let verdict = inferred.and_then(|inferred| {
                timing.add(&inferred);
                read(app, item, &inferred)
            });
            match verdict {
                Ok(verdict) => _ = judged.insert(*index, (verdict, served.name())),
                Err(problem) => _ = refused.insert(*index, problem),
            }
        }
    }
    if judged.is_empty()
        && let Some(problem) = items_problem(std::mem::take(&mut refused).into_iter().collect())
    {
        return Err(problem);
    }
    Ok(finish(write_answers(count, &judged, &refused)?, &timing, arrival))
}

/// The array of answers, each in the place of its turn.
fn write_answers(
    count: usize,
    judged: &BTreeMap<usize, (Verdict, &str)>,
    refused: &BTreeMap<usize, Problem>,
) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(256 * count + 2);
    out.push(b'[');
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        match (judged.get(&index), refused.get(&index)) {
            (Some((verdict, model)), _) => write_answer(&mut out, verdict, model)?,
            (None, Some(problem)) => {
                let none = NoAnswer { error: &problem.detail, status: problem.status.as_u16(), index };
                write_json(&mut out, &none)?;
            }
            (None, None) => return Err(Problem::internal("an item without an outcome")),
        }
    }
    out.push(b']');
    Ok(out)
}

async fn prepare(app: &App, mut item: Item) -> Result<Prepared, Problem> {
    let served = app.catalog.find(item.model.as_deref())?;
    let thresholds = item.thresholds.map(|given| given.over(served.reader().thresholds())).transpose()?;
    let tokenized = served.tokenize(item.turn()).await?;
    Ok(Prepared { served, tokenized, thresholds })
}

fn read(app: &App, item: &Prepared, inferred: &Inferred) -> Result<Verdict, Problem> {
    let reader = item.served.reader();
    let thresholds = item.thresholds.as_ref().unwrap_or(reader.thresholds());
    let verdict = reader.verdict_above(thresholds, &inferred.row, item.tokenized.reading);
    let verdict = verdict.map_err(|error| Problem::from(&error))?;
    app.metrics.count_verdict(&verdict);
    Ok(verdict)
}

fn write_answer(out: &mut Vec<u8>, verdict: &Verdict, model: &str) -> Result<(), Problem> {
    write_json(out, &Answer { verdict, model })
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Problem> {
    serde_json::to_writer(out, value).map_err(|error| Problem::internal(format!("writing an answer: {error}")))
}

fn finish(out: Vec<u8>, timing: &Timing, arrival: &Arrival) -> Response<Body> {
    let mut response = bytes_response(StatusCode::OK, "application/json", out);
    timing.write(response.headers_mut(), arrival.start.elapsed());
    response
}

/// `Cache-Control: no-store` asks for a run of its own that leaves no trace; `no-cache` too, which comes to the same here.
pub(super) fn caching_of(headers: &HeaderMap) -> Caching {
    let told = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if told.contains("no-store") || told.contains("no-cache") { Caching::Bypass } else { Caching::Use }
}

/// Where the time went: for several turns, the longest wait and the longest run.
#[derive(Default)]
pub(super) struct Timing {
    tokenize: Duration,
    queue: Duration,
    infer: Duration,
    cached: Option<Cached>,
}

impl Timing {
    pub(super) fn new(tokenize: Duration) -> Timing {
        Timing { tokenize, ..Timing::default() }
    }

    pub(super) fn add(&mut self, inferred: &Inferred) {
        self.queue = self.queue.max(inferred.queued);
        self.infer = self.infer.max(inferred.ran);
        self.cached = Some(self.cached.map_or(inferred.cached, |cached| cached.min(inferred.cached)));
    }

    /// Sets `Server-Timing` and `X-Grice-Cache`.
    pub(super) fn write(&self, headers: &mut HeaderMap, total: Duration) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let mut text = Vec::with_capacity(96);
        let (tokenize, queue, infer, total) = (ms(self.tokenize), ms(self.queue), ms(self.infer), ms(total));
        // Writing to a vector cannot fail.
        _ = write!(
            text,
            "tokenize;dur={tokenize:.3}, queue;dur={queue:.3}, infer;dur={infer:.3}, total;dur={total:.3}"
        );
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            headers.insert("server-timing", value);
        }
        if let Some(cached) = self.cached {
            headers.insert("x-grice-cache", HeaderValue::from_static(cached.name()));
        }
    }
}
