//! `POST /v1/chat/completions`.

use super::fields::{ALTERNATIVES_MOST, Shared, renamed, split};
use super::form::Form;
use super::texts::Asked;
use crate::app::App;
use crate::arrival::Arrival;
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use grice_core::{Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What only chats have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatItem {
    model: Option<String>,
    messages: Vec<MessageItem>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct MessageItem {
    role: String,
    content: Option<Content>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

/// Answers a conversation.
pub(in crate::routes) async fn chat(
    State(app): State<Arc<App>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response<Body> {
    Asked::respond(&app, &arrival, request, read).await.unwrap_or_else(IntoResponse::into_response)
}

fn read(app: &App, body: &[u8]) -> Result<Asked, Problem> {
    let (shared, item): (Shared, ChatItem) = split(body)?;
    let scribe = app.catalog.find_scribe(item.model.as_deref())?;
    let alternatives = item.alternatives()?;
    let messages = item.messages.into_iter().enumerate().map(|(place, message)| message.read(place));
    let messages = messages.collect::<Result<Vec<Message>, Problem>>()?;
    if messages.is_empty() {
        return Err(Problem::unusable("`messages` is empty; it must hold at least one message"));
    }
    let (count, streams, tells_usage) = (shared.count()?, shared.streams(), shared.tells_usage()?);
    let choice = shared.choice(alternatives)?;
    let start = scribe.read_chat(&messages)?;
    let prepared = scribe.prepare_many(&start, &choice, scribe.chat_end(), count).map_err(renamed)?;
    let prompt_tokens = prepared.first().map_or(0, |prepared| prepared.prompt_tokens);
    Ok(Asked { form: Form::Chat, scribe, prepared, prompt_tokens, streams, tells_usage, alternatives })
}

impl ChatItem {
    /// How many alternatives of each token are told; `None` without log-probabilities.
    fn alternatives(&self) -> Result<Option<usize>, Problem> {
        let asked = self.logprobs.unwrap_or(false);
        match self.top_logprobs {
            Some(count) if count > ALTERNATIVES_MOST => Err(Problem::unusable(format!(
                "`top_logprobs` is {count}; it must be a whole number up to {ALTERNATIVES_MOST}"
            ))),
            Some(1..) if !asked => {
                Err(Problem::unusable("`top_logprobs` has a meaning only with `logprobs`; set that to true"))
            }
            count => Ok(asked.then(|| count.unwrap_or(0))),
        }
    }
}

impl MessageItem {
    fn read(self, place: usize) -> Result<Message, Problem> {
        let at = |field: &str| format!("`messages[{place}].{field}`");
        let role = match self.role.as_str() {
            // Newer clients call the system's messages so.
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let other: String = other.escape_default().take(40).collect();
                let expected = "it must be `system`, `developer`, `user` or `assistant`";
                return Err(Problem::unusable(format!("{} is `{other}`; {expected}", at("role"))));
            }
        };
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        // What a client sends back of an earlier answer.
        let harmless = |name: &str| matches!(name, "name" | "annotations");
        if let Some((name, _)) = self.others.iter().find(|(name, value)| !harmless(name) && !is_empty(value)) {
            let name: String = name.escape_default().take(40).collect();
            return Err(Problem::unusable(format!("{} is not supported; leave it out", at(&name))));
        }
        let content = self.content.ok_or_else(|| Problem::unusable(format!("{} is missing", at("content"))))?;
        Ok(Message { role, content: content.read(&at("content"))? })
    }
}

impl Content {
    /// The text, or those of all parts, one a line.
    fn read(self, field: &str) -> Result<String, Problem> {
        let parts = match self {
            Content::Text(text) => return Ok(text),
            Content::Parts(parts) => parts,
        };
        let mut texts = Vec::with_capacity(parts.len());
        for part in parts {
            match part.text {
                Some(text) if part.r#type == "text" => texts.push(text),
                _ => {
                    let kind: String = part.r#type.escape_default().take(40).collect();
                    let detail =
                        format!("{field} has a part of the type `{kind}`; only `text`, with its `text`, is supported");
                    return Err(Problem::unusable(detail));
                }
            }
        }
        Ok(texts.join("\n"))
    }
}
