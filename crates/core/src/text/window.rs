//! Keeps a turn within the model's length.
//!
//! The oldest part of the context goes first, then the end of the evidence, and only then the end of the response. What is
//! cut is cut from the text, and the text is tokenized anew: so the ids are always those of a text that a person could have
//! written, whatever the tokenizer does at the edges of words.

use super::tokenizer::Tokens;
use super::{Rendered, Template, Tokenizer};
use crate::{Error, Result, Turn};
use std::ops::Range;

/// A turn's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, special tokens included; at most the manifest's `max_tokens`.
    pub ids: Vec<u32>,
    /// Whether some of the turn was left out to fit.
    pub truncated: bool,
}

/// Renders and tokenizes a checked turn.
///
/// # Errors
/// [`Error::Tokenizer`] if the library fails, or if `max_tokens` leaves no room for any of the response.
pub fn encode_turn(template: &Template, tokenizer: &Tokenizer, max_tokens: usize, turn: &Turn) -> Result<Encoded> {
    let context = template.context_text(&turn.context);
    let mut fields =
        Fields { context: &context, evidence: template.evidence_text(turn), response: turn.response.trim() };
    let mut truncated = false;
    loop {
        let rendered = template.render(fields.context, fields.evidence, fields.response);
        let tokens = tokenizer.encode(&rendered.text)?;
        if tokens.ids.len() <= max_tokens {
            return Ok(Encoded { ids: tokens.ids, truncated });
        }
        fields.shorten(&rendered, &tokens, tokens.ids.len() - max_tokens);
        truncated = true;
        if fields.response.is_empty() {
            return Err(Error::Tokenizer(format!("`max_tokens` {max_tokens} leaves no room for a response")));
        }
    }
}

struct Fields<'t> {
    context: &'t str,
    evidence: &'t str,
    response: &'t str,
}

impl Fields<'_> {
    /// Takes at least one character, and about `excess` tokens, from the first field in line that has any left.
    fn shorten(&mut self, rendered: &Rendered, tokens: &Tokens, excess: usize) {
        if !self.context.is_empty() {
            let ends = token_ends(tokens, &rendered.context);
            self.context = match ends.get(excess - 1) {
                Some(&end) => drop_head(self.context, end),
                None => "",
            };
        } else if !self.evidence.is_empty() {
            self.evidence = keep_head(self.evidence, &token_ends(tokens, &rendered.evidence), excess);
        } else {
            self.response = keep_head(self.response, &token_ends(tokens, &rendered.response), excess);
        }
    }
}

/// Where the tokens that stand in `span` end, in bytes from its start.
fn token_ends(tokens: &Tokens, span: &Range<usize>) -> Vec<usize> {
    let inside = tokens.offsets.iter().filter(|(start, end)| *start >= span.start && *end <= span.end && start < end);
    inside.map(|&(_, end)| end - span.start).collect()
}

/// What follows byte `at`, from the next word on.
fn drop_head(text: &str, at: usize) -> &str {
    let at = (at.max(1)..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    let rest = &text[at..];
    if text[..at].ends_with(char::is_whitespace) || rest.starts_with(char::is_whitespace) {
        return rest.trim_start();
    }
    // In the middle of a word. Texts without spaces are cut where they stand.
    rest.find(char::is_whitespace).map_or(rest, |space| rest[space..].trim_start())
}

/// The text without its last `excess` tokens, of which the ends are given.
fn keep_head<'t>(text: &'t str, ends: &[usize], excess: usize) -> &'t str {
    let kept = ends.len().checked_sub(excess + 1).map_or(0, |last| ends[last]).min(text.len());
    let kept = (0..=kept).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let kept = text[..kept].trim_end();
    if kept.len() < text.len() { kept } else { &text[..text.char_indices().next_back().map_or(0, |(at, _)| at)] }
}
