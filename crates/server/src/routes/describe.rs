//! Descriptions of the server and its models, for HTTP and gRPC.

use super::outputs::OutputKind;
use crate::app::App;
use crate::problem::Problem;
use crate::served::Served;
use axum::http::StatusCode;
use std::sync::Arc;

pub(crate) const NAME: &str = "grice";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The supported Triton extensions.
pub(crate) const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
];

/// An input or output of a model.
pub(crate) struct TensorInfo {
    pub(crate) name: &'static str,
    pub(crate) datatype: &'static str,
    /// Without the rows; -1 for any length.
    pub(crate) dims: Vec<i64>,
}

impl TensorInfo {
    /// With the rows.
    pub(crate) fn shape(&self) -> Vec<i64> {
        [&[-1], &self.dims[..]].concat()
    }

    /// The name and number in Triton's configurations.
    pub(crate) fn config_type(&self) -> (&'static str, i32) {
        match self.datatype {
            "BYTES" => ("TYPE_STRING", 13),
            "INT64" => ("TYPE_INT64", 9),
            _ => ("TYPE_FP32", 11),
        }
    }
}

/// All inputs; a request has either texts or tokens.
pub(crate) fn inputs() -> Vec<TensorInfo> {
    let text = |name| TensorInfo { name, datatype: "BYTES", dims: vec![1] };
    let tokens = |name| TensorInfo { name, datatype: "INT64", dims: vec![-1] };
    vec![text("context"), text("evidence"), text("response"), tokens("input_ids"), tokens("attention_mask")]
}

pub(crate) fn outputs(served: &Served) -> Vec<TensorInfo> {
    let labels = served.task().manifest().labels.len();
    let output =
        |kind: OutputKind| TensorInfo { name: kind.name(), datatype: "FP32", dims: vec![kind.columns(labels) as i64] };
    OutputKind::ALL.map(output).into()
}

/// The model with this name and version; any version if none is given.
///
/// # Errors
/// 404 with the names of the models, 503 before the first load.
pub(crate) fn find(app: &App, name: &str, version: Option<&str>) -> Result<Arc<Served>, Problem> {
    // To this protocol, models that write texts do not exist.
    let served = app.catalog.find(Some(name)).map_err(|problem| match problem.status {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_IMPLEMENTED => {
            Problem { status: StatusCode::NOT_FOUND, code: "no-such-model", ..problem }
        }
        _ => problem,
    })?;
    match version {
        Some(version) if version != served.version() => {
            let (has, version) = (served.version(), version.escape_default().take(80).collect::<String>());
            let detail = format!("the model `{}` has the version `{has}`, not `{version}`", served.name());
            Err(Problem::new(StatusCode::NOT_FOUND, "no-such-version", detail))
        }
        _ => Ok(served),
    }
}

/// The state of a model, for clients.
pub(crate) fn is_ready(app: &App, served: &Served) -> bool {
    served.is_ready() && !app.is_draining()
}

/// The models in the repository; with `only_ready`, only the ready ones.
pub(crate) fn index(app: &App, only_ready: bool) -> Vec<(Arc<Served>, &'static str)> {
    let models = app.catalog.models();
    let states = models.iter().map(|served| {
        let state = if served.is_ready() { "READY" } else { "UNAVAILABLE" };
        (Arc::clone(served), state)
    });
    states.filter(|(_, state)| !only_ready || *state == "READY").collect()
}
