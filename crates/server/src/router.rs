//! The routes with their middleware.

use crate::app::App;
use crate::envelope;
use crate::routes::{cors, routes};
use axum::Router;
use axum::middleware::from_fn_with_state;
use std::sync::Arc;

/// All routes with their middleware.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = routes().layer(from_fn_with_state(Arc::clone(app), envelope::wrap));
    if let Some(cors) = cors::layer(&app.settings.access.cors_origins) {
        router = router.layer(cors);
    }
    router.with_state(Arc::clone(app))
}
