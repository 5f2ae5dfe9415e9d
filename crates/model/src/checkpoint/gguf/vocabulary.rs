//! What a GGUF file says of tokens.

use super::files::Files;
use crate::gguf::{List, Value};

const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// The vocabulary of a GGUF file, and how it splits texts. Ids are places in `tokens`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufVocabulary {
    /// The kind of tokenizer: `gpt2` (pairs of bytes), `llama` (pairs of characters), `t5` (unigrams).
    pub model: String,
    /// How texts are split before pairs are joined.
    pub pre: Option<String>,
    /// All tokens.
    pub tokens: Vec<String>,
    /// Log-probabilities or ranks of tokens; none in vocabularies of byte pairs.
    pub scores: Vec<f32>,
    /// 1: normal, 2: unknown, 3: control, 4: added by a user, 5: unused, 6: a byte.
    pub kinds: Vec<i64>,
    /// Pairs that are joined, the first ones first.
    pub merges: Option<Vec<String>>,
    /// What characters are replaced by first, as sentencepiece compiles it.
    pub replaced: Vec<u8>,
    /// The token that begins texts.
    pub begin: Option<u32>,
    /// The token that ends texts.
    pub end: Option<u32>,
    /// What stands for characters without a token.
    pub unknown: Option<u32>,
    /// Whether a text gets the first token.
    pub adds_begin: Option<bool>,
    /// Whether a text gets the last token.
    pub adds_end: Option<bool>,
    /// Whether a text gets a space before it.
    pub adds_space: Option<bool>,
    /// Whether spaces that follow each other become one.
    pub joins_spaces: Option<bool>,
    /// How conversations are written for the model: a Jinja template.
    pub chat_template: Option<String>,
}

/// What the first file says; `None` if it names no kind of tokenizer.
pub(super) fn read(files: &Files<'_>) -> Result<Option<GgufVocabulary>, String> {
    let reader = Reader(files);
    let Some(model) = reader.text("model")? else { return Ok(None) };
    let tokens = reader.texts("tokens")?.ok_or_else(|| reader.wrong("tokens", "it is missing"))?;
    let vocabulary = GgufVocabulary {
        model,
        pre: reader.text("pre")?,
        scores: reader.list("scores", "numbers", List::numbers)?.unwrap_or_default(),
        kinds: reader.list("token_type", "whole numbers", List::wholes)?.unwrap_or_default(),
        merges: reader.texts("merges")?,
        replaced: reader
            .list("precompiled_charsmap", "bytes", |list| list.bytes().map(<[u8]>::to_vec))?
            .unwrap_or_default(),
        begin: reader.token("bos_token_id", tokens.len())?,
        end: reader.token("eos_token_id", tokens.len())?,
        unknown: reader.token("unknown_token_id", tokens.len())?,
        adds_begin: reader.flag("add_bos_token")?,
        adds_end: reader.flag("add_eos_token")?,
        adds_space: reader.flag("add_space_prefix")?,
        joins_spaces: reader.flag("remove_extra_whitespaces")?,
        chat_template: chat_template(files)?,
        tokens,
    };
    let lengths = [("scores", vocabulary.scores.len()), ("token_type", vocabulary.kinds.len())];
    for (field, length) in lengths {
        if length > 0 && length != vocabulary.tokens.len() {
            return Err(reader.wrong(field, &format!("it has {length} values for {} tokens", vocabulary.tokens.len())));
        }
    }
    Ok(Some(vocabulary))
}

/// It stands beside what else the file says of tokens.
fn chat_template(files: &Files<'_>) -> Result<Option<String>, String> {
    match files.fields().get(CHAT_TEMPLATE) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{}: field `{CHAT_TEMPLATE}`: it must be a text", files.name())),
    }
}

struct Reader<'f>(&'f Files<'f>);

impl<'f> Reader<'f> {
    fn get(&self, field: &str) -> Option<&'f Value> {
        self.0.fields().get(&format!("tokenizer.ggml.{field}"))
    }

    fn wrong(&self, field: &str, problem: &str) -> String {
        format!("{}: field `tokenizer.ggml.{field}`: {problem}", self.0.name())
    }

    fn text(&self, field: &str) -> Result<Option<String>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(field, "it must be a text")),
        }
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(field, "it must be true or false")),
        }
    }

    fn token(&self, field: &str, tokens: usize) -> Result<Option<u32>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Whole(id)) if (0..tokens as i128).contains(id) && u32::try_from(*id).is_ok() => {
                Ok(Some(*id as u32))
            }
            Some(other) => Err(self.wrong(field, &format!("{other:?} is no token of {tokens}"))),
        }
    }

    fn texts(&self, field: &str) -> Result<Option<Vec<String>>, String> {
        self.list(field, "texts", |list| Some(list.texts()?.into_iter().map(str::to_owned).collect()))
    }

    fn list<T>(&self, field: &str, what: &str, read: impl Fn(&List) -> Option<T>) -> Result<Option<T>, String> {
        let unfit = || self.wrong(field, &format!("it must be a list of {what}"));
        match self.get(field) {
            None => Ok(None),
            Some(Value::List(list)) => read(list).map(Some).ok_or_else(unfit),
            Some(_) => Err(unfit()),
        }
    }
}
