//! Routes for the administrator.

use super::body::json_response;
use crate::app::App;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;
use std::sync::Arc;

/// `POST /admin/reload`: reloads all bundles; answers when the new models are in use.
pub(crate) async fn reload(State(app): State<Arc<App>>) -> Response<Body> {
    // In a separate task, so that a disconnect does not stop a reload halfway.
    let catalog = Arc::clone(&app.catalog);
    let outcome = tokio::spawn(async move { catalog.reload().await }).await;
    match outcome {
        Ok(Ok(())) => {
            let models: Vec<String> = app.catalog.replicas().into_iter().map(|(name, _)| name).collect();
            json_response(StatusCode::OK, &json!({ "reloaded": models }))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "reload failed; the old models stay in use");
            let detail = format!("the bundles cannot be used, so the old models stay in use: {error}");
            Problem::new(StatusCode::CONFLICT, "reload-failed", detail).into_response()
        }
        Err(error) => Problem::internal(format!("reload: {error}")).into_response(),
    }
}
