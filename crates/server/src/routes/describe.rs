//! Descriptions of the server and its models, for HTTP and gRPC.

use super::asked_text::{INPUT, OUTPUT};
use super::outputs::OutputKind;
use crate::app::App;
use crate::problem::Problem;
use crate::scribe::Scribe;
use crate::served::Served;
use axum::http::StatusCode;
use grice_core::Maxim;
use std::sync::Arc;

pub(crate) const NAME: &str = "grice";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The supported Triton extensions.
pub(crate) const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "classification",
    "generate",
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

/// A model, for clients.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    /// The columns of the outputs of a detector.
    pub(crate) labels: Vec<Maxim>,
    /// The most rows of a request.
    pub(crate) rows_max: usize,
    /// Whether it can answer.
    pub(crate) is_ready: bool,
    /// Whether it answers in pieces.
    pub(crate) is_decoupled: bool,
}

/// Describes the model with this name and version; any version if none is given.
///
/// # Errors
/// As [`find`].
pub(crate) fn describe(app: &App, name: &str, version: Option<&str>) -> Result<Described, Problem> {
    if app.catalog.find_scribe(Some(name)).is_ok() {
        return Ok(of_scribe(app, &*find_scribe(app, name, version)?));
    }
    Ok(of_served(app, &*find(app, name, version)?))
}

fn of_served(app: &App, served: &Served) -> Described {
    Described {
        name: served.name().to_owned(),
        version: served.version().to_owned(),
        inputs: inputs(),
        outputs: outputs(served),
        labels: served.task().manifest().labels.clone(),
        rows_max: app.settings.limits.items_max,
        is_ready: served.is_ready() && !app.is_draining(),
        is_decoupled: false,
    }
}

fn of_scribe(app: &App, scribe: &Scribe) -> Described {
    let text = |name| TensorInfo { name, datatype: "BYTES", dims: vec![1] };
    Described {
        name: scribe.name().to_owned(),
        version: scribe.info().version,
        inputs: vec![text(INPUT)],
        outputs: vec![text(OUTPUT)],
        labels: Vec::new(),
        // A request asks for one text.
        rows_max: 0,
        is_ready: scribe.is_ready() && !app.is_draining(),
        is_decoupled: true,
    }
}

/// All inputs; a request has either texts or tokens.
fn inputs() -> Vec<TensorInfo> {
    let text = |name| TensorInfo { name, datatype: "BYTES", dims: vec![1] };
    let tokens = |name| TensorInfo { name, datatype: "INT64", dims: vec![-1] };
    vec![text("context"), text("evidence"), text("response"), tokens("input_ids"), tokens("attention_mask")]
}

fn outputs(served: &Served) -> Vec<TensorInfo> {
    let labels = served.task().manifest().labels.len();
    let output =
        |kind: OutputKind| TensorInfo { name: kind.name(), datatype: "FP32", dims: vec![kind.columns(labels) as i64] };
    OutputKind::ALL.map(output).into()
}

/// The detector with this name and version; any version if none is given.
///
/// # Errors
/// 404 with the names of the models, 503 before the first load.
pub(crate) fn find(app: &App, name: &str, version: Option<&str>) -> Result<Arc<Served>, Problem> {
    // To this protocol, a model of another task does not exist.
    let served = app.catalog.find(Some(name)).map_err(absent)?;
    check_version(served.name(), served.version(), version)?;
    Ok(served)
}

/// The model that writes texts with this name and version; any version if none is given.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_scribe(app: &App, name: &str, version: Option<&str>) -> Result<Arc<Scribe>, Problem> {
    let scribe = app.catalog.find_scribe(Some(name)).map_err(absent)?;
    check_version(scribe.name(), &scribe.info().version, version)?;
    Ok(scribe)
}

fn absent(problem: Problem) -> Problem {
    match problem.status {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_IMPLEMENTED => {
            Problem { status: StatusCode::NOT_FOUND, code: "no-such-model", ..problem }
        }
        _ => problem,
    }
}

fn check_version(name: &str, has: &str, version: Option<&str>) -> Result<(), Problem> {
    match version {
        Some(version) if version != has => {
            let version: String = version.escape_default().take(80).collect();
            let detail = format!("the model `{name}` has the version `{has}`, not `{version}`");
            Err(Problem::new(StatusCode::NOT_FOUND, "no-such-version", detail))
        }
        _ => Ok(()),
    }
}

/// The models in the repository; with `only_ready`, only the ready ones.
pub(crate) fn index(app: &App, only_ready: bool) -> Vec<Described> {
    let (models, scribes) = (app.catalog.models(), app.catalog.scribes());
    let detectors = models.iter().map(|served| of_served(app, served));
    let all = detectors.chain(scribes.iter().map(|scribe| of_scribe(app, scribe)));
    all.filter(|model| !only_ready || model.is_ready).collect()
}

impl Described {
    /// Its state, as Triton calls it.
    pub(crate) fn state(&self) -> &'static str {
        if self.is_ready { "READY" } else { "UNAVAILABLE" }
    }
}
