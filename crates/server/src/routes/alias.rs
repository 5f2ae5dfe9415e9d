//! The paths and bodies of GriceBench's own server, kept for its clients.

use super::detect::{absent, caching_of};
use super::input::{AliasItem, Thresholds, parse_json};
use super::{expect_json, json_response, read_body};
use crate::envelope::Arrival;
use crate::problem::Problem;
use crate::served::Served;
use crate::server::App;
use crate::statistics::Attempt;
use crate::texts::Tokenized;
use crate::timing::Timing;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::{PerMaxim, THRESHOLD_EXPECTED};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Serialize)]
struct Answer {
    violations: PerMaxim<bool>,
    probabilities: PerMaxim<f32>,
    cooperative: bool,
    #[serde(skip_serializing_if = "is_zero")]
    unknown_share: f32,
    latency_ms: f64,
}

/// As in a verdict, which leaves it out too.
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

/// `POST /repair`.
pub(crate) async fn repair() -> Problem {
    absent("repair")
}

/// `POST /generate`.
pub(crate) async fn generate() -> Problem {
    absent("generate")
}

async fn judge(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let (reader, start) = (Arc::clone(app), arrival.start);
    let work = move |body: &[u8]| Prepared::read(&reader, body, start);
    let (prepared, _place) = app.lanes.run(body.len(), arrival.deadline, move || work(&body)).await?;
    let Prepared { served, attempt, thresholds, tokenized, tokenize } = prepared?;
    let inferred = served.infer(&[tokenized.ids], arrival.deadline, caching_of(&head.headers)).await?;
    let inferred = inferred.into_iter().next().ok_or_else(|| Problem::internal("no logits for a turn"))??;
    let mut timing = Timing::new(tokenize);
    timing.add(&inferred);
    let start = Instant::now();
    let verdict = served.reader().verdict_above(&thresholds, &inferred.row, tokenized.reading);
    let verdict = verdict.map_err(|error| Problem::from(&error))?;
    app.metrics.count_verdict(&verdict);
    let took = arrival.start.elapsed();
    let answer = Answer {
        violations: verdict.violations,
        probabilities: verdict.probabilities,
        cooperative: verdict.cooperative,
        unknown_share: verdict.unknown_share,
        latency_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
    };
    let mut response = json_response(StatusCode::OK, &answer);
    timing.output = start.elapsed();
    timing.write(response.headers_mut(), took);
    attempt.succeed(&timing);
    Ok(response)
}

/// A turn made ready to run.
struct Prepared {
    served: Arc<Served>,
    attempt: Attempt,
    thresholds: PerMaxim<f32>,
    tokenized: Tokenized,
    tokenize: Duration,
}

impl Prepared {
    fn read(app: &App, body: &[u8], arrived: Instant) -> Result<Prepared, Problem> {
        let mut item: AliasItem = parse_json(body)?;
        let served = app.catalog.find(None)?;
        let attempt = Attempt::new(&served, arrived);
        let thresholds = match item.threshold {
            Some(value) => Thresholds::all(value)
                .over(served.reader().thresholds())
                .map_err(|_| Problem::unusable(format!("`threshold` must be {THRESHOLD_EXPECTED}")))?,
            None => *served.reader().thresholds(),
        };
        let start = Instant::now();
        let tokenized = served.tokenize(&item.turn())?;
        Ok(Prepared { served, attempt, thresholds, tokenized, tokenize: start.elapsed() })
    }
}
