//! The paths and bodies of GriceBench's own server, kept for its clients.

use super::body::{expect_json, json_response, read_body};
use super::detect::caching_of;
use super::input::{AliasItem, Thresholds, parse_json};
use crate::app::App;
use crate::arrival::Arrival;
use crate::judging::{Judging, Question};
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::{PerMaxim, THRESHOLD_EXPECTED};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

#[derive(Serialize)]
struct Answer {
    violations: PerMaxim<bool>,
    probabilities: PerMaxim<f32>,
    cooperative: bool,
    #[serde(skip_serializing_if = "is_zero")]
    unknown_share: f32,
    latency_ms: f64,
}

/// As in a verdict, left out if it is 0.
fn is_zero(share: &f32) -> bool {
    *share == 0.0
}

/// `POST /detect`.
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
    let (reader, arrived) = (Arc::clone(app), *arrival);
    let work = move |body: &[u8]| read(&reader, body, &arrived);
    let (prepared, _place) = app.lanes.run(body.len(), arrival.deadline, move || work(&body)).await?;
    let (mut judging, question) = prepared?;
    let found = judging.judge(&app.metrics, &[&question], arrival.deadline, caching_of(&head.headers)).await?;
    let found = found.into_iter().next().ok_or_else(|| Problem::internal("no logits for a turn"))?;
    let verdict = found?.verdict;
    let start = Instant::now();
    let took = arrival.start.elapsed();
    let answer = Answer {
        violations: verdict.violations,
        probabilities: verdict.probabilities,
        cooperative: verdict.cooperative,
        unknown_share: verdict.unknown_share,
        latency_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
    };
    let mut response = json_response(StatusCode::OK, &answer);
    judging.timing.output += start.elapsed();
    judging.timing.write(response.headers_mut(), took);
    judging.succeed();
    Ok(response)
}

fn read(app: &App, body: &[u8], arrival: &Arrival) -> Result<(Judging, Question), Problem> {
    let mut item: AliasItem = parse_json(body)?;
    let served = app.catalog.find(None)?;
    let mut judging = Judging::new(Arc::clone(&served), arrival);
    let above = |value| Thresholds::all(value).over(served.task().thresholds());
    let thresholds = item.threshold.map(above).transpose();
    let thresholds = thresholds.map_err(|_| Problem::unusable(format!("`threshold` must be {THRESHOLD_EXPECTED}")))?;
    let question = judging.prepare(&item.turn(), thresholds)?;
    Ok((judging, question))
}
