//! `POST /v1/embeddings`.

use super::super::body::{expect_json, json_response, read_body};
use super::super::detect::caching_of;
use super::super::generate::log_text;
use super::super::input::parse_json;
use super::base64;
use crate::app::App;
use crate::arrival::Arrival;
use crate::embedding::{Embedding, Question};
use crate::problem::Problem;
use crate::timing::Timing;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use grice_core::task::Vector;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddingItem {
    model: Option<String>,
    input: Inputs,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
    #[serde(rename = "user")]
    _user: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Inputs {
    One(String),
    Many(Vec<String>),
    /// Refused, with the reason.
    Tokens(Vec<u64>),
    ManyTokens(Vec<Vec<u64>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Entry>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Encoded,
    /// The text is longer than the model reads. Not OpenAI's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Encoded {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A request that was read.
struct Asked {
    embedding: Arc<Embedding>,
    questions: Vec<Question>,
    encoding: Encoding,
}

/// Embeds texts.
pub(in crate::routes) async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    respond(&app, &arrival, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn respond(app: &Arc<App>, arrival: &Arrival, request: Request) -> Result<Response<Body>, Problem> {
    // Without such a model, whatever the body says.
    app.catalog.find_embedding(None)?;
    let (head, body) = request.into_parts();
    expect_json(&head.headers)?;
    let body = read_body(app, &head.headers, body, arrival).await?;
    let (reader, bytes) = (Arc::clone(app), body.clone());
    let (asked, _place) = app.lanes.run(body.len(), arrival.deadline, move || Asked::read(&reader, &bytes)).await?;
    let Asked { embedding, questions, encoding } = asked?;
    let vectors = embedding.embed(&questions, arrival.deadline, caching_of(&head.headers)).await?;
    let mut timing = Timing::default();
    vectors.iter().for_each(|(_, inferred)| timing.add(inferred));
    let tokens = questions.iter().map(Question::tokens).sum();
    let entries = vectors.into_iter().enumerate().map(|(index, (vector, _))| entry(index, vector, encoding));
    let answer = Answer {
        object: "list",
        data: entries.collect(),
        model: embedding.name(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    let mut response = json_response(StatusCode::OK, &answer);
    timing.write(response.headers_mut(), arrival.start.elapsed());
    log_text(app, &mut response, &body);
    Ok(response)
}

fn entry(index: usize, vector: Vector, encoding: Encoding) -> Entry {
    let embedding = match encoding {
        Encoding::Float => Encoded::Float(vector.values),
        Encoding::Base64 => Encoded::Base64(base64::of(&vector.values)),
    };
    Entry { object: "embedding", index, embedding, truncated: vector.truncated }
}

impl Asked {
    fn read(app: &App, body: &[u8]) -> Result<Asked, Problem> {
        let item: EmbeddingItem = parse_json(body)?;
        let embedding = app.catalog.find_embedding(item.model.as_deref())?;
        let columns = embedding.columns();
        if let Some(asked) = item.dimensions.filter(|asked| *asked != columns) {
            let own = format!("the vectors of this model have {columns} numbers");
            return Err(Problem::unusable(format!("`dimensions` is {asked}; {own}, so leave it out")));
        }
        let questions = item.input.read(&embedding, app.settings.limits.items_max)?;
        Ok(Asked { embedding, questions, encoding: item.encoding_format.unwrap_or(Encoding::Float) })
    }
}

impl Inputs {
    fn read(self, embedding: &Embedding, most: usize) -> Result<Vec<Question>, Problem> {
        match self {
            Inputs::One(text) => Ok(vec![embedding.prepare(&text).map_err(|problem| named(problem, "`input`"))?]),
            Inputs::Many(texts) if texts.is_empty() => Err(Problem::unusable("`input` is empty; it must hold a text")),
            Inputs::Many(texts) if texts.len() > most => {
                let count = texts.len();
                Err(Problem::too_large(format!("`input` has {count} texts; at most {most} are allowed")))
            }
            Inputs::Many(texts) => {
                let read = |(place, text): (usize, &String)| {
                    embedding.prepare(text).map_err(|problem| named(problem, &format!("`input[{place}]`")))
                };
                texts.iter().enumerate().map(read).collect()
            }
            Inputs::Tokens(ids) => Err(tokens(ids.len())),
            Inputs::ManyTokens(texts) => Err(tokens(texts.iter().map(Vec::len).sum())),
        }
    }
}

fn tokens(count: usize) -> Problem {
    let detail = format!("`input` holds {count} numbers of tokens, which depend on the model's tokenizer; send texts");
    Problem::unusable(detail)
}

/// A problem of a text, by its place in the request.
fn named(problem: Problem, place: &str) -> Problem {
    Problem { detail: problem.detail.replace("`text`", place), ..problem }
}
