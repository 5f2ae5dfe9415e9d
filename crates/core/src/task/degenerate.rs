//! Tells texts that a model wrote badly: they are written again, or not used.

use std::collections::HashMap;

/// A run of so many marks is a burst; an ellipsis has three.
const BURST: usize = 4;
/// A phrase of three words that comes so often is a loop.
const LOOP: usize = 3;
/// So many exclamation marks are fine in any text.
const SHOUTS: usize = 2;
/// Beyond that, a text may have one for so many words.
const WORDS_A_SHOUT: usize = 8;

/// What is wrong with a text, if anything. Whatever its source has as well is not held against it.
///
/// ```
/// use grice_core::task::degeneration;
///
/// assert_eq!(degeneration("I liked it.", "It was good."), None);
/// assert_eq!(degeneration("I liked it.", "I liked it!!!!!"), Some("it has a burst of punctuation"));
/// ```
pub fn degeneration(source: &str, text: &str) -> Option<&'static str> {
    let worse = |count: fn(&str) -> usize, fine: usize| count(text) > fine && count(text) > count(source);
    let shouts = SHOUTS.max(text.split_whitespace().count() / WORDS_A_SHOUT);
    if text.trim().is_empty() {
        Some("it is empty")
    } else if worse(unknown, 0) {
        Some("it has characters that the model does not know")
    } else if worse(longest_burst, BURST - 1) {
        Some("it has a burst of punctuation")
    } else if worse(|text| text.matches('!').count(), shouts) {
        Some("it has too many exclamation marks")
    } else if worse(most_repeated, LOOP - 1) {
        Some("it repeats a phrase")
    } else if source.trim().contains('\n') && !text.trim().contains('\n') {
        Some("it lost its line breaks")
    } else {
        None
    }
}

/// How much two texts have in common, 0 to 1: F1 of their words, regardless of order, case and punctuation. Two texts without words have
/// all in common.
///
/// ```
/// use grice_core::task::word_f1;
///
/// assert_eq!(word_f1("I liked it.", "it i LIKED"), 1.0);
/// assert_eq!(word_f1("one two", "one three"), 0.5);
/// ```
pub fn word_f1(one: &str, other: &str) -> f32 {
    let (one, other) = (words(one), words(other));
    if one.is_empty() && other.is_empty() {
        return 1.0;
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    one.iter().for_each(|word| *counts.entry(word).or_default() += 1);
    let common = other.iter().filter(|word| match counts.get_mut(word.as_str()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    });
    2.0 * common.count() as f32 / (one.len() + other.len()) as f32
}

/// The words of a text in lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(letters).filter(|word| !word.is_empty()).collect()
}

fn unknown(text: &str) -> usize {
    text.matches("<unk>").count() + text.matches(['\u{fffd}', '\0']).count()
}

/// The length of the longest run of punctuation marks.
fn longest_burst(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        run = if matches!(character, '!' | '?' | '.' | ',' | ';' | ':' | '-' | '…') { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// How often the most frequent three words in a row come.
fn most_repeated(text: &str) -> usize {
    let words = words(text);
    let mut counts: HashMap<&[String], usize> = HashMap::new();
    for phrase in words.windows(3) {
        *counts.entry(phrase).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_and_what_the_source_has_is_not_one() {
        let source = "I liked the film a lot.";
        for (text, fault) in [
            ("", Some("empty")),
            (" \n", Some("empty")),
            ("I liked the film.", None),
            ("Well... I liked it.", None),
            ("Well.... I liked it.", Some("burst")),
            ("Yes! Great! I liked it.", None),
            ("Yes! Great! Wow! I liked it.", Some("exclamation")),
            ("I liked the <unk>.", Some("does not know")),
            ("I liked the \u{fffd}.", Some("does not know")),
            ("the film is the film is good", None),
            ("the film is, the film is, The Film is", Some("repeats")),
        ] {
            let told = degeneration(source, text);
            match fault {
                None => assert_eq!(told, None, "{text}"),
                Some(words) => assert!(told.is_some_and(|told| told.contains(words)), "{text}: {told:?}"),
            }
            assert_eq!(degeneration(text, text).filter(|_| !text.trim().is_empty()), None, "{text}");
        }
    }

    #[test]
    fn words_in_common_are_counted_once_each() {
        for (one, other, f1) in [
            ("", "", 1.0),
            ("", "a", 0.0),
            ("a a a", "a", 0.5),
            ("a b c d", "a b c", 6.0 / 7.0),
            ("Don't, stop!", "dont STOP", 1.0),
        ] {
            assert_eq!((word_f1(one, other), word_f1(other, one)), (f1, f1), "{one} {other}");
        }
    }

    #[test]
    fn lost_line_breaks_are_a_fault() {
        assert_eq!(degeneration("One.\nTwo.", "One. Two."), Some("it lost its line breaks"));
        assert_eq!(degeneration("One.\nTwo.", "One.\nTwo"), None);
        assert_eq!(degeneration("One. Two.\n", "One. Two"), None);
    }
}
