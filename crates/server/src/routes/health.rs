//! Liveness and readiness.

use super::body::json_response;
use crate::app::App;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// `GET /v2/health/live`: any answer shows that the server is alive.
pub(crate) async fn live() -> Response<Body> {
    json_response(StatusCode::OK, &json!({ "live": true }))
}

/// `GET /v2/health/ready`: 200 only while every model has a replica in use and the server is not stopping.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    let ready = app.is_ready();
    let models: serde_json::Map<String, serde_json::Value> = app
        .catalog
        .replicas()
        .into_iter()
        .map(|(name, (in_use, replicas))| (name, json!({ "replicas": replicas, "in_use": in_use })))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &json!({ "ready": ready, "draining": app.is_draining(), "models": models }))
}

/// `GET /health`, as GriceBench's server answers it.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response<Body> {
    let ready = app.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ready { "healthy" } else { "unhealthy" },
        "models_loaded": {
            "detector": app.catalog.is_ready() && !app.catalog.models().is_empty(),
            "repair": false,
            "generator": app.catalog.is_ready() && !app.catalog.scribes().is_empty(),
        },
        "gpu_available": app.catalog.models().iter().any(|served| served.info().device.contains("gpu")),
    });
    json_response(status, &body)
}
