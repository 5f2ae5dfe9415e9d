//! A pipeline as server-sent events: one for each step, and a last one with the answer.
//!
//! ```text
//! data: {"step":"detect","text":"I liked it. I liked it a lot.","probabilities":{…},"ms":4.1}
//!
//! data: {"step":"repair","maxim":"quantity","text":"I liked it a lot.","ms":120.5}
//!
//! data: {"done":true,"repaired":"I liked it a lot.","is_fallback":false,…}
//! ```
//!
//! If the pipeline fails, the last event has `error` and `status` instead. The head is sent at once; a body that is dropped ends the
//! pipeline.

use super::mend::{Answer, Asked};
use crate::app::App;
use crate::arrival::Arrival;
use crate::streamed::Streamed;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

/// The body. The number of events is bounded by the rounds.
struct Steps {
    coming: UnboundedReceiver<Bytes>,
    task: AbortHandle,
}

/// The last event.
#[derive(Serialize)]
struct Last {
    done: bool,
    #[serde(flatten)]
    answer: Answer,
}

/// The answer with these events.
pub(super) fn response(app: Arc<App>, arrival: Arrival, asked: Asked) -> Response<Body> {
    let (events, coming) = unbounded_channel();
    let streamed = Streamed::default();
    let task = tokio::spawn(run(app, arrival, asked, events, streamed.clone())).abort_handle();
    let mut response = Response::new(Body::new(Steps { coming, task }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy must not collect the events.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.extensions_mut().insert(streamed);
    response
}

async fn run(app: Arc<App>, arrival: Arrival, asked: Asked, events: UnboundedSender<Bytes>, streamed: Streamed) {
    // A receiver that is gone ends this task.
    let send = |event: String| _ = events.send(format!("data: {event}\n\n").into());
    // JSON holds no line break outside its strings, where it is escaped; numbers and texts always have a form.
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "{}".to_owned());
    let Asked { mending, pipeline, .. } = asked;
    let outcome = mending.run(&app, &arrival, pipeline, |step| send(json(serde_json::to_string(step)))).await;
    match outcome {
        Ok(outcome) => {
            let last = Last { done: true, answer: Answer::new(outcome, &mending, false) };
            send(json(serde_json::to_string(&last)));
        }
        Err(problem) => {
            streamed.fail(&problem);
            send(json!({ "error": problem.detail, "status": problem.status.as_u16() }).to_string());
        }
    }
}

impl hyper::body::Body for Steps {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.coming.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.task.abort();
    }
}
