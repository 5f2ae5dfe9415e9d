//! The routes, and what they share: reading a body, sending JSON.

mod admin;
mod alias;
mod cors;
mod describe;
mod detect;
pub mod fuzz;
pub(crate) mod grpc;
mod health;
mod info;
mod input;
mod judge;
mod outputs;
mod parameters;
mod tensors;
mod tensors_json;
mod v2;

use crate::encoding;
use crate::envelope::{self, Arrival};
use crate::guard::Entry;
use crate::problem::Problem;
use crate::server::App;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use http_body_util::BodyExt;
use serde::Serialize;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;
use tower_http::catch_panic::CatchPanicLayer;

/// Of a path that is named in a refusal.
const PATH_CHARS_MAX: usize = 120;

/// All routes, with everything around them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let routes = table().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    let routes = grpc_table().into_iter().fold(routes, |router, (path, handler)| router.route(path, handler));
    let mut router = routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), envelope::wrap));
    if let Some(cors) = cors::layer(&app.settings.access.cors_origins) {
        router = router.layer(cors);
    }
    router.with_state(Arc::clone(app))
}

/// Method, path and handler of each route; `openapi.json` has the same ones.
fn table() -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("post", "/v1/detect", post(detect::detect)),
        ("post", "/v1/repair", post(detect::repair)),
        ("post", "/v1/generate", post(detect::generate)),
        ("post", "/v1/pipeline", post(detect::pipeline)),
        ("get", "/v1/models", get(info::models)),
        ("post", "/detect", post(alias::detect)),
        ("post", "/repair", post(alias::repair)),
        ("post", "/generate", post(alias::generate)),
        ("get", "/health", get(health::health)),
        ("get", "/v2", get(v2::server_metadata)),
        ("get", "/v2/health/live", get(health::live)),
        ("get", "/v2/health/ready", get(health::ready)),
        ("post", "/v2/repository/index", post(v2::repository_index)),
        ("get", "/v2/models/{model}", get(v2::model_metadata)),
        ("get", "/v2/models/{model}/ready", get(v2::model_ready)),
        ("get", "/v2/models/{model}/config", get(v2::model_config)),
        ("post", "/v2/models/{model}/infer", post(v2::infer)),
        ("get", "/v2/models/stats", get(v2::all_statistics)),
        ("get", "/v2/models/{model}/stats", get(v2::model_statistics)),
        ("get", "/v2/models/{model}/versions/{version}", get(v2::model_metadata)),
        ("get", "/v2/models/{model}/versions/{version}/ready", get(v2::model_ready)),
        ("get", "/v2/models/{model}/versions/{version}/config", get(v2::model_config)),
        ("post", "/v2/models/{model}/versions/{version}/infer", post(v2::infer)),
        ("get", "/v2/models/{model}/versions/{version}/stats", get(v2::model_statistics)),
        ("get", "/metrics", get(info::metrics)),
        ("get", "/openapi.json", get(info::openapi)),
        ("get", "/docs", get(info::docs)),
        ("get", "/", get(info::root)),
        ("post", "/admin/reload", post(admin::reload)),
    ]
}

/// Path and handler of each method of gRPC.
fn grpc_table() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/inference.GRPCInferenceService/ServerLive", post(grpc::server_live)),
        ("/inference.GRPCInferenceService/ServerReady", post(grpc::server_ready)),
        ("/inference.GRPCInferenceService/ServerMetadata", post(grpc::server_metadata)),
        ("/inference.GRPCInferenceService/ModelReady", post(grpc::model_ready)),
        ("/inference.GRPCInferenceService/ModelMetadata", post(grpc::model_metadata)),
        ("/inference.GRPCInferenceService/ModelConfig", post(grpc::model_config)),
        ("/inference.GRPCInferenceService/ModelStatistics", post(grpc::model_statistics)),
        ("/inference.GRPCInferenceService/RepositoryIndex", post(grpc::repository_index)),
        ("/inference.GRPCInferenceService/ModelInfer", post(grpc::model_infer)),
        ("/inference.GRPCInferenceService/ModelStreamInfer", post(grpc::infer_stream)),
    ]
}

/// What a route asks of whoever calls it.
pub(crate) fn entry_of(route: &str) -> Entry {
    match route {
        "/detect" | "/repair" | "/generate" => Entry::KeyOr403,
        "/v2/health/live" | "/v2/health/ready" | "/health" | "/metrics" | "/openapi.json" | "/docs" | "/" => {
            Entry::Open
        }
        "/inference.GRPCInferenceService/ServerLive" | "/inference.GRPCInferenceService/ServerReady" => Entry::Open,
        _ if route.starts_with("/inference.") => Entry::Key,
        "/admin/reload" => Entry::Admin,
        _ if route.starts_with("/v1/") || route.starts_with("/v2") => Entry::Key,
        // Nothing is there to be guarded.
        _ => Entry::Open,
    }
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    let detail = format!("there is no route `{}`; /docs shows those that there are", path.escape_default());
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "this route takes another method; see the Allow header, or /docs";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// Without the panic's own words: they may quote what a user wrote.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Problem::internal("a handler panicked").into_response()
}

/// The whole body, unpacked, within the limits.
///
/// # Errors
/// 413 if it is too large, 408 if it comes too slowly, 400 if it breaks off, 415 if it is packed in an unknown way, 504 at the
/// deadline.
async fn read_body(app: &App, headers: &HeaderMap, body: Body, arrival: &Arrival) -> Result<Bytes, Problem> {
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
    // Nearly always all of it comes in one piece, which is then not copied.
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

/// Takes in what is left of a body that is refused, within reason: a client that is still sending when the connection closes
/// sees a broken pipe and not the answer.
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

/// Refuses a body that says to be something else than JSON.
fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(told) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let told = told.to_str().unwrap_or_default();
    let essence = told.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!("the body must be application/json, but Content-Type says `{}`", essence.escape_default());
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail))
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_response(status, "application/json", bytes),
        Err(error) => Problem::internal(format!("writing an answer: {error}")).into_response(),
    }
}

fn bytes_response(status: StatusCode, content_type: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_the_routes_that_there_are() {
        let described: serde_json::Value = serde_json::from_str(info::OPENAPI).unwrap();
        let described: BTreeSet<(String, String)> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |verb| (verb.clone(), path.clone())))
            .collect();
        let served = table().iter().map(|(verb, path, _)| ((*verb).to_owned(), (*path).to_owned())).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_description_asks_for_keys_where_the_routes_do() {
        let described: serde_json::Value = serde_json::from_str(info::OPENAPI).unwrap();
        for (verb, path, _) in table() {
            let security = described["paths"][path][verb].get("security").map(|security| security.as_array().unwrap());
            let (open, optional) = match security {
                None => (path != "/admin/reload", false),
                Some(ways) => (ways.is_empty(), ways.contains(&serde_json::json!({}))),
            };
            let expected = match entry_of(path) {
                Entry::Open => (true, false),
                Entry::Key | Entry::KeyOr403 => (false, true),
                Entry::Admin => (false, false),
            };
            assert_eq!((open, optional), expected, "{verb} {path}");
        }
    }
}
