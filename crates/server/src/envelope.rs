//! The middleware of all routes. For a request: its id, trace, deadline and keys. For the answer:
//! headers, metrics and the log line.

use crate::app::App;
use crate::arrival::{Arrival, LoggedText};
use crate::encoding;
use crate::guard::Entry;
use crate::ids::{Trace, request_id};
use crate::metrics::Metrics;
use crate::otlp::Span;
use crate::problem::{Problem, ProblemTold};
use crate::routes::{entry_of, grpc, openai};
use crate::streamed::Streamed;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use axum::middleware::Next;
use axum::response::IntoResponse;
use hyper::body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

const NOT_FOUND: &str = "unmatched";

/// The middleware around all routes.
pub(crate) async fn wrap(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response<axum::body::Body> {
    let start = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(NOT_FOUND, MatchedPath::as_str);
    let open = Open::new(Arc::clone(&app.metrics), route);
    let id = request_id(request.headers());
    let trace = Trace::of(request.headers(), app.exporter.is_some());
    let (method, version) = (request.method().clone(), request.version());
    // A gRPC client cannot read another kind of answer; HTTP/1 has no gRPC calls.
    let is_call = version >= Version::HTTP_2 && grpc::is_call(request.headers());
    let wanted = encoding::wanted(request.headers());
    let mut response = match admit(&app, route, request.headers(), start) {
        Ok(deadline) => {
            request.extensions_mut().insert(Arrival { start, deadline });
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    let closing = Closing {
        open,
        method,
        trace,
        id: id.clone(),
        start,
        status: response.status(),
        code: response.extensions().get::<ProblemTold>().map(|told| told.code),
        cache: cache_of(&response).map(str::to_owned),
        text: response.extensions().get::<LoggedText>().cloned(),
        app: Arc::clone(&app),
    };
    if openai::is_route(route) {
        response = openai::refusal(response);
    }
    response = match response.extensions_mut().remove::<Streamed>() {
        // It is over when its body is.
        Some(streamed) => response.map(|body| Body::new(Closed { body, closing: Some(closing), streamed })),
        None => {
            closing.close();
            response
        }
    };
    response = match wanted {
        _ if is_call && !grpc::is_call(response.headers()) => grpc::refusal(&response),
        Some(coding) if !is_call => encoding::pack_answer(coding, response).await,
        _ => response,
    };
    let headers = response.headers_mut();
    headers.insert("x-request-id", id);
    headers.insert("traceparent", trace.header());
    if version < Version::HTTP_2 && app.is_draining.load(Ordering::Relaxed) {
        // So that the client sends its next request to another server.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn admit(app: &App, route: &str, headers: &HeaderMap, start: Instant) -> Result<Instant, Problem> {
    let entry = entry_of(route);
    app.guard.admit(entry, headers)?;
    let limits = &app.settings.limits;
    if entry == Entry::Open {
        return Ok(start + limits.deadline);
    }
    let by_header = headers.get("x-deadline-ms").map(parse_deadline).transpose()?;
    let by_call = grpc::timeout_of(headers)?;
    let asked = by_header.into_iter().chain(by_call).min();
    Ok(start + asked.map_or(limits.deadline, |asked| asked.min(limits.deadline_max)))
}

fn parse_deadline(value: &HeaderValue) -> Result<Duration, Problem> {
    let milliseconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|&ms| ms > 0);
    let wrong = || Problem::malformed("X-Deadline-Ms must be a whole number of milliseconds, at least 1");
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

/// An open request. If it is dropped without [`Open::close`], the client has disconnected.
struct Open {
    metrics: Arc<Metrics>,
    route: String,
    is_closed: bool,
}

impl Open {
    fn new(metrics: Arc<Metrics>, route: &str) -> Open {
        metrics.inflight.inc();
        Open { metrics, route: route.to_owned(), is_closed: false }
    }

    fn close(mut self, status: StatusCode, code: Option<&'static str>, took: Duration) {
        self.is_closed = true;
        self.metrics.count_request(&self.route, status, code, took);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.inflight.dec();
        if !self.is_closed {
            self.metrics.count_cancelled(&self.route);
        }
    }
}

/// What is counted, logged and sent to the collector when a request is over.
struct Closing {
    app: Arc<App>,
    open: Open,
    method: Method,
    trace: Trace,
    id: HeaderValue,
    start: Instant,
    status: StatusCode,
    code: Option<&'static str>,
    cache: Option<String>,
    text: Option<LoggedText>,
}

impl Closing {
    fn close(self) {
        let took = self.tell();
        self.open.close(self.status, self.code, took);
    }

    /// The client has disconnected in the middle of the answer.
    fn cancel(mut self) {
        self.code = Some("cancelled");
        self.tell();
    }

    fn tell(&self) -> Duration {
        let took = self.start.elapsed();
        let route = &self.open.route;
        if self.app.settings.access_log {
            self.log(took);
        }
        if let Some(exporter) = self.app.exporter.as_ref().filter(|_| self.trace.is_sampled()) {
            exporter.take(Span {
                trace: self.trace,
                name: format!("{} {route}", self.method),
                took,
                status: self.status.as_u16(),
                problem: self.code,
                cache: self.cache.clone(),
                request_id: self.id.to_str().unwrap_or_default().to_owned(),
            });
        }
        took
    }

    fn log(&self, took: Duration) {
        tracing::info!(
            target: "grice::access",
            method = %self.method,
            route = self.open.route,
            status = self.status.as_u16(),
            problem = self.code,
            took_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            cache = self.cache,
            request_id = self.id.to_str().unwrap_or_default(),
            trace_id = format_args!("{:032x}", self.trace.trace_id),
            text = self.text.as_ref().map(|text| &*text.0),
            "request"
        );
    }
}

/// A body that closes its request when it ends, or when it is dropped.
struct Closed {
    body: Body,
    closing: Option<Closing>,
    streamed: Streamed,
}

impl hyper::body::Body for Closed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None))
            && let Some(mut closing) = self.closing.take()
        {
            if let Some((status, code)) = self.streamed.problem() {
                (closing.status, closing.code) = (status, Some(code));
            }
            closing.close();
        }
        frame
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            closing.cancel();
        }
    }
}

fn cache_of(response: &Response<axum::body::Body>) -> Option<&str> {
    response.headers().get("x-grice-cache").and_then(|value| value.to_str().ok())
}
