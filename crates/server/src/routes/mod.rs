//! The routes.

mod admin;
mod alias;
mod asked_text;
mod body;
mod bounds;
pub(crate) mod cors;
mod describe;
mod detect;
mod entry;
mod events;
mod explain;
pub mod fuzz;
mod generate;
pub(crate) mod grpc;
mod health;
mod info;
mod input;
mod judge;
mod mend;
pub(crate) mod openai;
mod outputs;
mod parameters;
mod pieces;
mod repair;
mod steps;
mod tensors;
mod tensors_json;
mod v2;
mod v2_texts;

pub(crate) use entry::entry_of;

use crate::app::App;
use crate::problem::Problem;
use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use std::any::Any;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// Maximum length of a path in an error message.
const PATH_CHARS_MAX: usize = 120;

/// All routes, with the answers to requests that meet none, and to panics.
pub(crate) fn routes() -> Router<Arc<App>> {
    let routes = table().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    let routes = grpc_table().into_iter().fold(routes, |router, (path, handler)| router.route(path, handler));
    routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(CatchPanicLayer::custom(panicked))
}

/// Method, path and handler of each route; `openapi.json` has the same ones.
fn table() -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("post", "/v1/detect", post(detect::detect)),
        ("post", "/v1/repair", post(repair::repair)),
        ("post", "/v1/generate", post(generate::generate)),
        ("post", "/v1/pipeline", post(repair::pipeline)),
        ("post", "/v1/chat/completions", post(openai::chat)),
        ("post", "/v1/completions", post(openai::completions)),
        ("post", "/v1/embeddings", post(openai::embeddings)),
        ("get", "/v1/models", get(info::models)),
        ("get", "/v1/models/{model}", get(info::model)),
        ("post", "/detect", post(alias::detect)),
        ("post", "/repair", post(repair::alias)),
        ("post", "/generate", post(generate::alias)),
        ("get", "/health", get(health::health)),
        ("get", "/v2", get(v2::server_metadata)),
        ("get", "/v2/health/live", get(health::live)),
        ("get", "/v2/health/ready", get(health::ready)),
        ("post", "/v2/repository/index", post(v2::repository_index)),
        ("get", "/v2/models/{model}", get(v2::model_metadata)),
        ("get", "/v2/models/{model}/ready", get(v2::model_ready)),
        ("get", "/v2/models/{model}/config", get(v2::model_config)),
        ("post", "/v2/models/{model}/infer", post(v2::infer)),
        ("post", "/v2/models/{model}/generate", post(v2_texts::generate)),
        ("post", "/v2/models/{model}/generate_stream", post(v2_texts::generate_stream)),
        ("get", "/v2/models/stats", get(v2::all_statistics)),
        ("get", "/v2/models/{model}/stats", get(v2::model_statistics)),
        ("get", "/v2/models/{model}/versions/{version}", get(v2::model_metadata)),
        ("get", "/v2/models/{model}/versions/{version}/ready", get(v2::model_ready)),
        ("get", "/v2/models/{model}/versions/{version}/config", get(v2::model_config)),
        ("post", "/v2/models/{model}/versions/{version}/infer", post(v2::infer)),
        ("get", "/v2/models/{model}/versions/{version}/stats", get(v2::model_statistics)),
        ("post", "/v2/models/{model}/versions/{version}/generate", post(v2_texts::generate)),
        ("post", "/v2/models/{model}/versions/{version}/generate_stream", post(v2_texts::generate_stream)),
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

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    let detail = format!("there is no route `{}`; /docs shows all routes", path.escape_default());
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "this route needs another method; see the Allow header, or /docs";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// Leaves the panic's message out, because it may contain a user's text.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Problem::internal("a handler panicked").into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::guard::Entry;
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
