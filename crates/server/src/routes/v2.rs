//! The Open Inference Protocol v2 over HTTP, with the parts of Triton's that its clients call.

use super::detect::{Timing, caching_of};
use super::tensors::{Bounds, InferRequest, Inputs, Output, OutputKind, write_answer};
use super::{bytes_response, expect_plain, json_response, read_body};
use crate::envelope::Arrival;
use crate::problem::Problem;
use crate::served::{Inferred, Served};
use crate::server::App;
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};

use grice_core::Reading;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const HEAD_LENGTH: &str = "inference-header-content-length";

/// A model in a path, perhaps with a version.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelPath {
    model: String,
    version: Option<String>,
}

type Asked = Result<Path<ModelPath>, PathRejection>;

/// `GET /v2`.
pub(crate) async fn server_metadata() -> Response<Body> {
    let extensions = ["binary_tensor_data", "model_configuration", "model_repository"];
    let body = json!({ "name": "grice", "version": env!("CARGO_PKG_VERSION"), "extensions": extensions });
    json_response(StatusCode::OK, &body)
}

/// `POST /v2/repository/index`.
pub(crate) async fn repository_index(State(app): State<Arc<App>>) -> Response<Body> {
    let models = app.catalog.models();
    let entries = models.iter().map(|served| {
        let state = if served.is_ready() { "READY" } else { "UNAVAILABLE" };
        json!({ "name": served.name(), "version": served.version(), "state": state, "reason": "" })
    });
    json_response(StatusCode::OK, &entries.collect::<Vec<_>>())
}

/// `GET /v2/models/{model}`.
pub(crate) async fn model_metadata(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let text = |name: &str| json!({ "name": name, "datatype": "BYTES", "shape": [-1, 1] });
    let tokens = |name: &str| json!({ "name": name, "datatype": "INT64", "shape": [-1, -1] });
    let labels = &served.reader().manifest().labels;
    let outputs =
        OutputKind::ALL.map(|kind| json!({ "name": kind.name(), "datatype": "FP32", "shape": [-1, labels.len()] }));
    let body = json!({
        "name": served.name(),
        "versions": [served.version()],
        "platform": "grice",
        "inputs": [text("context"), text("evidence"), text("response"), tokens("input_ids"), tokens("attention_mask")],
        "outputs": outputs,
        "parameters": { "labels": labels },
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// `GET /v2/models/{model}/ready`.
pub(crate) async fn model_ready(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let ready = served.is_ready() && !app.is_draining();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_response(status, &json!({ "name": served.name(), "ready": ready })))
}

/// `GET /v2/models/{model}/config`, in Triton's words.
pub(crate) async fn model_config(State(app): State<Arc<App>>, asked: Asked) -> Result<Response<Body>, Problem> {
    let served = find(&app, asked)?;
    let text = |name: &str, optional: bool| json!({ "name": name, "data_type": "TYPE_STRING", "dims": [1], "optional": optional });
    let tokens = |name: &str| json!({ "name": name, "data_type": "TYPE_INT64", "dims": [-1], "optional": true });
    let labels = served.reader().manifest().labels.len();
    let outputs =
        OutputKind::ALL.map(|kind| json!({ "name": kind.name(), "data_type": "TYPE_FP32", "dims": [labels] }));
    let body = json!({
        "name": served.name(),
        "platform": "grice",
        "backend": "grice",
        "max_batch_size": app.settings.limits.items_max,
        "input": [
            text("context", true), text("evidence", true), text("response", true),
            tokens("input_ids"), tokens("attention_mask"),
        ],
        "output": outputs,
        "dynamic_batching": {},
    });
    Ok(json_response(StatusCode::OK, &body))
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
    expect_plain(&head.headers)?;
    let head_bytes = head_length(&head.headers)?;
    let body = read_body(&app, &head.headers, body, &arrival).await?;
    let bounds = Bounds { rows_max: app.settings.limits.items_max, tokens_max: served.reader().manifest().max_tokens };
    let mut request = InferRequest::parse(&body, head_bytes, bounds)?;
    let start = Instant::now();
    let inputs = std::mem::replace(&mut request.inputs, Inputs::Tokens(Vec::new()));
    let (sequences, readings) = sequences(&served, inputs, &arrival).await?;
    let mut timing = Timing::new(start.elapsed());
    let inferred = served.infer(&sequences, arrival.deadline, caching_of(&head.headers)).await?;
    // The protocol has no words for a row without an answer.
    let inferred =
        inferred.into_iter().enumerate().map(|(row, inferred)| inferred.map_err(|problem| of_row(row, problem)));
    let inferred = inferred.collect::<Result<Vec<Inferred>, Problem>>()?;
    inferred.iter().for_each(|inferred| timing.add(inferred));
    let values = read_outputs(&app, &served, &request.outputs, &inferred, &readings)?;
    let model = (served.name(), served.version());
    let answer = write_answer(model, &request, inferred.len(), &values)
        .map_err(|error| Problem::internal(format!("writing an answer: {error}")))?;
    let content_type = if answer.head_bytes.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = bytes_response(StatusCode::OK, content_type, answer.bytes);
    timing.write(response.headers_mut(), arrival.start.elapsed());
    if let Some(length) = answer.head_bytes {
        response.headers_mut().insert(HEAD_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

fn find(app: &App, asked: Asked) -> Result<Arc<Served>, Problem> {
    let Path(asked) = asked.map_err(|error| Problem::malformed(format!("the path cannot be read: {error}")))?;
    let served = app.catalog.find(Some(&asked.model))?;
    match asked.version {
        Some(version) if version != served.version() => {
            let has = served.version();
            let detail = format!("the model `{}` has the version `{has}`, not `{version}`", served.name());
            Err(Problem::new(StatusCode::NOT_FOUND, "no-such-version", detail))
        }
        _ => Ok(served),
    }
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(told) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let length = told.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| Problem::malformed("Inference-Header-Content-Length must be a number of bytes"))
}

/// Token ids of each row, and what its verdict is to say of it.
async fn sequences(
    served: &Arc<Served>,
    inputs: Inputs,
    arrival: &Arrival,
) -> Result<(Vec<Arc<[u32]>>, Vec<Reading>), Problem> {
    match inputs {
        Inputs::Tokens(rows) => {
            let bound = served.id_bound().unwrap_or(usize::MAX);
            for (row, ids) in rows.iter().enumerate() {
                if let Some(id) = ids.iter().find(|&&id| id as usize >= bound) {
                    return Err(Problem::unusable(format!(
                        "row {row}: {id} is not a token of the model, which has {bound}"
                    )));
                }
            }
            let readings = vec![Reading::default(); rows.len()];
            Ok((rows.into_iter().map(Into::into).collect(), readings))
        }
        Inputs::Texts(turns) => {
            let mut sequences = Vec::with_capacity(turns.len());
            let mut readings = Vec::with_capacity(turns.len());
            for (row, turn) in turns.into_iter().enumerate() {
                let tokenized = served.tokenize(turn).await.map_err(|problem| of_row(row, problem))?;
                sequences.push(tokenized.ids);
                readings.push(tokenized.reading);
                if Instant::now() >= arrival.deadline {
                    return Err(Problem::deadline());
                }
            }
            Ok((sequences, readings))
        }
    }
}

fn of_row(row: usize, problem: Problem) -> Problem {
    Problem { detail: format!("row {row}: {}", problem.detail), ..problem }
}

/// The values of each output asked for, row by row, in the order of the manifest's labels.
fn read_outputs(
    app: &App,
    served: &Served,
    outputs: &[Output],
    inferred: &[Inferred],
    readings: &[Reading],
) -> Result<Vec<Vec<f32>>, Problem> {
    let labels = &served.reader().manifest().labels;
    let mut probabilities = Vec::with_capacity(inferred.len() * labels.len());
    for (row, (inferred, &reading)) in inferred.iter().zip(readings).enumerate() {
        let verdict = served.reader().verdict(&inferred.row, reading);
        let verdict = verdict.map_err(|error| of_row(row, Problem::from(&error)))?;
        app.metrics.count_verdict(&verdict);
        probabilities.extend(labels.iter().map(|&label| *verdict.probabilities.get(label)));
    }
    let values = outputs.iter().map(|output| match output.kind {
        OutputKind::Logits => inferred.iter().flat_map(|inferred| inferred.row.iter().copied()).collect(),
        OutputKind::Probabilities => probabilities.clone(),
    });
    Ok(values.collect())
}
