//! Text → token ids and back, by the `tokenizers` library with the same regex engine on every target.

#[cfg(not(target_arch = "wasm32"))]
use super::fence::{Fence, behind};
use super::specials::{Renamed, Spelled, put_out_of_reach};
use super::stream::Speller;
use crate::{Error, Result};
use serde::Deserialize;
use std::sync::Arc;
use tokenizers::models::ModelWrapper;

/// A tokenizer read from `tokenizer.json`, with its own truncation and padding switched off.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: Renamed,
    /// The ids of renamed special tokens, which the library no longer knows as such.
    silent: Vec<u32>,
    unknown: Option<u32>,
}

/// Token ids, special tokens included, and where each stands in the text, in bytes (0..0 for special tokens).
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    pub(crate) offsets: Vec<(usize, usize)>,
    /// Which of them the text did not ask for.
    pub(crate) special: Vec<bool>,
    /// The id that stands for whatever the vocabulary has no token for, if there is one.
    pub(crate) unknown: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. No text without a NUL gives a special token, whatever the file lets through.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer> {
        Tokenizer::for_templates(json, &[])
    }

    /// As [`Tokenizer::from_json`], for templates that may spell special tokens: [`Tokenizer::mark`] writes those.
    ///
    /// # Errors
    /// As [`Tokenizer::from_json`].
    pub fn for_templates(json: &[u8], templates: &[&str]) -> Result<Tokenizer> {
        Tokenizer::read(json, Spelled::In(templates))
    }

    /// As [`Tokenizer::for_templates`], for a chat template, which may spell any special token.
    ///
    /// # Errors
    /// As [`Tokenizer::from_json`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn for_chat(json: &[u8]) -> Result<Tokenizer> {
        Tokenizer::read(json, Spelled::All)
    }

    fn read(json: &[u8], spelled: Spelled<'_>) -> Result<Tokenizer> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| Error::Tokenizer(error.to_string()))?;
        // A user who writes "[SEP]" means those five characters.
        inner.set_encode_special_tokens(true);
        let unknown = unknown_id(&inner, json);
        let (mut inner, specials) = put_out_of_reach(inner, json, spelled)?;
        inner.set_encode_special_tokens(true);
        inner.with_truncation(None).map_err(|error| Error::Tokenizer(error.to_string()))?;
        inner.with_padding(None);
        let silent = specials.stand_ins().filter_map(|token| inner.token_to_id(&token)).collect();
        Ok(Tokenizer { inner, specials, silent, unknown })
    }

    /// A template's text as it must be written for its special tokens to be read as such.
    pub(crate) fn mark(&self, text: &str) -> String {
        self.specials.mark(text)
    }

    /// A user's text for a chat template: see [`Fence`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn fence(&self, text: &str, fence: &mut Fence) -> String {
        behind(fence, &self.specials, text)
    }

    /// The ids of a text that holds all of its special tokens, as [`Tokenizer::mark`] writes them: none is added.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn ids_as_written(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text, special tokens included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode(text)?.ids)
    }

    /// The text of ids. Special tokens and ids that are none are left out; bytes that are no characters become �.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let spoken: Vec<u32> = ids.iter().copied().filter(|id| !self.silent.contains(id)).collect();
        self.inner.decode(&spoken, true).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// [`Tokenizer::decode`] for streams. What the library refuses to decode has no text.
    pub fn speller(self: &Arc<Self>) -> Speller {
        let tokenizer = self.clone();
        let speller = Speller::new(move |ids| tokenizer.decode(ids).unwrap_or_default());
        // In a vocabulary without byte tokens it is a token like any other, and changes no text before it.
        match self.inner.token_to_id("<0xFF>") {
            Some(probe) => speller.with_probe(probe),
            None => speller,
        }
    }

    /// The id of a token, by its name in the vocabulary.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest id that the tokenizer can produce.
    pub fn id_bound(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// Says whether a table of so many rows has one for every id.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub(crate) fn check_rows(&self, rows: usize) -> Result<()> {
        let bound = self.id_bound();
        if bound <= rows {
            return Ok(());
        }
        Err(Error::Tokenizer(format!(
            "it produces ids up to {}, but the model's embedding has only {rows} rows; tokenizer and model do not fit",
            bound - 1
        )))
    }

    pub(crate) fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.inner.encode(text, true).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let (ids, offsets) = (encoding.get_ids().to_vec(), encoding.get_offsets().to_vec());
        let special = encoding.get_special_tokens_mask().iter().map(|&mask| mask != 0).collect();
        Ok(Tokens { ids, offsets, special, unknown: self.unknown })
    }
}

/// The id of the token for what is not in the vocabulary. A vocabulary of bytes needs none.
fn unknown_id(tokenizer: &tokenizers::Tokenizer, json: &[u8]) -> Option<u32> {
    let token = match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => Some(&model.unk_token),
        ModelWrapper::WordLevel(model) => Some(&model.unk_token),
        ModelWrapper::BPE(model) => model.unk_token.as_ref(),
        // The library does not give it away.
        ModelWrapper::Unigram(_) => return serde_json::from_slice::<UnigramFile>(json).ok()?.model.unk_id,
    };
    tokenizer.token_to_id(token?)
}

#[derive(Deserialize)]
struct UnigramFile {
    model: UnigramModel,
}

#[derive(Deserialize)]
struct UnigramModel {
    unk_id: Option<u32>,
}
