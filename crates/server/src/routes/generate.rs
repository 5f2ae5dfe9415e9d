//! `POST /v1/generate`, and `POST /generate` of GriceBench's own server.

use super::body::{expect_json, json_response, read_body};
use super::detect::caching_of;
use super::events;
use super::input::{OneOrMany, parse_json};
use super::pieces;
use crate::app::App;
use crate::arrival::{Arrival, LoggedText};
use crate::begun::{Begun, Heard};
use crate::inferred::Cached;
use crate::problem::Problem;
use crate::scribe::{Prepared, Scribe, Told};
use crate::timing::Timing;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::generate::{Choice, Generated};
use grice_core::schedule::{Caching, Source};
use grice_core::task::{Draft, Kind};
use grice_core::{Context, Turn, Utterance};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// New tokens of an answer by GriceBench's generator.
const ALIAS_TOKENS: usize = 80;
/// Of answers by a recipe, which are the same each time.
const SEED: u64 = 0;

/// A text to write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    prompt: String,
    model: Option<String>,
    stream: Option<bool>,
    max_new_tokens: Option<usize>,
    min_new_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    seed: Option<u64>,
    beams: Option<usize>,
    length_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    no_repeat_ngram: Option<usize>,
    stop: Option<OneOrMany>,
    draft: Option<usize>,
}

/// GriceBench's own body.
#[derive(Debug, Deserialize)]
struct AliasItem {
    context: Context,
    #[serde(default)]
    max_length: Option<usize>,
}

/// As `grice generate --json` writes it, with the model and the seed of a text that was drawn.
#[derive(Serialize)]
struct Answer<'a> {
    generated: String,
    finish_reason: &'static str,
    prompt_tokens: usize,
    generated_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    model: &'a str,
}

#[derive(Serialize)]
struct AliasAnswer {
    response: String,
    latency_ms: f64,
}

/// A request that was read.
struct Asked {
    scribe: Arc<Scribe>,
    prepared: Prepared,
    streams: bool,
}

/// A text that was written, and what it took.
struct Whole {
    told: Told,
    generated: Generated,
    timing: Timing,
}

/// Writes a text.
pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    write(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// Answers a context.
pub(crate) async fn alias(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    respond(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn write(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    let (asked, caching, body) = read_for_texts(app, arrival, request, Asked::read).await?;
    let mut response = match asked.streams {
        true => {
            let told = asked.prepared.told(&asked.scribe);
            let begun = asked.scribe.begin(asked.prepared, arrival.deadline, caching)?;
            pieces::response(events::Own, vec![(told, begun)], arrival)
        }
        false => {
            let Whole { told, generated, timing } = asked.whole(arrival, caching).await?;
            let answer = Answer {
                generated: told.text(&generated),
                finish_reason: generated.reason.name(),
                prompt_tokens: told.prompt_tokens,
                generated_tokens: generated.tokens.len(),
                seed: told.options.seed,
                model: told.scribe.name(),
            };
            let mut response = json_response(StatusCode::OK, &answer);
            timing.write(response.headers_mut(), arrival.start.elapsed());
            response
        }
    };
    log_text(app, &mut response, &body);
    Ok(response)
}

async fn respond(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    let (asked, caching, body) = read_for_texts(app, arrival, request, Asked::read_alias).await?;
    let Whole { told, generated, timing } = asked.whole(arrival, caching).await.map_err(of_alias)?;
    let took = arrival.start.elapsed();
    let latency_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
    let answer = AliasAnswer { response: told.text(&generated).trim().to_owned(), latency_ms };
    let mut response = json_response(StatusCode::OK, &answer);
    timing.write(response.headers_mut(), took);
    log_text(app, &mut response, &body);
    Ok(response)
}

/// GriceBench has another name for the number of tokens.
fn of_alias(problem: Problem) -> Problem {
    Problem { detail: problem.detail.replace("`max_new_tokens`", "`max_length`"), ..problem }
}

/// Reads a request for texts where its size does not delay others.
pub(super) async fn read_for_texts<T: Send + 'static>(
    app: &Arc<App>,
    arrival: &Arrival,
    request: Request,
    read: impl FnOnce(&App, &[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<(T, Caching, axum::body::Bytes), Problem> {
    // Without such a model, whatever the body says.
    app.catalog.find_scribe(None)?;
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let (reader, bytes) = (Arc::clone(app), body.clone());
    let (asked, _place) = app.lanes.run(body.len(), arrival.deadline, move || read(&reader, &bytes)).await?;
    Ok((asked?, caching_of(&head.headers), body))
}

pub(super) fn log_text(app: &App, response: &mut Response<Body>, body: &[u8]) {
    if app.settings.log_texts {
        response.extensions_mut().insert(LoggedText(String::from_utf8_lossy(body).into()));
    }
}

impl Asked {
    fn read(app: &App, body: &[u8]) -> Result<Asked, Problem> {
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::unusable("the body must be an object: a request asks for one text"));
        }
        let mut item: Item = parse_json(body)?;
        let scribe = app.catalog.find_scribe(item.model.as_deref())?;
        let prompt = std::mem::take(&mut item.prompt);
        let streams = item.stream.unwrap_or(false);
        let prepared = scribe.prepare(&prompt, &item.choice())?;
        Ok(Asked { scribe, prepared, streams })
    }

    fn read_alias(app: &App, body: &[u8]) -> Result<Asked, Problem> {
        let item: AliasItem = parse_json(body)?;
        let scribe = app.catalog.find_by_recipe(None, true).or_else(|_| app.catalog.find_scribe(None))?;
        let context = text_of(&item.context);
        if context.trim().is_empty() {
            return Err(Problem::unusable("`context` is empty; it must hold the text to answer"));
        }
        if scribe.recipes().answer.is_some() {
            let turn = Turn { context: item.context, ..Turn::default() };
            let draft = Draft { kind: Kind::Answer, turn, attempt: 0 };
            let none = || Problem::internal("an answer without a recipe");
            let prepared = scribe.prepare_by(&draft, SEED, item.max_length).ok_or_else(none)?;
            return Ok(Asked { prepared: prepared.map_err(of_alias)?, scribe, streams: false });
        }
        // What GriceBench generates with.
        let choice = Choice {
            max_new_tokens: Some(item.max_length.unwrap_or(ALIAS_TOKENS)),
            temperature: Some(0.85),
            top_k: Some(0),
            top_p: Some(0.92),
            repetition_penalty: Some(1.3),
            ..Choice::default()
        };
        let prepared = scribe.prepare(&format!("Context: {context}\nResponse:"), &choice).map_err(of_alias)?;
        Ok(Asked { scribe, prepared, streams: false })
    }

    /// Waits for the whole text.
    async fn whole(self, arrival: &Arrival, caching: Caching) -> Result<Whole, Problem> {
        let told = self.prepared.told(&self.scribe);
        let begun: Begun = self.scribe.begin(self.prepared, arrival.deadline, caching)?;
        let first = || self.scribe.metrics().first_token.observe(arrival.start.elapsed().as_secs_f64());
        let (generated, heard) = begun.end(first).await?;
        if let Some(heard) = &heard {
            self.scribe.metrics().queue.observe(heard.queued.as_secs_f64());
        }
        Ok(Whole { told, generated, timing: timing_of(heard) })
    }
}

impl Item {
    fn choice(self) -> Choice {
        Choice {
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            beams: self.beams,
            length_penalty: self.length_penalty,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            no_repeat_ngram: self.no_repeat_ngram,
            stop: self.stop.map(OneOrMany::list).unwrap_or_default(),
            draft: self.draft,
            ..Choice::default()
        }
    }
}

/// A text as it is; turns one a line.
fn text_of(context: &Context) -> String {
    match context {
        Context::Text(text) => text.clone(),
        Context::Utterances(utterances) => {
            let lines = utterances.iter().map(|utterance| match utterance {
                Utterance::Text(text) => text.clone(),
                Utterance::Spoken { speaker, text } => format!("{speaker}: {text}"),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

pub(super) fn timing_of(heard: Option<Heard>) -> Timing {
    let (cached, queue, infer) = match heard {
        None => (Cached::Hit, Duration::ZERO, Duration::ZERO),
        Some(Heard { queued, ran, source }) => match source {
            Source::Miss => (Cached::Miss, queued, ran),
            Source::Coalesced => (Cached::Coalesced, queued, ran),
            Source::Bypass => (Cached::Bypass, queued, ran),
        },
    };
    Timing { queue, infer, cached: Some(cached), ..Timing::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Problem {
        parse_json::<Item>(body.as_bytes()).map(|_| ()).expect_err(body)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, status, words) in [
            ("", 400, "empty"),
            ("{\"prompt\": \"a", 400, "not JSON"),
            ("{}", 422, "missing field `prompt`"),
            ("7", 422, "invalid type"),
            ("{\"prompt\": 1}", 422, "`prompt`: invalid type"),
            ("{\"prompt\": \"a\", \"max_tokens\": 5}", 422, "unknown field `max_tokens`"),
            ("{\"prompt\": \"a\", \"max_new_tokens\": -1}", 422, "`max_new_tokens`"),
            ("{\"prompt\": \"a\", \"temperature\": \"hot\"}", 422, "`temperature`"),
            ("{\"prompt\": \"a\", \"temperature\": 1e999}", 400, "out of range"),
            ("{\"prompt\": \"a\", \"stop\": 7}", 422, "a text or a list of texts"),
            ("{\"prompt\": \"a\", \"stream\": 1}", 422, "`stream`"),
        ] {
            let problem = refused(body);
            assert_eq!(problem.status.as_u16(), status, "{body}: {}", problem.detail);
            assert!(problem.detail.contains(words), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn turns_of_a_context_are_lines() {
        let context: Context = serde_json::from_str("[\"Hi!\", {\"speaker\": \"Ann\", \"text\": \"Hello.\"}]").unwrap();
        assert_eq!(text_of(&context), "Hi!\nAnn: Hello.");
    }
}
