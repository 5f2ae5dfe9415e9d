//! A text as server-sent events: one for each piece, and a last one with the totals.
//!
//! ```text
//! data: {"text":"It "}
//!
//! data: {"text":"was fine."}
//!
//! data: {"done":true,"finish_reason":"stop","prompt_tokens":12,"generated_tokens":5,"model":"gpt2"}
//! ```
//!
//! All pieces together are the text. If the text breaks off, the last event has `error` and `status` instead. The head is sent at once; a
//! body that is dropped cancels the text.

use crate::arrival::Arrival;
use crate::listener::{Listener, Said};
use crate::problem::Problem;
use crate::scribe::{Begun, Told};
use crate::streamed::Streamed;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response};
use grice_core::generate::Generated;
use grice_core::schedule::Rejection;
use grice_core::text::Stream;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// The body.
struct Events {
    told: Told,
    text: Stream,
    /// `None` after the end.
    coming: Option<Listener>,
    /// Events to send.
    ready: VecDeque<Bytes>,
    arrived: Instant,
    has_begun: bool,
    streamed: Streamed,
}

/// The answer with these events.
pub(super) fn response(told: Told, begun: Begun, arrival: &Arrival) -> Response<Body> {
    let streamed = Streamed::default();
    let mut events = Events {
        text: told.stream(),
        told,
        coming: None,
        ready: VecDeque::new(),
        arrived: arrival.start,
        has_begun: false,
        streamed: streamed.clone(),
    };
    let mut is_known = false;
    match begun {
        Begun::Coming(listener) => events.coming = Some(listener),
        Begun::Known(texts) => {
            is_known = true;
            match Told::best(Ok(texts)) {
                Ok(generated) => {
                    events.take_tokens(&generated.tokens);
                    events.end(&generated);
                }
                Err(problem) => events.break_off(&problem),
            }
        }
    }
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy must not collect the pieces.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if is_known {
        headers.insert(HeaderName::from_static("x-grice-cache"), HeaderValue::from_static("hit"));
    }
    response.extensions_mut().insert(streamed);
    response
}

impl Events {
    fn take_tokens(&mut self, tokens: &[u32]) {
        let piece: String = tokens.iter().map(|&token| self.text.push(token)).collect();
        self.send_piece(&piece);
    }

    fn send_piece(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.send(&json!({ "text": piece }));
        }
    }

    fn send(&mut self, event: &Value) {
        // JSON holds no line break outside its strings, where it is escaped.
        self.ready.push_back(format!("data: {event}\n\n").into());
    }

    fn end(&mut self, generated: &Generated) {
        let rest = self.text.finish();
        self.send_piece(&rest);
        let mut totals = json!({
            "done": true,
            "finish_reason": generated.reason.name(),
            "prompt_tokens": self.told.prompt_tokens,
            "generated_tokens": generated.tokens.len(),
            "model": self.told.scribe.name(),
        });
        if let Some(seed) = self.told.options.seed {
            totals["seed"] = seed.into();
        }
        self.send(&totals);
    }

    fn break_off(&mut self, problem: &Problem) {
        self.streamed.fail(problem);
        self.send(&json!({ "error": problem.detail, "status": problem.status.as_u16() }));
    }

    fn take(&mut self, said: Option<Said>) {
        match said {
            Some(Said::Tokens(tokens)) => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.told.scribe.metrics().first_token.observe(self.arrived.elapsed().as_secs_f64());
                }
                self.take_tokens(&tokens);
            }
            Some(Said::End(answer)) => {
                self.coming = None;
                self.told.scribe.metrics().queue.observe(answer.queued.as_secs_f64());
                match Told::best(answer.outcome) {
                    Ok(generated) => self.end(&generated),
                    Err(problem) => self.break_off(&problem),
                }
            }
            None => {
                self.coming = None;
                self.break_off(&Problem::rejected(&Rejection::ShuttingDown));
            }
        }
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            let Some(listener) = &mut self.coming else { return Poll::Ready(None) };
            let said = ready!(listener.poll_hear(context));
            self.take(said);
        }
    }
}
