//! Keeps a turn within the model's length.
//!
//! The oldest part of the context goes first, then the end of the evidence, and only then the end of the response. What is
//! cut is cut from the text, and the text is tokenized anew: so the ids are always those of a text that a person could have
//! written, whatever the tokenizer does at the edges of words.
//!
//! Where a field is far longer than the model reads, an [`Excerpt`] of it shows where to cut: the place is the one that the whole
//! text would have shown. A field with next to no tokens in it, or without words, is cut to [`READ_BYTES`] for each token of the
//! model before that.

use super::excerpt::{Excerpt, ceil_char, floor_char};
use super::tokenizer::Tokens;
use super::{Rendered, Template, Tokenizer};
use crate::{Error, Reading, Result, Turn};
use std::ops::Range;

/// Bytes of each field, for each token that the model reads, that are looked at first, and then where they do not tell enough. A
/// token of English text takes about five.
const LOOK_BYTES: [usize; 2] = [8, 32];
/// Bytes of each field, for each token that the model reads, beyond which nothing is read.
const READ_BYTES: usize = 64;

/// A turn's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Token ids, special tokens included; at most the manifest's `max_tokens`.
    pub ids: Vec<u32>,
    /// Whether some of the turn was left out to fit.
    pub truncated: bool,
    /// The share of the response, 0 to 1, that the tokenizer does not know: of its characters, spaces apart, those in unknown tokens.
    pub unknown_share: f32,
}

impl Encoded {
    /// What its verdict is to say of it.
    pub fn reading(&self) -> Reading {
        Reading { truncated: self.truncated, unknown_share: self.unknown_share }
    }
}

/// Renders and tokenizes a checked turn.
///
/// # Errors
/// [`Error::NoTokens`] for a response of which the tokenizer reads nothing; [`Error::Tokenizer`] if the library fails, or if
/// `max_tokens` leaves no room for any of the response.
pub fn encode_turn(template: &Template, tokenizer: &Tokenizer, max_tokens: usize, turn: &Turn) -> Result<Encoded> {
    let context = template.context_text(&turn.context);
    let fields = Fields { context: &context, evidence: template.evidence_text(turn), response: turn.response.trim() };
    let fitted = fit(template, tokenizer, max_tokens, fields)?;
    if fitted.fields.response.is_empty() && fitted.truncated {
        return Err(Error::Tokenizer(format!("`max_tokens` {max_tokens} leaves no room for a response")));
    }
    let unknown_share = unknown_share(&fitted.tokens, &fitted.rendered)?;
    Ok(Encoded { ids: fitted.tokens.ids, truncated: fitted.truncated, unknown_share })
}

/// Renders and tokenizes the prompt of a text to write. The response must fit whole, because what is cut would be lost in its repair. Of
/// a prompt for an answer, whose turn has no response, the end of the context must fit.
///
/// # Errors
/// [`Error::LongText`] if they do not; [`Error::Tokenizer`].
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
pub(crate) fn encode_prompt(
    template: &Template,
    tokenizer: &Tokenizer,
    max_tokens: usize,
    turn: &Turn,
) -> Result<Vec<u32>> {
    let context = template.context_text(&turn.context);
    let (context, response) = (context.trim(), turn.response.trim());
    let try_with = |evidence| fit(template, tokenizer, max_tokens, Fields { context, evidence, response });
    let mut fitted = try_with(template.evidence_text(turn))?;
    if response.is_empty() && fitted.fields.context.is_empty() {
        // Without the question, evidence does not help.
        fitted = try_with("")?;
    }
    let is_short = fitted.fields.response.len() < response.len();
    if is_short || response.is_empty() && fitted.fields.context.is_empty() && !context.is_empty() {
        let (field, text) = if is_short { ("response", response) } else { ("context", context) };
        return Err(Error::LongPrompt { field, tokens: tokenizer.ids(text)?.len(), longest: max_tokens });
    }
    Ok(fitted.tokens.ids)
}

/// A text that fits, and what is left of its fields.
struct Fitted<'t> {
    fields: Fields<'t>,
    rendered: Rendered,
    tokens: Tokens,
    truncated: bool,
}

/// Cuts fields until their text fits.
fn fit<'t>(
    template: &Template,
    tokenizer: &Tokenizer,
    max_tokens: usize,
    mut fields: Fields<'t>,
) -> Result<Fitted<'t>> {
    let mut truncated = false;
    let mut look = 0;
    loop {
        let bytes = LOOK_BYTES.get(look).map_or(usize::MAX / 2, |bytes| bytes * max_tokens);
        let excerpts = fields.look(bytes);
        if excerpts.iter().all(Excerpt::is_sound) {
            let [context, evidence, response] = excerpts.each_ref().map(Excerpt::text);
            let rendered = template.render(context, evidence, response);
            let tokens = tokenizer.encode(&rendered.text)?;
            if tokens.ids.len() <= max_tokens && !excerpts.iter().any(Excerpt::has_gap) {
                return Ok(Fitted { fields, rendered, tokens, truncated });
            }
            if fields.shorten(&Seen { excerpts: &excerpts, rendered: &rendered, tokens: &tokens, max_tokens }) {
                truncated = true;
                if [fields.context, fields.evidence, fields.response].iter().all(|field| field.is_empty()) {
                    return Err(Error::Tokenizer(format!("`max_tokens` {max_tokens} leaves no room for a response")));
                }
                continue;
            }
        }
        look += 1;
        if look == LOOK_BYTES.len() {
            truncated |= fields.bound(READ_BYTES * max_tokens);
        }
    }
}

struct Fields<'t> {
    context: &'t str,
    evidence: &'t str,
    response: &'t str,
}

/// What was tokenized, of which something must go.
struct Seen<'s> {
    /// Of context, evidence and response.
    excerpts: &'s [Excerpt<'s>; 3],
    rendered: &'s Rendered,
    tokens: &'s Tokens,
    max_tokens: usize,
}

impl<'t> Fields<'t> {
    /// About so many bytes of each field, from the side that is kept.
    fn look(&self, bytes: usize) -> [Excerpt<'t>; 3] {
        [
            Excerpt::of_end(self.context, bytes),
            Excerpt::of_start(self.evidence, bytes),
            Excerpt::of_start(self.response, bytes),
        ]
    }

    /// Cuts the first field in line that has any text left to the tokens that there is room for. `false`, and nothing is cut, if what
    /// was seen of the fields does not tell where.
    fn shorten(&mut self, seen: &Seen<'_>) -> bool {
        if !self.context.is_empty() {
            let Some(at) = seen.cut_from_start() else { return false };
            self.context = at.map_or("", |at| drop_head(self.context, at));
        } else if !self.evidence.is_empty() {
            let Some(at) = seen.cut_from_end(1) else { return false };
            self.evidence = keep_head(self.evidence, at);
        } else {
            let Some(at) = seen.cut_from_end(2) else { return false };
            self.response = keep_head(self.response, at);
        }
        true
    }

    /// Cuts what is longer than `bytes`, without a look at its tokens. Whether anything was.
    fn bound(&mut self, bytes: usize) -> bool {
        let before = [self.context, self.evidence, self.response].map(str::len);
        if self.context.len() > bytes {
            self.context = drop_head(self.context, ceil_char(self.context, self.context.len() - bytes));
        }
        for field in [&mut self.evidence, &mut self.response] {
            if field.len() > bytes {
                *field = field[..floor_char(field, bytes)].trim_end();
            }
        }
        before != [self.context, self.evidence, self.response].map(str::len)
    }
}

impl Seen<'_> {
    /// Where in the context to begin, so that only its last tokens are left, as many as there is room for: `Some(None)` if there is
    /// not even room for what follows it, `None` if it cannot be told.
    fn cut_from_start(&self) -> Option<Option<usize>> {
        let (others, exact) = self.others(0);
        if others > self.max_tokens {
            return Some(None);
        }
        let inside = tokens_in(self.tokens, &self.rendered.context);
        // The last one that goes.
        let last = inside.len().checked_sub(self.max_tokens - others + 1).map(|last| &inside[last]);
        let excerpt = &self.excerpts[0];
        last.filter(|token| exact && excerpt.is_sure_to_the_end(token)).map(|token| Some(excerpt.place(token.end)))
    }

    /// Where in a field to end, so that only its first tokens are left; 0 if there is no room for any, `None` if it cannot be told.
    fn cut_from_end(&self, field: usize) -> Option<usize> {
        let (others, exact) = self.others(field);
        if others >= self.max_tokens {
            return Some(0);
        }
        let inside = tokens_in(self.tokens, self.span(field));
        let room = self.max_tokens - others;
        let excerpt = &self.excerpts[field];
        // One more must follow, or nothing would have to go.
        let first_to_go = inside.get(room).filter(|token| exact && excerpt.is_sure_to_the_start(token));
        first_to_go.map(|_| excerpt.place(inside[room - 1].end))
    }

    /// How many tokens at least are not in a field, and whether that is how many.
    fn others(&self, field: usize) -> (usize, bool) {
        let inside = tokens_in(self.tokens, self.span(field)).len();
        let (mut others, mut exact) = (self.tokens.ids.len() - inside, true);
        for (other, excerpt) in self.excerpts.iter().enumerate() {
            if other != field && excerpt.has_gap() {
                let tokens = tokens_in(self.tokens, self.span(other));
                others -= tokens.iter().filter(|token| !excerpt.is_sure(token)).count();
                exact = false;
            }
        }
        (others, exact)
    }

    fn span(&self, field: usize) -> &Range<usize> {
        [&self.rendered.context, &self.rendered.evidence, &self.rendered.response][field]
    }
}

/// The tokens that stand in `span`, in bytes from its start. Of a token of spaces alone some tokenizers say that it has no width.
fn tokens_in(tokens: &Tokens, span: &Range<usize>) -> Vec<Range<usize>> {
    let inside = tokens.offsets.iter().zip(&tokens.special).filter(|&(&(start, end), &special)| {
        !special && !span.is_empty() && start >= span.start && end <= span.end && start <= end
    });
    inside.map(|(&(start, end), _)| start - span.start..end - span.start).collect()
}

/// The share of the response's characters, spaces apart, that stand in unknown tokens, to three decimals.
///
/// # Errors
/// [`Error::NoTokens`] if none stands in any token.
fn unknown_share(tokens: &Tokens, rendered: &Rendered) -> Result<f32> {
    let (mut all, mut unknown) = (0usize, 0usize);
    for (&id, &(start, end)) in tokens.ids.iter().zip(&tokens.offsets) {
        let inside = start.max(rendered.response.start)..end.min(rendered.response.end);
        let Some(text) = rendered.text.get(inside) else { continue };
        let characters = text.chars().filter(|c| !c.is_whitespace()).count();
        all += characters;
        unknown += if tokens.unknown == Some(id) { characters } else { 0 };
    }
    match all {
        0 => Err(Error::NoTokens { field: "response" }),
        _ => Ok((unknown as f32 / all as f32 * 1e3).round() / 1e3),
    }
}

/// What follows byte `at`, from the next word on.
fn drop_head(text: &str, at: usize) -> &str {
    let at = ceil_char(text, at.max(1));
    let rest = &text[at..];
    if text[..at].ends_with(char::is_whitespace) || rest.starts_with(char::is_whitespace) {
        return rest.trim_start();
    }
    // In the middle of a word. Texts without spaces are cut where they stand.
    rest.find(char::is_whitespace).map_or(rest, |space| rest[space..].trim_start())
}

/// The text up to byte `at`, and in any case without its last character.
fn keep_head(text: &str, at: usize) -> &str {
    let kept = text[..floor_char(text, at)].trim_end();
    if kept.len() < text.len() { kept } else { &text[..text.char_indices().next_back().map_or(0, |(at, _)| at)] }
}

#[cfg(test)]
mod tests;
