//! Errors for clients: `application/problem+json` (RFC 9457), which also has `error` for clients of the Open
//! Inference Protocol.

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::schedule::Rejection;
use grice_core::{EngineError, Error, ErrorKind};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// The supported content codings, for error messages.
const CODINGS: &str = "gzip, deflate, identity";

const UNKNOWN_ENCODING: &str = "unknown-encoding";

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The end of the problem's `type`, and the reason in metrics.
    pub(crate) code: &'static str,
    /// The error of this request and what to do.
    pub(crate) detail: String,
    /// When to retry.
    pub(crate) retry_after: Option<Duration>,
    /// Which items of an array are at fault.
    pub(crate) items: Vec<ItemProblem>,
}

/// The error of one item of an array.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ItemProblem {
    /// Its index, from 0.
    pub(crate) index: usize,
    /// Its error.
    pub(crate) detail: String,
}

#[derive(Serialize)]
struct Body9457<'p> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'p str,
    error: &'p str,
    #[serde(skip_serializing_if = "<[ItemProblem]>::is_empty")]
    errors: &'p [ItemProblem],
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), retry_after: None, items: Vec::new() }
    }

    /// 400: not a valid request of the protocol.
    pub(crate) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 422: well formed, but it cannot be judged.
    pub(crate) fn unusable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unusable-input", detail)
    }

    /// 501: no model has this task.
    pub(crate) fn no_task(task: &str) -> Problem {
        let detail = format!("no model here has the task `{task}`; /v1/models lists the models and their tasks");
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no-such-task", detail)
    }

    /// 413.
    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// 415 for a body of an unsupported media type.
    pub(crate) fn unknown_media_type(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-media-type", detail)
    }

    /// 408.
    pub(crate) fn slow_body() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "the body arrives too slowly")
    }

    /// 415 for an unknown content coding.
    pub(crate) fn unknown_encoding(detail: impl std::fmt::Display) -> Problem {
        let detail = format!("{detail}; use one of: {}", CODINGS);
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNKNOWN_ENCODING, detail)
    }

    /// 404 for a model.
    pub(crate) fn no_model(name: &str, known: &str) -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-such-model",
            format!("no model is called `{name}`; the models are: {known}"),
        )
    }

    /// 503: it cannot run now.
    pub(crate) fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Problem {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Problem { retry_after: Some(retry_after), ..problem }
    }

    /// 429: other large requests are being read.
    pub(crate) fn crowded() -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue-full", "too many large requests wait already");
        Problem { retry_after: Some(Duration::from_secs(1)), ..problem }
    }

    /// 504.
    pub(crate) fn deadline() -> Problem {
        let detail = "the deadline passed before there was an answer; set a longer one with X-Deadline-Ms";
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "deadline", detail)
    }

    /// 500: a bug in grice. The cause goes to the log, not to the client.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Problem {
        tracing::error!(%cause, "a request failed");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "grice failed to answer; the server's log has the cause",
        )
    }

    /// The problem for a rejection by the schedule.
    pub(crate) fn rejected(rejection: &Rejection) -> Problem {
        match rejection {
            Rejection::QueueFull { retry_after } => {
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue-full", rejection.to_string());
                Problem { retry_after: Some(*retry_after), ..problem }
            }
            Rejection::DeadlineExceeded => Problem::deadline(),
            Rejection::ShuttingDown => Problem::unavailable("the server is shutting down", Duration::from_secs(5)),
            Rejection::Refused(refused) => Problem::unusable(refused.to_string()),
            Rejection::Empty => Problem::unusable("a sequence has no tokens"),
            Rejection::Failed(error) => Problem::from(error.as_ref()),
            other => Problem::internal(other),
        }
    }

    /// Whether the cause is the server's state rather than the request.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 503 | 504)
    }

    /// The outcome label in metrics.
    pub(crate) fn outcome_of(status: StatusCode) -> &'static str {
        match status.as_u16() {
            0..=399 => "ok",
            401 | 403 => "denied",
            429 => "limited",
            400..=499 => "invalid",
            501 => "absent",
            503 => "unavailable",
            504 => "deadline",
            _ => "failed",
        }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Problem {
        match (error.kind(), error) {
            // The text is at fault, because the tokenizer itself was tested at the start.
            (ErrorKind::BadInput, _) | (_, Error::Tokenizer(_)) => Problem::unusable(error.to_string()),
            (_, Error::Engine(EngineError::TokenId { .. } | EngineError::Positions { .. })) => {
                Problem::unusable(error.to_string())
            }
            // A replica that lost its device is being rebuilt.
            (ErrorKind::Device, _) => Problem::unavailable(error.to_string(), Duration::from_secs(1)),
            _ => Problem::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = Body9457 {
            r#type: format!("urn:grice:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            error: &self.detail,
            errors: &self.items,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(retry_after) = self.retry_after {
            // The header has whole seconds; use at least one, or clients retry at once.
            let seconds = retry_after.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64;
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"grice\""));
        }
        if self.code == UNKNOWN_ENCODING {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
        }
        response.extensions_mut().insert(ProblemTold { code: self.code, detail: self.detail.into() });
        response
    }
}

/// Stored in the response for metrics, and for clients that get another form.
#[derive(Clone)]
pub(crate) struct ProblemTold {
    pub(crate) code: &'static str,
    pub(crate) detail: Arc<str>,
}
