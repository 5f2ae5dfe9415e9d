//! One turn of a dialogue: the unit that is judged.

use crate::text::is_blank;
use crate::{Error, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest text of a field, in bytes: a thousand times a chat message, far more than any model reads.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A response to judge, with its context and optional evidence.
///
/// ```
/// use grice_core::{Context, Error, Turn};
///
/// let turn = Turn { evidence: Some("The bridge opened in 1937.".to_owned()), ..Turn::new("When was it built?", "In 1937.") };
/// assert!(turn.check().is_ok());
/// assert!(matches!(Turn::new("Hello", " ").check(), Err(Error::EmptyField { field: "response" })));
///
/// // From JSON, the context may be one text, or a list of earlier turns.
/// let json = r#"{"context": ["Hi!", {"speaker": "Ann", "text": "How are you?"}], "response": "Fine."}"#;
/// let turn: Turn = serde_json::from_str(json)?;
/// assert!(matches!(turn.context, Context::Utterances(earlier) if earlier.len() == 2));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The conversation before the response, oldest first.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "typescript", ts(as = "Option<Context>", optional = nullable))]
    pub context: Context,
    /// Facts that the response may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub evidence: Option<String>,
    /// The text to judge.
    pub response: String,
}

/// The conversation before the response.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Context {
    /// One text, with any marks for the speakers.
    Text(String),
    /// Turn by turn; the bundle's manifest says how to join them.
    Utterances(Vec<Utterance>),
}

impl Default for Context {
    fn default() -> Self {
        Context::Text(String::new())
    }
}

/// One earlier turn.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Utterance {
    /// Only the text; speakers alternate, and the last one before the response is the partner.
    Text(String),
    /// Text and speaker.
    Spoken {
        /// The speaker's name.
        speaker: String,
        /// The text.
        text: String,
    },
}

impl Turn {
    /// A turn without evidence.
    pub fn new(context: impl Into<String>, response: impl Into<String>) -> Turn {
        Turn { context: Context::Text(context.into()), evidence: None, response: response.into() }
    }

    /// The size of its texts in bytes.
    pub fn bytes(&self) -> usize {
        let context = match &self.context {
            Context::Text(text) => text.len(),
            Context::Utterances(utterances) => utterances.iter().map(Utterance::bytes).sum(),
        };
        context + self.evidence.as_ref().map_or(0, String::len) + self.response.len()
    }

    /// Refuses turns that no model can judge.
    ///
    /// # Errors
    /// [`Error::EmptyField`] for a response without a visible character; [`Error::LongField`] and [`Error::NulInField`] for any
    /// field.
    pub fn check(&self) -> Result<()> {
        check_text("response", &self.response)?;
        if is_blank(&self.response) {
            return Err(Error::EmptyField { field: "response" });
        }
        self.check_texts()
    }

    /// Refuses texts that no model reads: as [`Turn::check`], for a turn whose response is not written yet.
    ///
    /// # Errors
    /// [`Error::LongField`] and [`Error::NulInField`].
    pub fn check_texts(&self) -> Result<()> {
        check_text("response", &self.response)?;
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

impl Context {
    /// Whether it holds no visible character.
    pub fn is_blank(&self) -> bool {
        match self {
            Context::Text(text) => is_blank(text),
            Context::Utterances(utterances) => utterances.iter().all(|utterance| match utterance {
                Utterance::Text(text) | Utterance::Spoken { text, .. } => is_blank(text),
            }),
        }
    }

    /// The text of the last utterance: of a text, what follows the last mark of a speaker, as in `[agent_1]: `, in its last line.
    ///
    /// ```
    /// use grice_core::Context;
    ///
    /// assert_eq!(Context::Text("[agent_1]: Hi! [agent_2]: How was it?".to_owned()).last_utterance(), "How was it?");
    /// assert_eq!(Context::Text("A: Hi!\nHow was it?\n".to_owned()).last_utterance(), "How was it?");
    /// ```
    pub fn last_utterance(&self) -> &str {
        match self {
            Context::Text(text) => {
                let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                let after = line.rfind("]:").map(|at| line[at + 2..].trim()).filter(|rest| !rest.is_empty());
                after.unwrap_or(line.trim())
            }
            Context::Utterances(utterances) => match utterances.last() {
                Some(Utterance::Text(text) | Utterance::Spoken { text, .. }) => text,
                None => "",
            },
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

/// Refuses a text that is too long, or holds a NUL.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::LongField { field, bytes: text.len() });
    }
    match text.find('\0') {
        Some(at) => Err(Error::NulInField { field, at }),
        None => Ok(()),
    }
}

fn null_as_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Context, D::Error> {
    Ok(Option::<Context>::deserialize(deserializer)?.unwrap_or_default())
}

// Written by hand: for an untagged enum, serde's error only says that no variant fits, not what was expected.

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Context, D::Error> {
        deserializer.deserialize_any(ContextVisitor)
    }
}

impl<'de> Deserialize<'de> for Utterance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Utterance, D::Error> {
        deserializer.deserialize_any(UtteranceVisitor)
    }
}

struct ContextVisitor;

impl<'de> Visitor<'de> for ContextVisitor {
    type Value = Context;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a list of texts or of {\"speaker\", \"text\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<Context, E> {
        Ok(Context::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Context, E> {
        Ok(Context::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Context, A::Error> {
        let mut utterances = Vec::new();
        while let Some(utterance) = list.next_element()? {
            utterances.push(utterance);
        }
        Ok(Context::Utterances(utterances))
    }
}

struct UtteranceVisitor;

#[derive(Deserialize)]
struct Spoken {
    speaker: String,
    text: String,
}

impl<'de> Visitor<'de> for UtteranceVisitor {
    type Value = Utterance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or {\"speaker\", \"text\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<Utterance, E> {
        Ok(Utterance::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Utterance, E> {
        Ok(Utterance::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Utterance, A::Error> {
        let Spoken { speaker, text } = Spoken::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Utterance::Spoken { speaker, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(context: &str, expected: Result<Context, &str>) {
        let turn = serde_json::from_str::<Turn>(&format!("{{\"response\":\"r\",\"context\":{context}}}"));
        match (turn, expected) {
            (Ok(turn), Ok(expected)) => assert_eq!(turn.context, expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{context}: {error}"),
            (turn, expected) => panic!("{context}: {turn:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_context_has_three_forms_and_its_errors_say_so() {
        let said = |text: &str| Utterance::Text(text.to_owned());
        let spoken = Utterance::Spoken { speaker: "A".to_owned(), text: "x".to_owned() };
        check("null", Ok(Context::default()));
        check("\"a\"", Ok(Context::Text("a".to_owned())));
        check("[]", Ok(Context::Utterances(Vec::new())));
        check(
            "[\"a\", {\"text\":\"x\",\"speaker\":\"A\",\"more\":1}]",
            Ok(Context::Utterances(vec![said("a"), spoken])),
        );
        check("3", Err("invalid type: integer `3`, expected text, or a list of texts or of"));
        check("{}", Err("invalid type: map, expected text, or a list"));
        check("[1]", Err("expected text or {\"speaker\", \"text\"}"));
        check("[{\"text\":\"x\"}]", Err("missing field `speaker`"));
        check("[[\"a\"]]", Err("invalid type: sequence, expected text or"));
    }
}
