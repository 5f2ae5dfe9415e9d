//! The paths and bodies of GriceBench's own server, kept for its clients.

use super::detect::{Timing, absent, caching_of};
use super::input::{AliasItem, Thresholds, parse_json};
use super::{expect_json, expect_plain, json_response, read_body};
use crate::envelope::Arrival;
use crate::problem::Problem;
use crate::server::App;
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
    latency_ms: f64,
}

/// `POST /detect`.
pub(crate) async fn detect(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    judge(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// `POST /repair`.
pub(crate) async fn repair() -> Problem {
    absent("repair")
}

/// `POST /generate`.
pub(crate) async fn generate() -> Problem {
    absent("generate")
}

async fn judge(app: &App, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    expect_plain(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let mut item: AliasItem = parse_json(&body)?;
    let start = Instant::now();
    let served = app.catalog.find(None)?;
    let thresholds = match item.threshold {
        Some(value) => Thresholds::all(value)
            .over(served.reader().thresholds())
            .map_err(|_| Problem::unusable(format!("`threshold` must be {THRESHOLD_EXPECTED}")))?,
        None => *served.reader().thresholds(),
    };
    let tokenized = served.tokenize(item.turn()).await?;
    let mut timing = Timing::new(start.elapsed());
    let inferred = served.infer(&[tokenized.ids], arrival.deadline, caching_of(&head.headers)).await?;
    let inferred = inferred.into_iter().next().ok_or_else(|| Problem::internal("no logits for a turn"))??;
    timing.add(&inferred);
    let verdict = served.reader().verdict_above(&thresholds, &inferred.row, tokenized.reading);
    let verdict = verdict.map_err(|error| Problem::from(&error))?;
    app.metrics.count_verdict(&verdict);
    let took = arrival.start.elapsed();
    let answer = Answer {
        violations: verdict.violations,
        probabilities: verdict.probabilities,
        cooperative: verdict.cooperative,
        latency_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
    };
    let mut response = json_response(StatusCode::OK, &answer);
    timing.write(response.headers_mut(), took);
    Ok(response)
}
