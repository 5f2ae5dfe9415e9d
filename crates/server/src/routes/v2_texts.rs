//! Triton's generate extension: `POST /v2/models/{model}/generate` and `…/generate_stream`.
//!
//! ```text
//! data: {"model_name":"gpt2","model_version":"gpt2","text_output":" It was"}
//! ```
//!
//! A stream has an event for each piece; the last one has `finish_reason`, and the connection closes after it. A text that breaks off ends with
//! `{"error": …}`.

use super::asked_text::{AskedText, OUTPUT};
use super::body::json_response;
use super::describe::find_scribe;
use super::generate::{log_text, read_for_texts, timing_of};
use super::input::parse_json;
use super::pieces::{self, Events, Wording};
use super::v2::{Asked, path_of};
use crate::app::App;
use crate::arrival::Arrival;
use crate::problem::Problem;
use crate::scribe::{Prepared, Scribe, Told};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use grice_core::generate::{Generated, TokenLog};
use serde_json::{Value, json};
use std::sync::Arc;

/// The fields that all answers have.
struct Words {
    id: Option<String>,
    name: String,
    version: String,
}

/// `POST …/generate`.
pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    asked: Asked,
    request: Request,
) -> Result<Response<Body>, Problem> {
    respond(&app, &arrival, asked, request, false).await
}

/// `POST …/generate_stream`.
pub(crate) async fn generate_stream(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    asked: Asked,
    request: Request,
) -> Result<Response<Body>, Problem> {
    respond(&app, &arrival, asked, request, true).await
}

async fn respond(
    app: &Arc<App>,
    arrival: &Arrival,
    asked: Asked,
    request: Request,
    streams: bool,
) -> Result<Response<Body>, Problem> {
    let (name, version) = path_of(asked)?;
    let scribe = find_scribe(app, &name, version.as_deref())?;
    let reader = Arc::clone(&scribe);
    let read = move |_: &App, body: &[u8]| read(&reader, body, streams);
    let ((words, prepared), caching, body) = read_for_texts(app, arrival, request, read).await?;
    let told = prepared.told(&scribe);
    let begun = scribe.begin(prepared, arrival.deadline, caching)?;
    let mut response = match streams {
        true => pieces::response(words, vec![(told, begun)], arrival),
        false => {
            let first = || scribe.metrics().first_token.observe(arrival.start.elapsed().as_secs_f64());
            let (generated, heard) = begun.end(first).await?;
            if let Some(heard) = &heard {
                scribe.metrics().queue.observe(heard.queued.as_secs_f64());
            }
            let mut answer = words.with(&told.text(&generated));
            add_end(&mut answer, &told, &generated);
            let mut response = json_response(StatusCode::OK, &answer);
            timing_of(heard).write(response.headers_mut(), arrival.start.elapsed());
            response
        }
    };
    log_text(app, &mut response, &body);
    Ok(response)
}

fn read(scribe: &Scribe, body: &[u8], streams: bool) -> Result<(Words, Prepared), Problem> {
    let asked = AskedText::from_body(parse_json(body)?, streams)?;
    let words = Words { id: asked.id.clone(), name: scribe.name().to_owned(), version: scribe.info().version };
    Ok((words, asked.prepare(scribe)?))
}

impl Words {
    fn with(&self, text: &str) -> Value {
        let mut answer = json!({ "model_name": self.name, "model_version": self.version, OUTPUT: text });
        if let Some(id) = &self.id {
            answer["id"] = id.as_str().into();
        }
        answer
    }
}

/// What is known at the end of a text.
fn add_end(answer: &mut Value, told: &Told, generated: &Generated) {
    answer["finish_reason"] = generated.reason.name().into();
    answer["prompt_tokens"] = told.prompt_tokens.into();
    answer["generated_tokens"] = generated.tokens.len().into();
}

impl Wording for Words {
    fn piece(&mut self, _: usize, _: &Told, piece: &str, _: &[Arc<TokenLog>], events: &mut Events) {
        events.send(&self.with(piece));
    }

    fn end(&mut self, _: usize, told: &Told, generated: &Generated, events: &mut Events) {
        let mut last = self.with("");
        add_end(&mut last, told, generated);
        events.send(&last);
    }

    fn break_off(&mut self, problem: &Problem, events: &mut Events) {
        events.send(&json!({ "error": problem.detail }));
    }
}
