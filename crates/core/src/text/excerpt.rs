//! A long field with its middle left out, so that reading a megabyte costs what the model can use of it.
//!
//! On either side of the gap stand the tokens of the whole text, except near the gap, where half a word may make a token that the
//! whole text does not have. What lies beyond the next beginning of a word, and [`MARGIN`] bytes, is sure: words are tokenized one by
//! one, and what normalizers look at around a place is shorter than that. The field keeps its real start and end, because tokens may
//! reach from there into the template.

use std::borrow::Cow;
use std::ops::Range;

/// Bytes next to a gap whose tokens are never trusted.
const MARGIN: usize = 32;
/// Bytes of a field that are kept on the side that only has to be whole where it meets the template.
const EDGE: usize = 128;

/// A field, or its two ends.
pub(super) struct Excerpt<'t> {
    shown: Cow<'t, str>,
    /// What is left out of the field; empty if nothing is.
    gap: Range<usize>,
    /// Where in the shown text the tokens are those of the whole: before the start, and from the end on.
    unsure: Range<usize>,
}

impl<'t> Excerpt<'t> {
    /// The field itself if that is not much longer than `bytes`; else about so many from its end.
    pub(super) fn of_end(field: &'t str, bytes: usize) -> Excerpt<'t> {
        Excerpt::new(field, EDGE, bytes)
    }

    /// The same from its start.
    pub(super) fn of_start(field: &'t str, bytes: usize) -> Excerpt<'t> {
        Excerpt::new(field, bytes, EDGE)
    }

    fn new(field: &'t str, head: usize, tail: usize) -> Excerpt<'t> {
        if field.len() <= head + tail {
            return Excerpt { shown: Cow::Borrowed(field), gap: 0..0, unsure: 0..0 };
        }
        let gap = floor_char(field, head)..ceil_char(field, field.len() - tail);
        let before = last_word(&field[..gap.start], gap.start.saturating_sub(MARGIN)).unwrap_or(0);
        let after = first_word(&field[gap.end..], MARGIN).unwrap_or(field.len() - gap.end);
        let shown = Cow::Owned([&field[..gap.start], &field[gap.end..]].concat());
        Excerpt { shown, unsure: before..gap.start + after, gap }
    }

    /// What is to be tokenized in its place.
    pub(super) fn text(&self) -> &str {
        &self.shown
    }

    /// Whether something is left out.
    pub(super) fn has_gap(&self) -> bool {
        !self.gap.is_empty()
    }

    /// Whether both ends hold something that is sure. Where no word begins, nothing is.
    pub(super) fn is_sound(&self) -> bool {
        !self.has_gap() || self.unsure.start > 0 && self.unsure.end < self.shown.len()
    }

    /// Whether a token of the shown text, given by where it stands there, is one of the whole text.
    pub(super) fn is_sure(&self, token: &Range<usize>) -> bool {
        self.is_sure_to_the_start(token) || self.is_sure_to_the_end(token)
    }

    /// Whether a token is, and so is all before it.
    pub(super) fn is_sure_to_the_start(&self, token: &Range<usize>) -> bool {
        !self.has_gap() || token.end <= self.unsure.start
    }

    /// Whether a token is, and so is all after it.
    pub(super) fn is_sure_to_the_end(&self, token: &Range<usize>) -> bool {
        !self.has_gap() || token.start >= self.unsure.end
    }

    /// Where a place in the shown text stands in the field.
    pub(super) fn place(&self, shown: usize) -> usize {
        if shown <= self.gap.start { shown } else { shown + self.gap.len() }
    }
}

/// Where the last word begins that begins at `at` or before, after a space.
fn last_word(text: &str, at: usize) -> Option<usize> {
    let head = &text[..ceil_char(text, at)];
    let mut next_is_word = text[head.len()..].starts_with(|c: char| !c.is_whitespace());
    for (place, c) in head.char_indices().rev() {
        if c.is_whitespace() && next_is_word {
            return Some(place + c.len_utf8());
        }
        next_is_word = !c.is_whitespace();
    }
    None
}

/// Where the first word begins that begins after a space at `at` or later.
fn first_word(text: &str, at: usize) -> Option<usize> {
    let at = ceil_char(text, at);
    let space = at + text[at..].find(char::is_whitespace)?;
    Some(space + text[space..].find(|c: char| !c.is_whitespace())?)
}

/// The character boundary at a place, or the last one before it.
pub(super) fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The character boundary at a place, or the first one after it.
pub(super) fn ceil_char(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_field_is_shown_whole() {
        let excerpt = Excerpt::of_end("one two", 300);
        assert_eq!(
            (excerpt.text(), excerpt.has_gap(), excerpt.is_sound(), excerpt.place(5)),
            ("one two", false, true, 5)
        );
    }

    #[test]
    fn both_ends_stay_and_places_are_those_of_the_field() {
        let field: String = (0..1000).map(|n| format!("wörd{n} ")).collect();
        for excerpt in [Excerpt::of_start(&field, 301), Excerpt::of_end(&field, 301)] {
            assert!(excerpt.has_gap() && excerpt.is_sound());
            let (shown, unsure) = (excerpt.text(), excerpt.unsure.clone());
            assert!(field.starts_with(&shown[..unsure.start]) && field.ends_with(&shown[unsure.end..]));
            assert!(unsure.start + MARGIN <= excerpt.gap.start && unsure.end >= excerpt.gap.start + MARGIN);
            let from_end = shown.len() - unsure.end;
            assert_eq!(excerpt.place(unsure.end), field.len() - from_end);
            assert_eq!(excerpt.place(unsure.start), unsure.start);
            assert!(shown[unsure.end..].starts_with("wörd") && shown[..unsure.start].ends_with(' '));
        }
    }

    #[test]
    fn nothing_is_sure_of_a_text_without_words() {
        for field in ["x".repeat(5000), " ".repeat(5000), "中".repeat(5000), format!("a {}", "\u{301}".repeat(5000))] {
            assert!(
                !Excerpt::of_start(&field, 300).is_sound() && !Excerpt::of_end(&field, 300).is_sound(),
                "{}",
                &field[..9]
            );
        }
    }
}
