//! `POST /v1/completions`.

use super::fields::{ALTERNATIVES_MOST, Shared, renamed, split};
use super::form::Form;
use super::texts::Asked;
use crate::app::App;
use crate::arrival::Arrival;
use crate::problem::Problem;
use crate::scribe::Scribe;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use grice_core::generate::Start;
use serde::Deserialize;
use std::sync::Arc;

/// What only completions have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompletionItem {
    model: Option<String>,
    prompt: Prompts,
    logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text, a list of texts, a list of tokens, or a list of those")]
enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Many(Vec<Vec<u32>>),
}

/// Continues prompts.
pub(in crate::routes) async fn completions(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    Asked::respond(&app, &arrival, request, read).await.unwrap_or_else(IntoResponse::into_response)
}

fn read(app: &App, body: &[u8]) -> Result<Asked, Problem> {
    let (shared, item): (Shared, CompletionItem) = split(body)?;
    let scribe = app.catalog.find_scribe(item.model.as_deref())?;
    let alternatives = item.logprobs;
    if let Some(count) = alternatives.filter(|count| *count > ALTERNATIVES_MOST) {
        let detail = format!("`logprobs` is {count}; it must be a whole number up to {ALTERNATIVES_MOST}");
        return Err(Problem::unusable(detail));
    }
    let (count, streams, tells_usage) = (shared.count()?, shared.streams(), shared.tells_usage()?);
    let starts = item.prompt.read(&scribe)?;
    let (texts, most) = (starts.len().saturating_mul(count), app.settings.limits.items_max);
    if texts > most {
        return Err(Problem::too_large(format!("`prompt` and `n` ask for {texts} texts; at most {most} are allowed")));
    }
    let choice = shared.choice(alternatives)?;
    let (mut prepared, mut prompt_tokens) = (Vec::with_capacity(texts), 0);
    for start in &starts {
        let of_prompt = scribe.prepare_many(start, &choice, None, count).map_err(renamed)?;
        prompt_tokens += of_prompt.first().map_or(0, |prepared| prepared.prompt_tokens);
        prepared.extend(of_prompt);
    }
    Ok(Asked { form: Form::Completion, scribe, prepared, prompt_tokens, streams, tells_usage, alternatives })
}

impl Prompts {
    fn read(self, scribe: &Scribe) -> Result<Vec<Start>, Problem> {
        let starts: Vec<Start> = match self {
            Prompts::Text(text) => vec![scribe.read(&text)?],
            Prompts::Texts(texts) => texts.iter().map(|text| scribe.read(text)).collect::<Result<_, _>>()?,
            Prompts::Tokens(ids) if ids.is_empty() => Vec::new(),
            Prompts::Tokens(ids) => vec![scribe.read_ids(ids)?],
            Prompts::Many(prompts) => prompts.into_iter().map(|ids| scribe.read_ids(ids)).collect::<Result<_, _>>()?,
        };
        if starts.is_empty() {
            return Err(Problem::unusable("`prompt` is empty; it must hold a text"));
        }
        Ok(starts)
    }
}
