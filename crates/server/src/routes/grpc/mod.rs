//! `inference.GRPCInferenceService`, the Open Inference Protocol v2 over gRPC, on the same port as HTTP.
//!
//! Refusals have the form of the other routes; `envelope` converts them to gRPC.

mod framing;
mod infer;
mod messages;
mod status;
mod stream;
mod texts;

pub(crate) use status::{is_call, refusal};
pub(super) use stream::infer_stream;

use super::bounds::Bounds;
use super::describe::{self, Described, TensorInfo};
use super::detect::caching_of;
use super::judge::judge;
use super::tensors::InferRequest;
use crate::app::App;
use crate::arrival::Arrival;
use crate::problem::Problem;
use crate::served::Served;
use crate::statistics::Sum;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, Version};
use framing::{Answer, Messages, Packing, decode, response};
use grice_core::schedule::Caching;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

type Answered = Result<Response<Body>, Problem>;

/// Reads the only message of a call.
struct Call {
    packing: Packing,
    headers: HeaderMap,
    message: Bytes,
}

impl Call {
    /// # Errors
    /// 400 if it is not gRPC or not exactly one message, and the errors of [`Messages::next`].
    async fn read(app: &App, arrival: &Arrival, request: Request) -> Result<Call, Problem> {
        expect_grpc(&request)?;
        let (head, body) = request.into_parts();
        let packing = Packing::of(&head.headers)?;
        let mut messages = Messages::new(body, packing);
        let missing = || Problem::malformed("the call has no message; this method takes one");
        let message = messages.next(app, Some(arrival.deadline)).await?.ok_or_else(missing)?;
        if messages.next(app, Some(arrival.deadline)).await?.is_some() {
            return Err(Problem::malformed("the call has more than one message; this method takes one"));
        }
        Ok(Call { packing, headers: head.headers, message })
    }

    fn answer(&self, message: &impl Message) -> Answered {
        Ok(response(self.packing, Answer::One(Some(self.packing.frame(message)))))
    }
}

fn expect_grpc(request: &Request) -> Result<(), Problem> {
    match () {
        () if !is_call(request.headers()) => {
            Err(Problem::unknown_media_type("this is a gRPC method: Content-Type must be application/grpc"))
        }
        () if request.version() < Version::HTTP_2 => Err(Problem::malformed("gRPC needs HTTP/2")),
        () => Ok(()),
    }
}

/// The timeout in `grpc-timeout`: up to eight digits and a unit.
///
/// # Errors
/// 400 for another form.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(told) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong = || Problem::malformed("grpc-timeout must be up to eight digits and one of H, M, S, m, u, n");
    let text = told.to_str().map_err(|_| wrong())?;
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    Ok(Some(match text.as_bytes().last() {
        Some(b'H') => Duration::from_secs(3600 * count),
        Some(b'M') => Duration::from_secs(60 * count),
        Some(b'S') => Duration::from_secs(count),
        Some(b'm') => Duration::from_millis(count),
        Some(b'u') => Duration::from_micros(count),
        Some(b'n') => Duration::from_nanos(count),
        _ => return Err(wrong()),
    }))
}

fn described(app: &App, asked: &messages::ModelAsked) -> Result<Described, Problem> {
    describe::describe(app, &asked.name, Some(asked.version.as_str()).filter(|version| !version.is_empty()))
}

fn find(app: &App, name: &str, version: &str) -> Result<Arc<Served>, Problem> {
    describe::find(app, name, Some(version).filter(|version| !version.is_empty()))
}

/// `ServerLive`.
pub(super) async fn server_live(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    Call::read(&app, &arrival, request).await?.answer(&messages::Flag { is_so: true })
}

/// `ServerReady`.
pub(super) async fn server_ready(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    Call::read(&app, &arrival, request).await?.answer(&messages::Flag { is_so: app.is_ready() })
}

/// `ModelReady`. An unknown model is not ready, as in Triton.
pub(super) async fn model_ready(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let asked: messages::ModelAsked = decode(call.message.clone())?;
    let is_so = described(&app, &asked).is_ok_and(|model| model.is_ready);
    call.answer(&messages::Flag { is_so })
}

/// `ServerMetadata`.
pub(super) async fn server_metadata(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    Call::read(&app, &arrival, request).await?.answer(&messages::ServerMetadata {
        name: describe::NAME.to_owned(),
        version: describe::VERSION.to_owned(),
        extensions: describe::EXTENSIONS.map(str::to_owned).into(),
    })
}

/// `ModelMetadata`.
pub(super) async fn model_metadata(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let asked: messages::ModelAsked = decode(call.message.clone())?;
    let model = described(&app, &asked)?;
    let tensors = |all: Vec<TensorInfo>| {
        let tensors = all.iter().map(|tensor| messages::TensorMetadata {
            name: tensor.name.to_owned(),
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape(),
        });
        tensors.collect()
    };
    call.answer(&messages::ModelMetadata {
        name: model.name,
        versions: vec![model.version],
        platform: describe::NAME.to_owned(),
        inputs: tensors(model.inputs),
        outputs: tensors(model.outputs),
    })
}

/// `ModelConfig`.
pub(super) async fn model_config(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let asked: messages::ModelAsked = decode(call.message.clone())?;
    let model = described(&app, &asked)?;
    let input = model.inputs.into_iter().map(|tensor| messages::ConfigInput {
        name: tensor.name.to_owned(),
        data_type: tensor.config_type().1,
        dims: tensor.dims,
        optional: !model.is_decoupled,
    });
    let output = model.outputs.into_iter().map(|tensor| messages::ConfigOutput {
        name: tensor.name.to_owned(),
        data_type: tensor.config_type().1,
        dims: tensor.dims,
    });
    let config = messages::ModelConfig {
        name: model.name,
        platform: describe::NAME.to_owned(),
        backend: describe::NAME.to_owned(),
        max_batch_size: i32::try_from(model.rows_max).unwrap_or(i32::MAX),
        input: input.collect(),
        output: output.collect(),
        dynamic_batching: Some(messages::Empty {}),
        transaction_policy: Some(messages::TransactionPolicy { decoupled: model.is_decoupled }),
    };
    call.answer(&messages::ModelConfigAnswer { config: Some(config) })
}

/// `RepositoryIndex`.
pub(super) async fn repository_index(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let asked: messages::IndexAsked = decode(call.message.clone())?;
    if !asked.repository_name.is_empty() {
        let detail = "`repository_name` is not supported: there is one repository, without a name; leave it empty";
        return Err(Problem::malformed(detail));
    }
    let entries = describe::index(&app, asked.ready).into_iter().map(|model| messages::IndexEntry {
        state: model.state().to_owned(),
        name: model.name,
        version: model.version,
    });
    call.answer(&messages::Index { models: entries.collect() })
}

/// `ModelStatistics`.
pub(super) async fn model_statistics(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let asked: messages::ModelAsked = decode(call.message.clone())?;
    let models = match asked.name.as_str() {
        "" => app.catalog.models().to_vec(),
        name => vec![find(&app, name, &asked.version)?],
    };
    call.answer(&messages::StatisticsAnswer { model_stats: models.iter().map(|served| statistics(served)).collect() })
}

fn statistics(served: &Served) -> messages::ModelStatistics {
    let sum = |sum: Sum| Some(messages::Duration { count: sum.count, ns: sum.ns });
    let counts = served.statistics().counts();
    let batches = counts.batches.iter().map(|(&batch_size, batch)| messages::BatchStatistics {
        batch_size,
        compute_input: sum(batch.input),
        compute_infer: sum(batch.infer),
        compute_output: sum(batch.output),
    });
    messages::ModelStatistics {
        name: served.name().to_owned(),
        version: served.version().to_owned(),
        last_inference: counts.last_inference_ms,
        inference_count: counts.inferences,
        execution_count: counts.executions,
        inference_stats: Some(messages::InferenceStatistics {
            success: sum(counts.success),
            fail: sum(counts.fail),
            queue: sum(counts.queue),
            compute_input: sum(counts.compute_input),
            compute_infer: sum(counts.compute_infer),
            compute_output: sum(counts.compute_output),
            cache_hit: sum(counts.cache_hit),
            cache_miss: sum(counts.cache_miss),
        }),
        batch_stats: batches.collect(),
    }
}

/// `ModelInfer`.
pub(super) async fn model_infer(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Answered {
    let call = Call::read(&app, &arrival, request).await?;
    let caching = caching_of(&call.headers);
    let asked = read_infer(&app, &arrival, call.message.clone()).await?;
    if app.catalog.find_scribe(Some(&asked.model_name)).is_ok() {
        return call.answer(&texts::whole(&app, &arrival, caching, asked).await?);
    }
    let (answer, timing) = infer_one(&app, &arrival, caching, call.message.len(), asked, false).await?;
    let mut response = call.answer(&answer)?;
    timing.write(response.headers_mut(), arrival.start.elapsed());
    Ok(response)
}

async fn read_infer(app: &App, arrival: &Arrival, message: Bytes) -> Result<messages::InferAsked, Problem> {
    let bytes = message.len();
    let read = move || {
        infer::check_counts(&message)?;
        decode(message)
    };
    let (asked, _) = app.lanes.run(bytes, arrival.deadline, read).await?;
    asked
}

/// Reads one message, for a fuzzer.
pub(super) fn parse(message: Bytes, bounds: Bounds) -> Result<InferRequest, Problem> {
    infer::check_counts(&message)?;
    InferRequest::from_message(decode(message)?, bounds)
}

/// Judges the request in one message.
async fn infer_one(
    app: &Arc<App>,
    arrival: &Arrival,
    caching: Caching,
    bytes: usize,
    asked: messages::InferAsked,
    is_of_stream: bool,
) -> Result<(messages::InferAnswer, crate::timing::Timing), Problem> {
    let served = find(app, &asked.model_name, &asked.model_version)?;
    let read = move |bounds| InferRequest::from_message(asked, bounds);
    let judged = judge(app, &served, arrival, caching, bytes, read).await?;
    Ok((infer::answer(&served, &judged, is_of_stream), judged.timing))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let of = |told: &'static str| {
            timeout_of(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), HeaderValue::from_static(told))]))
        };
        assert_eq!(timeout_of(&HeaderMap::new()).unwrap(), None);
        for (told, micros) in [
            ("1S", 1_000_000),
            ("250m", 250_000),
            ("7u", 7),
            ("99999999n", 99_999),
            ("2M", 120_000_000),
            ("1H", 3_600_000_000),
        ] {
            assert_eq!(of(told).unwrap().unwrap().as_micros(), micros, "{told}");
        }
        for wrong in ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "+1S"] {
            assert_eq!(of(wrong).unwrap_err().status.as_u16(), 400, "{wrong}");
        }
    }
}
