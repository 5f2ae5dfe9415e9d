//! Texts as they come, as the body of an answer: server-sent events in the wording of an interface.
//!
//! The head is sent at once. All pieces of a text together are the text; a piece is never taken back. A body that is dropped cancels its texts.

use crate::arrival::Arrival;
use crate::begun::{Begun, best};
use crate::listener::{Listener, Said};
use crate::problem::Problem;
use crate::scribe::Told;
use crate::streamed::Streamed;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response};
use grice_core::generate::{Generated, TokenLog};
use grice_core::schedule::{NewTokens, Rejection};
use grice_core::text::Stream;
use hyper::body::Frame;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How an interface says what becomes of texts.
pub(super) trait Wording: Send + Unpin + 'static {
    /// Before anything is known of a text.
    fn begin(&mut self, _place: usize, _told: &Told, _events: &mut Events) {}
    /// A piece of a text and the log-probabilities of its tokens, if they were asked for. One of both can be empty.
    fn piece(&mut self, place: usize, told: &Told, piece: &str, logs: &[Arc<TokenLog>], events: &mut Events);
    /// A text has ended.
    fn end(&mut self, place: usize, told: &Told, generated: &Generated, events: &mut Events);
    /// All texts have ended.
    fn close(&mut self, _events: &mut Events) {}
    /// The texts break off.
    fn break_off(&mut self, problem: &Problem, events: &mut Events);
}

/// Events to send.
#[derive(Default)]
pub(super) struct Events(VecDeque<Bytes>);

impl Events {
    pub(super) fn send(&mut self, event: &Value) {
        // JSON holds no line break outside its strings, where it is escaped.
        self.0.push_back(format!("data: {event}\n\n").into());
    }

    /// An event that is no JSON.
    pub(super) fn send_text(&mut self, event: &'static str) {
        self.0.push_back(Bytes::from_static(event.as_bytes()));
    }
}

/// A text on its way.
pub(super) struct Writing {
    pub(super) told: Told,
    text: Stream,
    /// `None` after the end.
    coming: Option<Listener>,
}

/// The body.
struct Pieces<W> {
    wording: W,
    texts: Vec<Writing>,
    /// The text that is asked first, so that each gets its turn.
    next: usize,
    events: Events,
    arrived: Instant,
    has_begun: bool,
    has_closed: bool,
    streamed: Streamed,
}

/// The answer with the pieces of these texts.
pub(super) fn response<W: Wording>(wording: W, texts: Vec<(Told, Begun)>, arrival: &Arrival) -> Response<Body> {
    let is_known = texts.iter().all(|(_, begun)| matches!(begun, Begun::Known(_)));
    let streamed = Streamed::default();
    let mut pieces = Pieces {
        wording,
        texts: Vec::new(),
        next: 0,
        events: Events::default(),
        arrived: arrival.start,
        has_begun: false,
        has_closed: false,
        streamed: streamed.clone(),
    };
    texts.into_iter().for_each(|(told, begun)| pieces.add(told, begun));
    pieces.close_if_done();
    let mut response = Response::new(Body::new(pieces));
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

/// Log-probabilities of what is said: not those of a stop token, which is at most the last one.
pub(super) fn said_logs<'l>(logs: &'l [Arc<TokenLog>], told: &Told) -> &'l [Arc<TokenLog>] {
    match logs.split_last() {
        Some((last, rest)) if told.options.stop_tokens.contains(&last.token) => rest,
        _ => logs,
    }
}

impl Writing {
    pub(super) fn new(told: Told, coming: Option<Listener>) -> Writing {
        Writing { text: told.stream(), told, coming }
    }

    /// The text that is certain with these tokens.
    pub(super) fn piece(&mut self, tokens: &[u32]) -> String {
        tokens.iter().map(|&token| self.text.push(token)).collect()
    }

    /// The text that waited.
    pub(super) fn rest(&mut self) -> String {
        self.text.finish()
    }
}

impl<W: Wording> Pieces<W> {
    fn add(&mut self, told: Told, begun: Begun) {
        let place = self.texts.len();
        self.wording.begin(place, &told, &mut self.events);
        match begun {
            Begun::Coming(listener) => self.texts.push(Writing::new(told, Some(listener))),
            Begun::Known(texts) => {
                self.texts.push(Writing::new(told, None));
                match best(Ok(texts)) {
                    Ok(generated) => {
                        let (ids, logs) = (generated.tokens.as_slice(), generated.log_probabilities.as_slice());
                        self.take_tokens(place, &NewTokens { ids: ids.into(), logs: logs.into() });
                        self.end(place, &generated);
                    }
                    Err(problem) => self.break_off(&problem),
                }
            }
        }
    }

    fn take_tokens(&mut self, place: usize, tokens: &NewTokens) {
        let Some(writing) = self.texts.get_mut(place) else { return };
        let piece = writing.piece(&tokens.ids);
        let logs = said_logs(&tokens.logs, &writing.told);
        if !piece.is_empty() || !logs.is_empty() {
            self.wording.piece(place, &writing.told, &piece, logs, &mut self.events);
        }
    }

    fn end(&mut self, place: usize, generated: &Generated) {
        let Some(writing) = self.texts.get_mut(place) else { return };
        writing.coming = None;
        let rest = writing.rest();
        if !rest.is_empty() {
            self.wording.piece(place, &writing.told, &rest, &[], &mut self.events);
        }
        self.wording.end(place, &writing.told, generated, &mut self.events);
    }

    fn break_off(&mut self, problem: &Problem) {
        // Dropping the listeners cancels the other texts.
        self.texts.iter_mut().for_each(|writing| writing.coming = None);
        if !std::mem::replace(&mut self.has_closed, true) {
            self.streamed.fail(problem);
            self.wording.break_off(problem, &mut self.events);
        }
    }

    fn close_if_done(&mut self) {
        let is_done = self.texts.iter().all(|writing| writing.coming.is_none());
        if is_done && !std::mem::replace(&mut self.has_closed, true) {
            self.wording.close(&mut self.events);
        }
    }

    fn take(&mut self, place: usize, said: Option<Said>) {
        let Some(metrics) = self.texts.get(place).map(|writing| Arc::clone(&writing.told.scribe)) else { return };
        match said {
            Some(Said::Tokens(tokens)) => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    metrics.metrics().first_token.observe(self.arrived.elapsed().as_secs_f64());
                }
                self.take_tokens(place, &tokens);
            }
            Some(Said::End(answer)) => {
                metrics.metrics().queue.observe(answer.queued.as_secs_f64());
                match best(answer.outcome) {
                    Ok(generated) => self.end(place, &generated),
                    Err(problem) => self.break_off(&problem),
                }
            }
            None => self.break_off(&Problem::rejected(&Rejection::ShuttingDown)),
        }
        self.close_if_done();
    }

    /// What is said next of any text, and of which.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<(usize, Option<Said>)> {
        let count = self.texts.len();
        for step in 0..count {
            let place = (self.next + step) % count;
            let Some(listener) = self.texts.get_mut(place).and_then(|writing| writing.coming.as_mut()) else {
                continue;
            };
            if let Poll::Ready(said) = listener.poll_hear(context) {
                self.next = place + 1;
                return Poll::Ready((place, said));
            }
        }
        Poll::Pending
    }
}

impl<W: Wording> hyper::body::Body for Pieces<W> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(event) = self.events.0.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            if self.has_closed {
                return Poll::Ready(None);
            }
            let (place, said) = std::task::ready!(self.poll_hear(context));
            self.take(place, said);
        }
    }
}
