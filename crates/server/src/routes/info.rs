//! Information routes: models, metrics, OpenAPI, the docs page.

use super::body::{bytes_response, json_response};
use crate::app::App;
use crate::embedding::Embedding;
use crate::problem::Problem;
use crate::scribe::Scribe;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, LOCATION};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Written by hand; a test compares it with the routes and with real answers.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");
const DOCS: &str = include_str!("../../docs.html");

/// `GET /v1/models`.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response<Body> {
    let mut models: Vec<_> = app
        .catalog
        .models()
        .iter()
        .enumerate()
        .map(|(place, served)| {
            let manifest = served.task().manifest();
            let info = served.info();
            let (in_use, replicas) = served.runner().replicas();
            json!({
                "name": served.name(),
                "version": info.version,
                "task": manifest.task,
                "default": place == 0,
                "precision": info.precision,
                "device": info.device,
                "fallback_reason": served.fallback_reason(),
                "labels": manifest.labels,
                "thresholds": served.task().thresholds(),
                "max_tokens": manifest.max_tokens,
                "digest": info.digest,
                "ready": in_use > 0,
                "replicas": replicas,
            })
        })
        .collect();
    models.extend(app.catalog.scribes().iter().enumerate().map(|(place, scribe)| describe_scribe(place == 0, scribe)));
    let embeddings = app.catalog.embeddings();
    models.extend(embeddings.iter().enumerate().map(|(place, embedding)| describe_embedding(place == 0, embedding)));
    // The same for clients of OpenAI's interface.
    let data: Vec<Value> = app.catalog.replicas().iter().map(|(name, _)| short(&app, name)).collect();
    json_response(StatusCode::OK, &json!({ "object": "list", "data": data, "models": models }))
}

/// `GET /v1/models/{model}`, for clients of OpenAI's interface.
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response<Body>, Problem> {
    let Path(name) = name.map_err(|error| Problem::malformed(format!("the path cannot be read: {error}")))?;
    let names: Vec<String> = app.catalog.replicas().into_iter().map(|(name, _)| name).collect();
    match names.contains(&name) {
        true => Ok(json_response(StatusCode::OK, &short(&app, &name))),
        false => Err(Problem::no_model(&name.escape_default().take(80).collect::<String>(), &names.join(", "))),
    }
}

fn short(app: &App, name: &str) -> Value {
    let created = app.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "id": name, "object": "model", "created": created, "owned_by": "grice" })
}

fn describe_embedding(is_default: bool, embedding: &Embedding) -> Value {
    let info = embedding.info();
    let (in_use, replicas) = embedding.replicas();
    json!({
        "name": embedding.name(),
        "version": info.version,
        "task": "embed",
        "default": is_default,
        "precision": info.precision,
        "device": info.device,
        "dimensions": embedding.columns(),
        "max_tokens": embedding.tokens_max(),
        "ready": in_use > 0,
        "replicas": replicas,
    })
}

fn describe_scribe(is_default: bool, scribe: &Scribe) -> Value {
    let info = scribe.info();
    let (in_use, replicas) = scribe.replicas();
    json!({
        "name": scribe.name(),
        "version": info.version,
        "task": if scribe.recipes().repair.iter().any(|(_, recipe)| recipe.is_some()) { "repair" } else { "generate" },
        "recipes": scribe.recipes().names(),
        "default": is_default,
        "precision": info.precision,
        "device": info.device,
        "max_tokens": scribe.longest(),
        "ready": in_use > 0,
        "replicas": replicas,
    })
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    app.catalog.report();
    app.metrics.ready.set(i64::from(app.is_ready()));
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    bytes_response(StatusCode::OK, content_type, app.metrics.render())
}

/// `GET /openapi.json`.
pub(crate) async fn openapi() -> Response<Body> {
    bytes_response(
        StatusCode::OK,
        "application/json",
        OPENAPI.replace("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")),
    )
}

/// `GET /docs`: shows `/openapi.json`; loads nothing from other servers.
pub(crate) async fn docs() -> Response<Body> {
    let mut response = bytes_response(StatusCode::OK, "text/html; charset=utf-8", DOCS);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// `GET /`.
pub(crate) async fn root() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/docs"));
    response
}
