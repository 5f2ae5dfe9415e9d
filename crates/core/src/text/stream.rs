//! Token ids → pieces of text, as they come.
//!
//! A piece is never taken back: a character that is not complete waits for its other tokens, and text that may be the beginning of a
//! stop string waits until it is clear whether it is one. All pieces together are the text of all tokens, up to the stop string.

use std::fmt;
use std::sync::Arc;

/// What decoders write for bytes that are no character, or not yet.
const REPLACEMENT: char = '\u{FFFD}';
/// Tokens whose text is made again for each new one, at least; the tokens before them are forgotten now and then.
const CONTEXT: usize = 16;

/// The text of a sequence of ids.
type Decode = dyn Fn(&[u32]) -> String + Send + Sync;

/// Tells the text of token ids.
#[derive(Clone)]
pub struct Speller {
    decode: Arc<Decode>,
    probe: Option<u32>,
}

impl Speller {
    /// `decode` tells the text of a sequence. It leaves out special tokens, and writes � for bytes that are no characters.
    pub fn new(decode: impl Fn(&[u32]) -> String + Send + Sync + 'static) -> Speller {
        Speller { decode: Arc::new(decode), probe: None }
    }

    /// For decoders that judge a run of byte tokens as a whole, so that a bad byte spoils the good ones before it: a token whose byte
    /// is in no character. Text that it would change is not given yet.
    pub fn with_probe(self, token: u32) -> Speller {
        Speller { probe: Some(token), ..self }
    }

    /// The text of a sequence.
    pub fn text(&self, tokens: &[u32]) -> String {
        (self.decode)(tokens)
    }

    /// How many bytes of the tokens' text stay as they are, whatever tokens follow.
    fn settled(&self, tokens: &mut Vec<u32>, text: &str) -> usize {
        let Some(probe) = self.probe else { return settled_start(text).len() };
        tokens.push(probe);
        let probed = self.text(tokens);
        tokens.pop();
        settled_start(common_start(text, &probed)).len()
    }
}

impl fmt::Debug for Speller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speller").field("probe", &self.probe).finish_non_exhaustive()
    }
}

/// The text of one sequence as it grows.
#[derive(Clone, Debug)]
pub struct Stream {
    speller: Speller,
    stops: Arc<[String]>,
    /// The last tokens, at least those whose text is not settled.
    tokens: Vec<u32>,
    /// The start of their text that is settled.
    shown: String,
    /// Settled text that may be the beginning of a stop string.
    held: String,
    is_stopped: bool,
}

impl Stream {
    /// A stream that ends before the first of the stop strings. Empty ones are not looked for.
    pub fn new(speller: Speller, stops: &[String]) -> Stream {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Stream { speller, stops, tokens: Vec::new(), shown: String::new(), held: String::new(), is_stopped: false }
    }

    /// Takes the next token. Returns the text that is certain now: often empty, and always so after a stop string.
    pub fn push(&mut self, token: u32) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.tokens.push(token);
        let text = self.speller.text(&self.tokens);
        // What contradicts what was shown is not shown; it may become right with the next tokens.
        let Some(new) = text.strip_prefix(&self.shown) else { return String::new() };
        // Were the tokens to end here, the text would be this, settled or not.
        if let Some(piece) = self.cut_at_stop(new) {
            return piece;
        }
        let settled = self.speller.settled(&mut self.tokens, &text);
        if settled > self.shown.len() {
            self.held += &text[self.shown.len()..settled];
            self.shown.push_str(&text[self.shown.len()..settled]);
        }
        self.forget(&text);
        self.release()
    }

    /// Ends the stream. Returns the text that waited.
    pub fn finish(&mut self) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.is_stopped = true;
        let text = self.speller.text(&self.tokens);
        let mut piece = std::mem::take(&mut self.held);
        piece += text.strip_prefix(&self.shown).unwrap_or_default();
        piece
    }

    /// Whether it ended, by a stop string or by [`Stream::finish`].
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What is left to give before a stop string, if one ends in the new text.
    fn cut_at_stop(&mut self, new: &str) -> Option<String> {
        if self.stops.is_empty() {
            return None;
        }
        let held = self.held.len();
        self.held += new;
        let Some(at) = find_stop(&self.held, &self.stops) else {
            self.held.truncate(held);
            return None;
        };
        self.is_stopped = true;
        self.held.truncate(at);
        Some(std::mem::take(&mut self.held))
    }

    /// Gives the text that is no beginning of a stop string.
    fn release(&mut self) -> String {
        let kept = self.stops.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, held)
    }

    /// Forgets tokens whose text is settled, if the text of the others is the same without them.
    fn forget(&mut self, text: &str) {
        if self.tokens.len() < 4 * CONTEXT || !self.tokens.len().is_multiple_of(CONTEXT) {
            return;
        }
        let first = self.tokens.len() - CONTEXT;
        let rest = self.speller.text(&self.tokens[first..]);
        let Some(dropped) = text.strip_suffix(&rest) else { return };
        // Some decoders leave out a space at the start of a text. That of the rest must be settled, or a space of it may be lost later.
        if self.shown.len() > dropped.len() && self.shown.starts_with(dropped) {
            self.shown.drain(..dropped.len());
            self.tokens.drain(..first);
        }
    }
}

/// A text without the replacement characters at its end, which may be the beginning of a character.
fn settled_start(text: &str) -> &str {
    text.trim_end_matches(REPLACEMENT)
}

/// The longest start that two texts share, in whole characters.
fn common_start<'t>(text: &'t str, other: &str) -> &'t str {
    let differs = text.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    let shared = differs.map_or(text.len().min(other.len()), |((at, _), _)| at);
    &text[..shared]
}

/// Where the stop string begins that ends first; of those that end together the longest.
fn find_stop(text: &str, stops: &[String]) -> Option<usize> {
    let found = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at)));
    found.min().map(|(_, at)| at)
}

/// How many bytes at the end of a text are the beginning of a stop string.
fn begun(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().rev().map(|(at, _)| at);
    starts.into_iter().find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
}
