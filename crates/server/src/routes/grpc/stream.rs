//! `ModelStreamInfer`: requests on one stream, answered in order: turns by one answer, texts by one for each piece. An error is the answer to its
//! request; the stream continues.

use super::framing::{Answer, Messages, Packing, response};
use super::infer::WANTS_FINAL;
use super::messages::{InferAnswer, StreamAnswer};
use super::texts::Written;
use super::{Answered, expect_grpc, infer_one, read_infer, status, timeout_of};
use crate::app::App;
use crate::arrival::Arrival;
use crate::guard::Entry;
use crate::problem::Problem;
use crate::routes::detect::caching_of;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use hyper::body::Frame;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;

/// A stream, and the state that its requests share.
struct Stream {
    app: Arc<App>,
    headers: HeaderMap,
    packing: Packing,
    /// The client's deadline for the whole stream, if any.
    deadline: Option<Instant>,
    ending: watch::Receiver<bool>,
    answers: Sender<Frame<Bytes>>,
}

/// Sends a head at once; the messages follow when they are ready.
pub(in crate::routes) async fn infer_stream(State(app): State<Arc<App>>, request: Request) -> Answered {
    expect_grpc(&request)?;
    let start = Instant::now();
    let (head, body) = request.into_parts();
    let packing = Packing::of(&head.headers)?;
    let deadline = timeout_of(&head.headers)?.map(|timeout| start + timeout);
    // While a client does not read its answers, no more of its requests are read.
    let (answers, frames) = channel(1);
    let ending = app.ending.subscribe();
    let stream = Stream { app, headers: head.headers, packing, deadline, ending, answers };
    tokio::spawn(stream.serve(Messages::new(body, packing)));
    Ok(response(packing, Answer::Many(Some(frames))))
}

impl Stream {
    async fn serve(mut self, mut messages: Messages) {
        let answers = self.answers.clone();
        let served = async {
            let trailers = match self.answer_all(&mut messages).await {
                Ok(()) => status::fine(),
                Err(problem) => status::of(&problem),
            };
            // A disconnected client needs no status.
            _ = self.answers.send(Frame::trailers(trailers)).await;
        };
        tokio::select! {
            () = served => {}
            // The client is gone: its last request leaves the queue.
            () = answers.closed() => {}
        }
    }

    /// Runs until the client sends no more, or the stream cannot continue.
    async fn answer_all(&mut self, messages: &mut Messages) -> Result<(), Problem> {
        let mut is_first = true;
        loop {
            let message = tokio::select! {
                message = messages.next(&self.app, self.deadline) => message?,
                _ = self.ending.wait_for(|ending| *ending) => {
                    return Err(Problem::unavailable("the server is shutting down", Duration::from_secs(1)));
                }
            };
            let Some(message) = message else { return Ok(()) };
            let mut id = String::new();
            if let Err(problem) = self.answer_one(message, is_first, &mut id).await {
                // The client uses the id to find the failed request.
                let infer_response = Some(InferAnswer { id, ..InferAnswer::default() });
                self.send(&StreamAnswer { error_message: problem.detail, infer_response }).await;
            }
            is_first = false;
        }
    }

    /// Sends an answer. A client that is gone needs none: [`Stream::serve`] ends then.
    async fn send(&self, answer: &StreamAnswer) {
        _ = self.answers.send(Frame::data(self.packing.frame(answer))).await;
    }

    async fn send_inferred(&self, answer: InferAnswer) {
        self.send(&StreamAnswer { error_message: String::new(), infer_response: Some(answer) }).await;
    }

    async fn answer_one(&self, message: Bytes, is_first: bool, id: &mut String) -> Result<(), Problem> {
        let start = Instant::now();
        let deadline = start + self.app.settings.limits.deadline;
        let arrival = Arrival { start, deadline: self.deadline.map_or(deadline, |whole| whole.min(deadline)) };
        let bytes = message.len();
        let mut asked = read_infer(&self.app, &arrival, message).await?;
        id.clone_from(&asked.id);
        if !is_first {
            // The stream itself counted as one request; each further one counts too.
            self.app.guard.admit(Entry::Key, &self.headers)?;
        }
        asked.parameters.remove(WANTS_FINAL);
        let caching = caching_of(&self.headers);
        if self.app.catalog.find_scribe(Some(&asked.model_name)).is_ok() {
            let mut written = Written::begin(&self.app, &arrival, caching, asked)?;
            while let Some(answer) = written.next().await? {
                self.send_inferred(answer).await;
            }
            return Ok(());
        }
        let (answer, _) = infer_one(&self.app, &arrival, caching, bytes, asked, true).await?;
        self.send_inferred(answer).await;
        Ok(())
    }
}
