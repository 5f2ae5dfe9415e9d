//! The Open Inference Protocol v2 over HTTP, with the parts of Triton's API that its clients call.

use super::body::{bytes_response, json_response, read_body};
use super::describe::{self, Described, TensorInfo};
use super::detect::caching_of;
use super::input::parse_json;
use super::judge::judge;
use super::tensors::InferRequest;
use super::tensors_json::write_answer;
use crate::app::App;
use crate::arrival::Arrival;
use crate::problem::Problem;
use crate::served::Served;
use crate::statistics::{Counts, Sum};
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const HEAD_LENGTH: &str = "inference-header-content-length";

/// A model in a path, optionally with a version.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelPath {
    model: String,
    version: Option<String>,
}

pub(super) type Asked = Result<Path<ModelPath>, PathRejection>;

/// The options of the index.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexAsked {
    #[serde(default)]
    ready: bool,
}

/// `GET /v2`.
pub(crate) async fn server_metadata() -> Response<Body> {
    let body = json!({ "name": describe::NAME, "version": describe::VERSION, "extensions": describe::EXTENSIONS });
    json_response(StatusCode::OK, &body)
}

/// `POST /v2/repository/index`.
pub(crate) async fn repository_index(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let body = read_body(&app, &head.headers, body, &arrival).await?;
    let asked = if body.trim_ascii().is_empty() { IndexAsked::default() } else { parse_json(&body)? };
    let entries = describe::index(&app, asked.ready);
    let entries = entries
        .iter()
        .map(|model| json!({ "name": model.name, "version": model.version, "state": model.state(), "reason": "" }));
    Ok(json_response(StatusCode::OK, &entries.collect::<Vec<_>>()))
}

/// `GET /v2/models/{model}`.
pub(crate) async fn model_metadata(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let model = describe_at(&app, asked)?;
    let tensors = |all: &[TensorInfo]| -> Vec<Value> {
        all.iter()
            .map(|tensor| json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape() }))
            .collect()
    };
    let mut body = json!({
        "name": model.name,
        "versions": [model.version],
        "platform": describe::NAME,
        "inputs": tensors(&model.inputs),
        "outputs": tensors(&model.outputs),
    });
    if !model.labels.is_empty() {
        body["parameters"] = json!({ "labels": model.labels });
    }
    Ok(json_response(StatusCode::OK, &body))
}

/// `GET /v2/models/{model}/ready`.
pub(crate) async fn model_ready(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let model = describe_at(&app, asked)?;
    let status = if model.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_response(status, &json!({ "name": model.name, "ready": model.is_ready })))
}

/// `GET /v2/models/{model}/config`, in Triton's format.
pub(crate) async fn model_config(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let model = describe_at(&app, asked)?;
    let optional = !model.is_decoupled;
    let input = |tensor: &TensorInfo| json!({ "name": tensor.name, "data_type": tensor.config_type().0, "dims": tensor.dims, "optional": optional });
    let output =
        |tensor: &TensorInfo| json!({ "name": tensor.name, "data_type": tensor.config_type().0, "dims": tensor.dims });
    let mut body = json!({
        "name": model.name,
        "platform": describe::NAME,
        "backend": describe::NAME,
        "max_batch_size": model.rows_max,
        "input": model.inputs.iter().map(input).collect::<Vec<_>>(),
        "output": model.outputs.iter().map(output).collect::<Vec<_>>(),
        "dynamic_batching": {},
    });
    if model.is_decoupled {
        body["model_transaction_policy"] = json!({ "decoupled": true });
    }
    Ok(json_response(StatusCode::OK, &body))
}

/// `GET /v2/models/stats`.
pub(crate) async fn all_statistics(State(app): State<Arc<App>>) -> Response<Body> {
    let models = app.catalog.models();
    let all: Vec<Value> = models.iter().map(|served| statistics(served)).collect();
    json_response(StatusCode::OK, &json!({ "model_stats": all }))
}

/// `GET /v2/models/{model}/stats`.
pub(crate) async fn model_statistics(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    Ok(json_response(StatusCode::OK, &json!({ "model_stats": [statistics(&served)] })))
}

fn statistics(served: &Served) -> Value {
    let sum = |sum: Sum| json!({ "count": sum.count, "ns": sum.ns });
    let counts: Counts = served.statistics().counts();
    let batches = counts.batches.iter().map(|(size, batch)| {
        json!({
            "batch_size": size,
            "compute_input": sum(batch.input),
            "compute_infer": sum(batch.infer),
            "compute_output": sum(batch.output),
        })
    });
    json!({
        "name": served.name(),
        "version": served.version(),
        "last_inference": counts.last_inference_ms,
        "inference_count": counts.inferences,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": sum(counts.success),
            "fail": sum(counts.fail),
            "queue": sum(counts.queue),
            "compute_input": sum(counts.compute_input),
            "compute_infer": sum(counts.compute_infer),
            "compute_output": sum(counts.compute_output),
            "cache_hit": sum(counts.cache_hit),
            "cache_miss": sum(counts.cache_miss),
        },
        // For models with several answers per request; there are none here.
        "response_stats": {},
        "batch_stats": batches.collect::<Vec<_>>(),
        "memory_usage": [],
    })
}

/// `POST /v2/models/{model}/infer`.
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    asked: Asked,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let (head, body) = request.into_parts();
    let head_bytes = head_length(&head.headers)?;
    let body = read_body(&app, &head.headers, body, &arrival).await?;
    let (bytes, caching) = (body.len(), caching_of(&head.headers));
    let read = move |bounds| InferRequest::parse(&body, head_bytes, bounds);
    let judged = judge(&app, &served, &arrival, caching, bytes, read).await?;
    let model = (served.name(), served.version());
    let answer = write_answer(model, judged.id.as_deref(), &judged.outputs, &judged.columns)
        .map_err(|error| Problem::internal(format!("writing an answer: {error}")))?;
    let content_type = if answer.head_bytes.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = bytes_response(StatusCode::OK, content_type, answer.bytes);
    judged.timing.write(response.headers_mut(), arrival.start.elapsed());
    if let Some(length) = answer.head_bytes {
        response.headers_mut().insert(HEAD_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

fn find(app: &App, asked: Asked) -> Result<Arc<Served>, Problem> {
    let (name, version) = path_of(asked)?;
    describe::find(app, &name, version.as_deref())
}

fn describe_at(app: &App, asked: Asked) -> Result<Described, Problem> {
    let (name, version) = path_of(asked)?;
    describe::describe(app, &name, version.as_deref())
}

/// Name and version in a path.
///
/// # Errors
/// 400 for a path that is not UTF-8.
pub(super) fn path_of(asked: Asked) -> Result<(String, Option<String>), Problem> {
    let Path(asked) = asked.map_err(|error| Problem::malformed(format!("the path cannot be read: {error}")))?;
    Ok((asked.model, asked.version))
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(told) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let length = told.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| Problem::malformed("Inference-Header-Content-Length must be a number of bytes"))
}
