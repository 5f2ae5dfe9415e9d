//! What is judged: one turn of a dialogue.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest text that a field may hold, in bytes: a thousand times a chat message, far more than any model reads.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A response, what was said before it, and what it may rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What was said before, oldest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub context: Context,
    /// Knowledge that the response may draw on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The text to judge.
    pub response: String,
}

/// What was said before the response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Context {
    /// As one text, speakers marked in whatever way.
    Text(String),
    /// Turn by turn; the bundle's manifest says how they are joined.
    Utterances(Vec<Utterance>),
}

impl Default for Context {
    fn default() -> Self {
        Context::Text(String::new())
    }
}

/// One earlier turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Utterance {
    /// Only the text; speakers alternate, the last one before the response being the partner.
    Text(String),
    /// Text and who said it.
    Spoken {
        /// Who said it.
        speaker: String,
        /// What was said.
        text: String,
    },
}

impl Turn {
    /// A turn without evidence.
    pub fn new(context: impl Into<String>, response: impl Into<String>) -> Turn {
        Turn { context: Context::Text(context.into()), evidence: None, response: response.into() }
    }

    /// Checks what no model can make sense of.
    ///
    /// # Errors
    /// [`Error::EmptyField`] for a response without a visible character; [`Error::LongField`] and [`Error::NulInField`] for any
    /// field.
    pub fn check(&self) -> Result<()> {
        check_text("response", &self.response)?;
        if self.response.trim().is_empty() {
            return Err(Error::EmptyField { field: "response" });
        }
        if let Some(evidence) = &self.evidence {
            check_text("evidence", evidence)?;
        }
        match &self.context {
            Context::Text(text) => check_text("context", text),
            Context::Utterances(utterances) => {
                let bytes = utterances.iter().map(Utterance::bytes).sum();
                if bytes > TEXT_BYTES_MAX {
                    return Err(Error::LongField { field: "context", bytes });
                }
                utterances.iter().try_for_each(|utterance| match utterance {
                    Utterance::Text(text) => check_text("context", text),
                    Utterance::Spoken { speaker, text } => {
                        check_text("context", speaker).and_then(|()| check_text("context", text))
                    }
                })
            }
        }
    }
}

impl Utterance {
    fn bytes(&self) -> usize {
        match self {
            Utterance::Text(text) => text.len(),
            Utterance::Spoken { speaker, text } => speaker.len() + text.len(),
        }
    }
}

fn check_text(field: &'static str, text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::LongField { field, bytes: text.len() });
    }
    match text.find('\0') {
        Some(at) => Err(Error::NulInField { field, at }),
        None => Ok(()),
    }
}

fn null_as_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Context, D::Error> {
    Ok(Option::<Context>::deserialize(deserializer)?.unwrap_or_default())
}
