//! An explanation for people: the texts with their moving words marked, and a table of the words.

use crate::terminal::Terminal;
use grice_core::task::{Explanation, Field, MovingWord};
use grice_core::{Context, Maxim, Turn};
use std::fmt::Write;

/// Smaller changes are in the table only: half a percentage point.
const MARKED_FROM: f32 = 0.005;
/// Smaller changes would be printed as 0.0.
const LISTED_FROM: f32 = 0.000_5;

/// The whole text, with line ends; empty if no maxim is violated.
pub(super) fn show_explanation(explanation: &Explanation, turn: &Turn, terminal: Terminal) -> String {
    let mut text = String::new();
    for (maxim, words) in explanation.words.iter().filter(|(_, words)| !words.is_empty()) {
        show_maxim(&mut text, maxim, words, turn, terminal);
    }
    if explanation.tried < explanation.of {
        let Explanation { tried, of, .. } = explanation;
        let note = format!("note: {tried} of {of} words were left out alone, from the parts that matter most");
        _ = writeln!(text, "\n{}", terminal.paint(terminal.note(), &note));
    }
    text
}

fn show_maxim(text: &mut String, maxim: Maxim, words: &[MovingWord], turn: &Turn, terminal: Terminal) {
    let words: Vec<&MovingWord> = words.iter().filter(|word| word.change.abs() >= LISTED_FROM).collect();
    if words.is_empty() {
        let none = format!("No word alone moves {maxim} by 0.1 percentage points.");
        _ = writeln!(text, "\n{}", terminal.paint(terminal.strong(), &none));
        return;
    }
    let heading = format!("What moved {maxim} most, and its change without the word, in percentage points:");
    _ = writeln!(text, "\n{}", terminal.paint(terminal.strong(), &heading));
    for (field, name, whole) in marked_texts(turn) {
        let inside: Vec<&MovingWord> =
            words.iter().copied().filter(|word| word.field == field && word.change.abs() >= MARKED_FROM).collect();
        if !inside.is_empty() {
            _ = writeln!(text, "  {name:<8}  {}", mark(whole, &inside, terminal));
        }
    }
    for word in words {
        let name = match (word.field, word.utterance) {
            (Field::Response, _) => "response".to_owned(),
            (Field::Evidence, _) => "evidence".to_owned(),
            (Field::Context, None) => "context".to_owned(),
            (Field::Context, Some(utterance)) => format!("context, utterance {utterance}"),
        };
        _ = writeln!(text, "  {:>+6.1}  {}  ({name})", word.change * 100.0, word.word);
    }
}

/// The texts that are one piece; of a command line, the context is one too.
fn marked_texts(turn: &Turn) -> Vec<(Field, &'static str, &str)> {
    let mut texts = vec![(Field::Response, "response", turn.response.as_str())];
    texts.extend(turn.evidence.as_deref().map(|evidence| (Field::Evidence, "evidence", evidence)));
    if let Context::Text(context) = &turn.context {
        texts.push((Field::Context, "context", context));
    }
    texts
}

/// A text with some of its words underlined; in brackets where there are no colours.
fn mark(text: &str, words: &[&MovingWord], terminal: Terminal) -> String {
    let mut places: Vec<(usize, usize)> = words.iter().map(|word| (word.start, word.end)).collect();
    places.sort_unstable();
    let characters: Vec<char> = text.chars().collect();
    let part = |from: usize, to: usize| printable(characters.get(from..to).unwrap_or_default());
    let (mut marked, mut done) = (String::new(), 0);
    for (start, end) in places {
        marked += &part(done, start);
        marked += &terminal.underline(&part(start, end));
        done = end;
    }
    marked + &part(done, characters.len())
}

/// A text on one line, that cannot steer a terminal.
fn printable(text: &[char]) -> String {
    text.iter().map(|&c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Color;

    fn word(start: usize, end: usize, word: &str) -> MovingWord {
        MovingWord { field: Field::Response, utterance: None, start, end, word: word.to_owned(), change: -0.25 }
    }

    #[test]
    fn changes_that_would_be_printed_as_nothing_are_not_listed() {
        let terminal = Terminal::of_stdout(Color::Never);
        let (tiny, large) = (MovingWord { change: 0.000_4, ..word(0, 3, "Yes") }, word(5, 9, "sure"));
        let turn = Turn::new("Really?", "Yes, sure.");
        let shown = |words: &[MovingWord]| {
            let mut text = String::new();
            show_maxim(&mut text, Maxim::Quantity, words, &turn, terminal);
            text
        };
        assert_eq!(shown(std::slice::from_ref(&tiny)), "\nNo word alone moves quantity by 0.1 percentage points.\n");
        let both = shown(&[large, tiny]);
        assert!(both.contains("response  Yes, [sure].") && both.ends_with("  -25.0  sure  (response)\n"), "{both}");
    }

    #[test]
    fn words_are_marked_with_and_without_colours() {
        let text = "Été \u{1b}[31m wrong, é so.";
        let words = [word(10, 15, "wrong"), word(0, 3, "Été")];
        let words: Vec<&MovingWord> = words.iter().collect();
        assert_eq!(mark(text, &words, Terminal::of_stdout(Color::Never)), "[Été]  [31m [wrong], é so.");
        let coloured = mark(text, &words, Terminal::of_stdout(Color::Always));
        assert_eq!(coloured.matches("\u{1b}[4m").count(), 2, "{coloured:?}");
        assert!(!coloured.contains("[31m\u{1b}") && coloured.contains("wrong\u{1b}[0m,"), "{coloured:?}");
    }
}
