//! The routes that clients of OpenAI's interface call: `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`.
//!
//! `fields.rs` reads what their bodies share, `chat.rs`, `completions.rs` and `embeddings.rs` the rest; `texts.rs` has the texts written;
//! `answer.rs` and `chunks.rs` write them, `logs.rs` their log-probabilities, and `refusal.rs` errors.

mod answer;
mod base64;
mod chat;
mod chunks;
mod completions;
mod embeddings;
mod fields;
mod form;
mod logs;
mod refusal;
mod texts;

pub(super) use chat::chat;
pub(super) use completions::completions;
pub(super) use embeddings::embeddings;
pub(crate) use refusal::{is_route, refusal};
