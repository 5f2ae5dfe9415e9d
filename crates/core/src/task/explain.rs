//! The words that moved a verdict most, found by leaving them out: the same model judges the turn again without each word. It says what is to run
//! next and runs nothing.
//!
//! Up to so many words as runs are allowed, each is left out alone. Of a longer turn, pieces are left out first, and then the words of those
//! pieces that moved a violated maxim most.

use crate::text::{without, words};
use crate::{Context, Maxim, PerMaxim, Turn, Utterance, Verdict};
use serde::Serialize;
use std::ops::Range;

/// How many further runs a usual explanation takes at most.
pub const EXPLAIN_RUNS: usize = 96;

/// How many words an explanation names for each maxim at most.
pub const MOST_WORDS: usize = 10;

/// A field of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// [`Turn::response`].
    Response,
    /// [`Turn::evidence`].
    Evidence,
    /// [`Turn::context`].
    Context,
}

/// A word, and what it did to one maxim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MovingWord {
    /// The field that it stands in.
    pub field: Field,
    /// In a context of utterances: which, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utterance: Option<usize>,
    /// Where it begins in its text, in Unicode characters (code points).
    pub start: usize,
    /// Where it ends, in the same unit; excluded.
    pub end: usize,
    /// The word.
    pub word: String,
    /// The change of the maxim's probability when the word is left out: negative for a word that speaks for a violation, positive for one that speaks
    /// against it.
    pub change: f32,
}

/// What moved a verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// For each violated maxim the words that moved its probability most, the largest change first; at most [`MOST_WORDS`], none without a change.
    pub words: PerMaxim<Vec<MovingWord>>,
    /// Number of words that were left out alone.
    pub tried: usize,
    /// Number of words that the model can have read. If it is above `tried`, the rest were left out only in pieces, or not at all.
    pub of: usize,
}

/// An explanation in the making.
///
/// ```
/// use grice_core::task::Explain;
/// use grice_core::{PerMaxim, Turn, Verdict};
///
/// let probabilities = PerMaxim { manner: 0.75, ..PerMaxim::default() };
/// let violations = PerMaxim { manner: true, ..PerMaxim::default() };
/// let verdict = Verdict { probabilities, violations, cooperative: false, truncated: false, unknown_share: 0.0 };
/// let mut explain = Explain::new(&Turn::new("How was it?", "Well, fine."), &verdict, 256, 96);
/// let asks = explain.asks();
/// assert_eq!(asks.iter().map(|turn| turn.response.as_str()).next(), Some(", fine."));
/// // Without the first word the model is sure of the other; the other words change nothing.
/// let judged = asks.iter().map(|turn| Some(PerMaxim { manner: if turn.response.starts_with(',') { 0.25 } else { 0.75 }, ..probabilities }));
/// explain.tell(&judged.collect::<Vec<_>>());
/// assert!(explain.asks().is_empty());
/// let moved = explain.finish().words.manner;
/// assert_eq!((moved.len(), moved[0].word.as_str(), moved[0].change), (1, "Well", -0.5));
/// ```
#[derive(Debug)]
pub struct Explain {
    turn: Turn,
    violated: Vec<Maxim>,
    before: PerMaxim<f32>,
    places: Vec<Place>,
    /// Words that may still be left out.
    open: Vec<usize>,
    /// What the last asks leave out.
    asked: Vec<Vec<usize>>,
    runs_left: usize,
    /// For each word, the probabilities without it.
    found: Vec<(usize, PerMaxim<f32>)>,
    tried: usize,
}

/// A word of a turn, in bytes of its text.
#[derive(Clone, Debug)]
struct Place {
    field: Field,
    utterance: Option<usize>,
    bytes: Range<usize>,
}

impl Explain {
    /// For a turn, its verdict by a model that reads so many tokens, and so many further runs.
    pub fn new(turn: &Turn, verdict: &Verdict, max_tokens: usize, runs: usize) -> Explain {
        let violated: Vec<Maxim> =
            verdict.violations.iter().filter(|(_, violated)| **violated).map(|(maxim, _)| maxim).collect();
        let places = if violated.is_empty() { Vec::new() } else { places(turn, max_tokens) };
        Explain {
            turn: turn.clone(),
            before: verdict.probabilities,
            open: (0..places.len()).collect(),
            asked: Vec::new(),
            runs_left: runs,
            found: Vec::with_capacity(places.len().min(runs)),
            tried: 0,
            violated,
            places,
        }
    }

    /// The turns to judge next; empty at the end. One without a visible character in its response is among them if that has only one word.
    pub fn asks(&mut self) -> Vec<Turn> {
        let size = match self.open.len() {
            0 => return Vec::new(),
            words if words <= self.runs_left => 1,
            // Half of the runs find the pieces, the rest look into them.
            _ if self.runs_left < 4 => return Vec::new(),
            words => words.div_ceil(self.runs_left / 2),
        };
        self.asked = self.open.chunks(size).map(<[usize]>::to_vec).collect();
        self.open.clear();
        self.runs_left = self.runs_left.saturating_sub(self.asked.len());
        self.asked.iter().map(|words| self.leave_out(words)).collect()
    }

    /// The probabilities for each of the last [`Explain::asks`]; `None` for a turn that cannot be judged.
    pub fn tell(&mut self, judged: &[Option<PerMaxim<f32>>]) {
        let mut pieces: Vec<(f32, Vec<usize>)> = Vec::new();
        for (words, judged) in std::mem::take(&mut self.asked).into_iter().zip(judged) {
            match (words.as_slice(), judged) {
                (&[word], judged) => {
                    self.tried += 1;
                    self.found.extend(judged.map(|without| (word, without)));
                }
                // What cannot be judged may hold anything.
                (_, None) => pieces.push((f32::INFINITY, words)),
                (_, Some(without)) => pieces.push((self.largest(without), words)),
            }
        }
        // Stable, so that of equal pieces the first comes first.
        pieces.sort_by(|one, other| other.0.total_cmp(&one.0));
        for (_, words) in pieces {
            if !self.open.is_empty() && self.open.len() + words.len() > self.runs_left {
                break;
            }
            self.open.extend(words);
        }
    }

    /// What was found.
    pub fn finish(self) -> Explanation {
        let of_maxim = |maxim: Maxim| match self.violated.contains(&maxim) {
            true => self.most(maxim),
            false => Vec::new(),
        };
        Explanation { words: PerMaxim::from_fn(of_maxim), tried: self.tried, of: self.places.len() }
    }

    fn largest(&self, without: &PerMaxim<f32>) -> f32 {
        let changes = self.violated.iter().map(|&maxim| (without.get(maxim) - self.before.get(maxim)).abs());
        changes.fold(0.0, f32::max)
    }

    fn most(&self, maxim: Maxim) -> Vec<MovingWord> {
        let change = |without: &PerMaxim<f32>| without.get(maxim) - self.before.get(maxim);
        let mut changes: Vec<(usize, f32)> = self
            .found
            .iter()
            .map(|(word, without)| (*word, change(without)))
            .filter(|&(_, change)| change != 0.0)
            .collect();
        changes.sort_by(|one, other| other.1.abs().total_cmp(&one.1.abs()).then(one.0.cmp(&other.0)));
        changes.truncate(MOST_WORDS);
        changes.into_iter().filter_map(|(word, change)| self.name(word, change)).collect()
    }

    fn name(&self, word: usize, change: f32) -> Option<MovingWord> {
        let Place { field, utterance, bytes } = self.places.get(word)?;
        let text = text_of(&self.turn, *field, *utterance)?;
        let word = text.get(bytes.clone())?.to_owned();
        let start = text[..bytes.start].chars().count();
        Some(MovingWord {
            field: *field,
            utterance: *utterance,
            start,
            end: start + word.chars().count(),
            word,
            change,
        })
    }

    /// The turn without some words, given in order.
    fn leave_out(&self, words: &[usize]) -> Turn {
        let mut turn = self.turn.clone();
        // From the last one, so that the places of the others stay.
        for place in words.iter().rev().filter_map(|&word| self.places.get(word)) {
            if let Some(text) = text_mut(&mut turn, place.field, place.utterance) {
                *text = without(text, &place.bytes);
            }
        }
        turn
    }
}

/// The words of a turn that a model of so many tokens can have read: a word has a token at least. It reads the response and the evidence from
/// their beginning, and the context from its end.
fn places(turn: &Turn, max_tokens: usize) -> Vec<Place> {
    let of = |field, utterance, text: &str| -> Vec<Place> {
        words(text).into_iter().map(|bytes| Place { field, utterance, bytes }).collect()
    };
    let mut places = of(Field::Response, None, &turn.response);
    places.truncate(max_tokens);
    let mut evidence = turn.evidence.as_deref().map_or_else(Vec::new, |text| of(Field::Evidence, None, text));
    evidence.truncate(max_tokens);
    let mut context: Vec<Place> = match &turn.context {
        Context::Text(text) => of(Field::Context, None, text),
        Context::Utterances(utterances) => {
            let texts = utterances.iter().enumerate();
            texts.flat_map(|(at, utterance)| of(Field::Context, Some(at), spoken(utterance))).collect()
        }
    };
    context.drain(..context.len().saturating_sub(max_tokens));
    places.extend(evidence);
    places.extend(context);
    places
}

fn spoken(utterance: &Utterance) -> &str {
    match utterance {
        Utterance::Text(text) | Utterance::Spoken { text, .. } => text,
    }
}

fn text_of(turn: &Turn, field: Field, utterance: Option<usize>) -> Option<&str> {
    match (field, &turn.context) {
        (Field::Response, _) => Some(&turn.response),
        (Field::Evidence, _) => turn.evidence.as_deref(),
        (Field::Context, Context::Text(text)) => Some(text),
        (Field::Context, Context::Utterances(utterances)) => utterances.get(utterance?).map(spoken),
    }
}

fn text_mut(turn: &mut Turn, field: Field, utterance: Option<usize>) -> Option<&mut String> {
    match (field, &mut turn.context) {
        (Field::Response, _) => Some(&mut turn.response),
        (Field::Evidence, _) => turn.evidence.as_mut(),
        (Field::Context, Context::Text(text)) => Some(text),
        (Field::Context, Context::Utterances(utterances)) => match utterances.get_mut(utterance?)? {
            Utterance::Text(text) | Utterance::Spoken { text, .. } => Some(text),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn verdict(violated: &[Maxim]) -> Verdict {
        Verdict {
            probabilities: PerMaxim::from_fn(|_| 0.75),
            violations: PerMaxim::from_fn(|maxim| violated.contains(&maxim)),
            cooperative: violated.is_empty(),
            truncated: false,
            unknown_share: 0.0,
        }
    }

    /// A model that finds manner worse for each `odd`, and quality for each `wrong` in the evidence.
    fn judge(turn: &Turn) -> Option<PerMaxim<f32>> {
        if turn.response.trim().is_empty() {
            return None;
        }
        let count = |text: &str, word: &str| text.matches(word).count() as f32;
        let manner = 0.25 + 0.125 * count(&turn.response, "odd").min(4.0);
        let quality = 0.5 + 0.25 * count(turn.evidence.as_deref().unwrap_or_default(), "wrong").min(1.0);
        Some(PerMaxim { manner, quality, quantity: 0.75, relation: 0.75 })
    }

    fn explain(turn: &Turn, verdict: &Verdict, max_tokens: usize, runs: usize) -> (Explanation, usize) {
        let mut explain = Explain::new(turn, verdict, max_tokens, runs);
        let mut run = 0;
        loop {
            let asks = explain.asks();
            if asks.is_empty() {
                return (explain.finish(), run);
            }
            run += asks.len();
            explain.tell(&asks.iter().map(judge).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_violated_maxims_are_explained_and_places_are_in_characters() {
        let turn = Turn { evidence: Some("é wrong.".to_owned()), ..Turn::new("hm", "odd ö odd odd odd") };
        let (found, runs) = explain(&turn, &verdict(&[Maxim::Quality]), 256, 96);
        assert_eq!((found.tried, found.of, runs), (8, 8, 8));
        let [word] = found.words.quality.as_slice() else { panic!("{found:?}") };
        let place = (word.field, word.utterance, word.start, word.end, word.word.as_str(), word.change);
        assert_eq!(place, (Field::Evidence, None, 2, 7, "wrong", -0.25));
        assert!(found.words.manner.is_empty());
        let (found, runs) = explain(&turn, &verdict(&[]), 256, 96);
        assert_eq!((found, runs), (Explanation::default(), 0));
    }

    #[test]
    fn the_only_word_of_a_response_has_no_number() {
        let (found, runs) = explain(&Turn::new("", "odd"), &verdict(&[Maxim::Manner]), 256, 96);
        assert_eq!((found.words.manner.len(), found.tried, runs), (0, 1, 1));
    }

    #[test]
    fn words_of_utterances_have_their_place_and_cut_words_are_not_tried() {
        let utterances = vec![Utterance::Text("a b".to_owned()), Utterance::Text("c d".to_owned())];
        let turn =
            Turn { context: Context::Utterances(utterances), evidence: None, response: "odd it is so".to_owned() };
        let mut asked = Explain::new(&turn, &verdict(&[Maxim::Manner]), 3, 96);
        let asks = asked.asks();
        let texts: Vec<String> = asks.iter().map(|turn| serde_json::to_string(&turn.context).unwrap()).collect();
        let whole = "[\"a b\",\"c d\"]";
        assert_eq!(texts, [whole, whole, whole, "[\"a\",\"c d\"]", "[\"a b\",\"d\"]", "[\"a b\",\"c\"]"]);
    }

    #[test]
    fn a_long_turn_is_searched_piece_by_piece_within_its_runs() {
        for (length, runs) in [(97, 96), (1000, 96), (5000, 96), (40, 16), (3, 2), (10, 1), (10, 0)] {
            let mut texts = vec!["plain"; length];
            texts[length * 2 / 3] = "odd";
            let (found, run) = explain(&Turn::new("", texts.join(" ")), &verdict(&[Maxim::Manner]), 8192, runs);
            assert!(run <= runs, "{run} of {runs} runs for {length} words");
            assert_eq!(found.of, length);
            if runs >= 16 {
                assert_eq!(found.words.manner[0].word, "odd", "{length} words, {runs} runs");
            }
        }
    }
}
