//! Embedding: a text becomes token ids, a row of numbers becomes a vector.

use super::{Prepared, Task};
use crate::dialogue::check_text;
use crate::text::{Start, Tokenizer, encode_start, is_blank};
use crate::{Error, Result};

const FIELD: &str = "text";

/// A text as a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Its numbers; of length 1 if the model normalises.
    pub values: Vec<f32>,
    /// Whether the text is longer than the model reads, so that its end is not in the vector.
    pub truncated: bool,
}

/// Notes on a text for its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedNotes {
    /// As [`Vector::truncated`].
    pub truncated: bool,
}

/// Turns texts into vectors.
pub struct Embed {
    tokenizer: Tokenizer,
    tokens_max: usize,
    /// What stands before every text.
    prompt: String,
}

impl Embed {
    /// For a model with so many rows of words, which reads at most `tokens_max` tokens, special ones included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it does not fit the model.
    pub fn new(tokenizer: Tokenizer, rows: usize, tokens_max: usize) -> Result<Embed> {
        tokenizer.check_rows(rows)?;
        let special = tokenizer.ids("")?.len();
        if special >= tokens_max {
            let problem =
                format!("it adds {special} special tokens to a text, and the model reads only {tokens_max} tokens");
            return Err(Error::Tokenizer(problem));
        }
        Ok(Embed { tokenizer, tokens_max, prompt: String::new() })
    }

    /// Puts this before every text from now on, as `sentence-transformers` does.
    ///
    /// # Errors
    /// [`Error::LongField`] and [`Error::NulInField`].
    pub fn set_prompt(&mut self, prompt: &str) -> Result<()> {
        check_text("prompt", prompt)?;
        prompt.clone_into(&mut self.prompt);
        Ok(())
    }

    /// The most tokens of a text, special ones included.
    pub fn tokens_max(&self) -> usize {
        self.tokens_max
    }
}

impl Task for Embed {
    type Ask = String;
    type Answer = Vector;
    type Notes = EmbedNotes;

    /// The first tokens of a text. [`Error::EmptyField`], [`Error::NoTokens`], [`Error::LongField`] and [`Error::NulInField`] for a text that
    /// has no vector.
    fn prepare(&self, text: &String) -> Result<Prepared<EmbedNotes>> {
        check_text(FIELD, text)?;
        if is_blank(text) {
            return Err(Error::EmptyField { field: FIELD });
        }
        let start = encode_start(&self.tokenizer, text, self.tokens_max)?;
        if start.own == 0 {
            return Err(Error::NoTokens { field: FIELD });
        }
        let Start { ids, truncated, .. } = match self.prompt.as_str() {
            "" => start,
            prompt => encode_start(&self.tokenizer, &format!("{prompt}{text}"), self.tokens_max)?,
        };
        Ok(Prepared { ids: ids.into(), notes: EmbedNotes { truncated } })
    }

    /// The vector in a row of numbers. [`Error::VectorNotFinite`] for infinite and NaN values.
    fn read(&self, notes: &EmbedNotes, row: &[f32]) -> Result<Vector> {
        if !row.iter().all(|value| value.is_finite()) {
            return Err(Error::VectorNotFinite);
        }
        Ok(Vector { values: row.to_vec(), truncated: notes.truncated })
    }
}
