//! The Open Inference Protocol v2 over HTTP, with the parts of Triton's API that its clients call.

use super::body::{bytes_response, json_response, read_body};
use super::describe::{self, TensorInfo};
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

type Asked = Result<Path<ModelPath>, PathRejection>;

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
    let entries = describe::index(&app, asked.ready).into_iter().map(
        |(served, state)| json!({ "name": served.name(), "version": served.version(), "state": state, "reason": "" }),
    );
    Ok(json_response(StatusCode::OK, &entries.collect::<Vec<_>>()))
}

/// `GET /v2/models/{model}`.
pub(crate) async fn model_metadata(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let tensors = |all: Vec<TensorInfo>| -> Vec<Value> {
        all.iter()
            .map(|tensor| json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape() }))
            .collect()
    };
    let body = json!({
        "name": served.name(),
        "versions": [served.version()],
        "platform": describe::NAME,
        "inputs": tensors(describe::inputs()),
        "outputs": tensors(describe::outputs(&served)),
        "parameters": { "labels": served.task().manifest().labels },
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// `GET /v2/models/{model}/ready`.
pub(crate) async fn model_ready(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let ready = describe::is_ready(&app, &served);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_response(status, &json!({ "name": served.name(), "ready": ready })))
}

/// `GET /v2/models/{model}/config`, in Triton's format.
pub(crate) async fn model_config(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let input = |tensor: &TensorInfo| json!({ "name": tensor.name, "data_type": tensor.config_type().0, "dims": tensor.dims, "optional": true });
    let output =
        |tensor: &TensorInfo| json!({ "name": tensor.name, "data_type": tensor.config_type().0, "dims": tensor.dims });
    let body = json!({
        "name": served.name(),
        "platform": describe::NAME,
        "backend": describe::NAME,
        "max_batch_size": app.settings.limits.items_max,
        "input": describe::inputs().iter().map(input).collect::<Vec<_>>(),
        "output": describe::outputs(&served).iter().map(output).collect::<Vec<_>>(),
        "dynamic_batching": {},
    });
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
    let Path(asked) = asked.map_err(|error| Problem::malformed(format!("the path cannot be read: {error}")))?;
    describe::find(app, &asked.model, asked.version.as_deref())
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(told) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let length = told.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| Problem::malformed("Inference-Header-Content-Length must be a number of bytes"))
}
