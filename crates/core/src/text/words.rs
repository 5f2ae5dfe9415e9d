//! The words of a text, as a person counts them.

use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// A number with its marks; a character of a script that writes no spaces and has a word in almost every character; a run of letters, marks
/// and digits, joined by an apostrophe or a full stop inside it. `web/src/words.ts` has the same rule.
const WORD: &str = "\\p{Nd}+(?:[.,:]\\p{Nd}+)+\
    |[\\u{3040}-\\u{30FF}\\u{3400}-\\u{4DBF}\\u{4E00}-\\u{9FFF}\\u{F900}-\\u{FAFF}\\u{20000}-\\u{3FFFF}]\\p{M}*\
    |[\\p{L}\\p{M}\\p{N}_--\\u{3040}-\\u{30FF}\\u{3400}-\\u{4DBF}\\u{4E00}-\\u{9FFF}\\u{F900}-\\u{FAFF}\\u{20000}-\\u{3FFFF}]+\
    (?:['’.·][\\p{L}\\p{M}\\p{N}_--\\u{3040}-\\u{30FF}\\u{3400}-\\u{4DBF}\\u{4E00}-\\u{9FFF}\\u{F900}-\\u{FAFF}\\u{20000}-\\u{3FFFF}]+)*";

/// None if the pattern were wrong; a test holds it to what it is for.
static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(WORD).ok());

/// Where the words of a text stand, in bytes, in order. A word is a number with its marks (`1,250.5`), a run of letters, marks and digits, also around
/// an apostrophe or a full stop (`don't`, `e.g`), or one Chinese character or Japanese syllable. Marks between words, and symbols, are no words.
///
/// ```
/// use grice_core::text::words;
///
/// let text = "Don't pay 1,250.50!";
/// let found: Vec<&str> = words(text).into_iter().map(|word| &text[word]).collect();
/// assert_eq!(found, ["Don't", "pay", "1,250.50"]);
/// ```
pub fn words(text: &str) -> Vec<Range<usize>> {
    WORDS.as_ref().map_or_else(Vec::new, |pattern| pattern.find_iter(text).map(|word| word.range()).collect())
}

/// Marks that stand without a space before them.
const CLOSING: [char; 11] = ['.', ',', ';', ':', '!', '?', ')', ']', '}', '”', '’'];

/// A text without a word, and without the space that only parted it from another: the one before it if a space, a closing mark or nothing
/// follows; at the start of a text, the one after it.
pub(crate) fn without(text: &str, word: &Range<usize>) -> String {
    let (before, after) = (&text[..word.start], &text[word.end..]);
    let kept = before.trim_end();
    if kept.is_empty() {
        return before.to_owned() + after.trim_start();
    }
    let is_apart = after.chars().next().is_none_or(|next| next.is_whitespace() || CLOSING.contains(&next));
    if is_apart { kept.to_owned() + after } else { before.to_owned() + after }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A text, where its words stand in Unicode characters, and the text without each word. The npm package's tests read the same file.
    #[derive(serde::Deserialize)]
    struct Case {
        text: String,
        words: Vec<[usize; 2]>,
        without: Vec<String>,
    }

    #[test]
    fn words_are_those_of_the_shared_cases() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../testkit/fixtures/words.json")).unwrap();
        assert!(cases.len() >= 12);
        for Case { text, words: expected, without: left } in cases {
            let found = words(&text);
            let characters = |at: usize| text[..at].chars().count();
            let places: Vec<[usize; 2]> =
                found.iter().map(|word| [characters(word.start), characters(word.end)]).collect();
            assert_eq!(places, expected, "{text:?}");
            let texts: Vec<String> = found.iter().map(|word| without(&text, word)).collect();
            assert_eq!(texts, left, "{text:?}");
        }
    }
}
