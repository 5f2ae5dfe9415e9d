//! The first tokens of a text, for models that read no more: what `truncation_side` right means.

use super::excerpt::Excerpt;
use super::tokenizer::{Tokenizer, Tokens};
use crate::Result;

/// Bytes that a token of a text takes at most, as a rule.
const BYTES_PER_TOKEN: usize = 16;

/// The first tokens of a text.
pub(crate) struct Start {
    /// Token ids, special tokens included.
    pub(crate) ids: Vec<u32>,
    /// How many of them are the text's own.
    pub(crate) own: usize,
    /// Whether the text has more.
    pub(crate) truncated: bool,
}

/// The first tokens of a text, at most `tokens_max` with the special ones around it.
///
/// # Errors
/// [`crate::Error::Tokenizer`].
pub(crate) fn encode_start(tokenizer: &Tokenizer, text: &str, tokens_max: usize) -> Result<Start> {
    let excerpt = Excerpt::of_start(text, tokens_max.saturating_mul(BYTES_PER_TOKEN));
    let tokens = tokenizer.encode(excerpt.text())?;
    if !excerpt.has_gap() {
        return Ok(cut(tokens, tokens_max));
    }
    // What is kept must be what the whole text begins with, and something must be left out.
    let sure = own(&tokens).take_while(|&place| {
        let (start, end) = tokens.offsets[place];
        excerpt.is_sure_to_the_start(&(start..end))
    });
    if excerpt.is_sound() && sure.count() > tokens_max {
        return Ok(cut(tokens, tokens_max));
    }
    Ok(cut(tokenizer.encode(text)?, tokens_max))
}

/// Where the text's own tokens are.
fn own(tokens: &Tokens) -> impl Iterator<Item = usize> {
    tokens.special.iter().enumerate().filter(|(_, special)| !**special).map(|(place, _)| place)
}

/// Keeps the special tokens and as many of the text's own as there is room for.
fn cut(tokens: Tokens, tokens_max: usize) -> Start {
    let all = own(&tokens).count();
    let room = tokens_max.saturating_sub(tokens.ids.len() - all);
    let mut seen = 0;
    let ids = tokens.ids.iter().zip(&tokens.special).filter(|(_, special)| {
        seen += usize::from(!**special);
        **special || seen <= room
    });
    Start { ids: ids.map(|(id, _)| *id).collect(), own: all.min(room), truncated: all > room }
}
