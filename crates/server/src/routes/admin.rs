//! What only the administrator may do.

use super::body::json_response;
use crate::app::App;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;
use std::sync::Arc;

/// `POST /admin/reload`: reads all bundles anew; answers once the new models are in place.
pub(crate) async fn reload(State(app): State<Arc<App>>) -> Response<Body> {
    // On a task of its own: a client that goes away does not leave a reload half done.
    let catalog = Arc::clone(&app.catalog);
    let outcome = tokio::spawn(async move { catalog.reload().await }).await;
    match outcome {
        Ok(Ok(())) => {
            let models: Vec<String> = app.catalog.models().iter().map(|served| served.name().to_owned()).collect();
            json_response(StatusCode::OK, &json!({ "reloaded": models }))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "reload failed; the old models stay");
            let detail = format!("the bundles cannot be used, and the old models stay: {error}");
            Problem::new(StatusCode::CONFLICT, "reload-failed", detail).into_response()
        }
        Err(error) => Problem::internal(format!("reload: {error}")).into_response(),
    }
}
