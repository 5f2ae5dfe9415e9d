//! `POST /v1/repair`, `POST /v1/pipeline`, and `POST /repair` of GriceBench's own server.

use super::body::{bytes_response, expect_json, json_response, read_body};
use super::detect::caching_of;
use super::input::{items_problem, parse_json};
use super::mend::{Answer, Asked, Item};
use super::steps;
use crate::app::App;
use crate::arrival::{Arrival, LoggedText};
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::schedule::Caching;
use grice_core::task::NamedViolations;
use grice_core::{Context, Turn};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::task::JoinSet;

/// GriceBench's own body.
#[derive(Debug, Deserialize)]
struct AliasItem {
    #[serde(default)]
    context: Option<Context>,
    #[serde(default)]
    evidence: Option<String>,
    response: String,
    #[serde(default)]
    violations: Option<NamedViolations>,
}

/// An error in place of an answer.
#[derive(Serialize)]
struct NoAnswer<'a> {
    error: &'a str,
    status: u16,
    index: usize,
}

#[derive(Serialize)]
struct AliasAnswer {
    repaired_response: String,
    latency_ms: f64,
}

/// Repairs one turn, or each of an array.
pub(crate) async fn repair(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    respond(&app, &arrival, request, false).await.unwrap_or_else(IntoResponse::into_response)
}

/// Answers one context, or each of an array.
pub(crate) async fn pipeline(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    respond(&app, &arrival, request, true).await.unwrap_or_else(IntoResponse::into_response)
}

/// Repairs one turn for GriceBench's clients.
pub(crate) async fn alias(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    repair_alias(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn respond(
    app: &Arc<App>,
    arrival: &Arrival,
    request: Request,
    answers: bool,
) -> Result<Response<Body>, Problem> {
    // Without such a model, whatever the body says.
    app.catalog.find_by_recipe(None, answers)?;
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let caching = caching_of(&head.headers);
    let mut response = match body.trim_ascii_start().starts_with(b"[") {
        true => answer_all(app, arrival, &body, caching, answers).await?,
        false => {
            let asked = Asked::read(app, parse_json(&body)?, caching, answers)?;
            match asked.streams {
                true => steps::response(Arc::clone(app), *arrival, asked),
                false => json_response(StatusCode::OK, &asked.answer(app, arrival).await?),
            }
        }
    };
    if app.settings.log_texts {
        response.extensions_mut().insert(LoggedText(String::from_utf8_lossy(&body).into()));
    }
    Ok(response)
}

/// Runs the turns of an array side by side. A turn at fault gets an error at its index; if all are, the request fails.
async fn answer_all(
    app: &Arc<App>,
    arrival: &Arrival,
    body: &[u8],
    caching: Caching,
    answers: bool,
) -> Result<Response<Body>, Problem> {
    let items: Vec<Box<RawValue>> = parse_json(body)?;
    let items_max = app.settings.limits.items_max;
    if items.len() > items_max {
        let detail = format!("{} turns are more than the {items_max} allowed in one request", items.len());
        return Err(Problem::too_large(detail));
    }
    let mut outcomes: Vec<Option<Result<Answer, Problem>>> = Vec::with_capacity(items.len());
    // Dropped with the request, and its tasks with it.
    let mut running = JoinSet::new();
    for (index, item) in items.iter().enumerate() {
        let asked = parse_json(item.get().as_bytes()).and_then(|item| Asked::read(app, item, caching, answers));
        match asked {
            Ok(asked) if asked.streams => {
                outcomes.push(Some(Err(Problem::unusable("`stream` is for one turn, not for those of an array"))));
            }
            Ok(asked) => {
                outcomes.push(None);
                let (app, arrival) = (Arc::clone(app), *arrival);
                running.spawn(async move { (index, asked.answer(&app, &arrival).await) });
            }
            Err(problem) => outcomes.push(Some(Err(problem))),
        }
    }
    while let Some(done) = running.join_next().await {
        let (index, outcome) = done.map_err(Problem::internal)?;
        if let Err(problem) = &outcome
            && problem.is_of_the_moment()
        {
            return Err(problem.clone());
        }
        outcomes[index] = Some(outcome);
    }
    write_all(outcomes)
}

fn write_all(outcomes: Vec<Option<Result<Answer, Problem>>>) -> Result<Response<Body>, Problem> {
    let count = outcomes.len();
    let (mut written, mut refused) = (Vec::with_capacity(count), Vec::new());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let json = match outcome.unwrap_or_else(|| Err(Problem::internal("an item without an outcome"))) {
            // As text: a value would hold the numbers in another width.
            Ok(answer) => serde_json::to_string(&answer),
            Err(problem) => {
                let none = NoAnswer { error: &problem.detail, status: problem.status.as_u16(), index };
                let json = serde_json::to_string(&none);
                refused.push((index, problem));
                json
            }
        };
        written.push(json.map_err(Problem::internal)?);
    }
    if refused.len() == count
        && let Some(problem) = items_problem(refused)
    {
        return Err(problem);
    }
    Ok(bytes_response(StatusCode::OK, "application/json", format!("[{}]", written.join(","))))
}

async fn repair_alias(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    app.catalog.find_by_recipe(None, false)?;
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let AliasItem { context, evidence, response, violations } = parse_json(&body)?;
    let turn = Turn { context: context.unwrap_or_default(), evidence, response };
    let item = Item::naming(violations);
    let asked = Asked::new(app, &item, turn, caching_of(&head.headers), false)?;
    let outcome = asked.mending.run(app, arrival, asked.pipeline, |_| ()).await?;
    let latency_ms = (arrival.start.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let mut response = json_response(StatusCode::OK, &AliasAnswer { repaired_response: outcome.response, latency_ms });
    if app.settings.log_texts {
        response.extensions_mut().insert(LoggedText(String::from_utf8_lossy(&body).into()));
    }
    Ok(response)
}
