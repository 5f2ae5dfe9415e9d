//! Reads request bodies and sends JSON, for all routes.

use crate::app::App;
use crate::arrival::Arrival;
use crate::encoding;
use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use serde::Serialize;
use std::time::Instant;
use tokio::time::timeout_at;

/// The whole body, decompressed, within the limits.
///
/// # Errors
/// 413 if it is too large, 408 if it arrives too slowly, 400 if it breaks off, 415 for an unknown content coding, 504 at the
/// deadline.
pub(super) async fn read_body(app: &App, headers: &HeaderMap, body: Body, arrival: &Arrival) -> Result<Bytes, Problem> {
    encoding::expect_known(headers)?;
    let body = receive_body(app, headers, body, arrival).await?;
    encoding::unpack_body(app, headers, body, arrival.deadline).await
}

/// The whole body as it was sent.
async fn receive_body(app: &App, headers: &HeaderMap, mut body: Body, arrival: &Arrival) -> Result<Bytes, Problem> {
    let limits = &app.settings.limits;
    let too_large = Problem::too_large(format!("the body is larger than {} bytes", limits.body_bytes_max));
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|bytes| bytes > limits.body_bytes_max as u64) {
        discard(app, body, arrival).await;
        return Err(too_large);
    }
    // Nearly all bodies arrive in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut whole = Vec::new();
    loop {
        let until = arrival.deadline.min(Instant::now() + limits.body_pause_max);
        let frame = match timeout_at(until.into(), body.frame()).await {
            Ok(None) => return Ok(if whole.is_empty() { first } else { whole.into() }),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Problem::malformed(format!("the body breaks off: {error}"))),
            Err(_) if Instant::now() >= arrival.deadline => return Err(Problem::deadline()),
            Err(_) => return Err(Problem::slow_body()),
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(whole.len()) + data.len() > limits.body_bytes_max {
            discard(app, body, arrival).await;
            return Err(too_large);
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole = std::mem::take(&mut first).into();
            }
            whole.extend_from_slice(&data);
        }
    }
}

/// Reads the rest of a refused body, within limits: a client that is still sending when the connection closes
/// gets a broken pipe instead of the answer.
async fn discard(app: &App, mut body: Body, arrival: &Arrival) {
    let limits = &app.settings.limits;
    let until = arrival.deadline.min(Instant::now() + limits.body_pause_max);
    let mut left = limits.body_bytes_max.saturating_mul(2);
    while let Ok(Some(Ok(frame))) = timeout_at(until.into(), body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Refuses a body with a media type other than JSON.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(told) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let told = told.to_str().unwrap_or_default();
    let essence = told.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!("the body must be application/json, but Content-Type says `{}`", essence.escape_default());
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail))
}

pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_response(status, "application/json", bytes),
        Err(error) => Problem::internal(format!("writing an answer: {error}")).into_response(),
    }
}

pub(super) fn bytes_response(status: StatusCode, content_type: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
