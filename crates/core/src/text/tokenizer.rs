//! Text → token ids, by the `tokenizers` library with the same regex engine on every target.

use crate::{Error, Result};

/// A tokenizer read from `tokenizer.json`, with its own truncation and padding switched off.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// Token ids, special tokens included, and where each stands in the text, in bytes (0..0 for special tokens).
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    pub(crate) offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| Error::Tokenizer(error.to_string()))?;
        inner.with_truncation(None).map_err(|error| Error::Tokenizer(error.to_string()))?;
        inner.with_padding(None);
        // A user who writes "[SEP]" means those five characters.
        inner.set_encode_special_tokens(true);
        Ok(Tokenizer { inner })
    }

    /// The ids of a text, special tokens included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] with what the library says.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode(text)?.ids)
    }

    /// One more than the highest id that the tokenizer can produce.
    pub fn id_bound(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    pub(crate) fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.inner.encode(text, true).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }
}
