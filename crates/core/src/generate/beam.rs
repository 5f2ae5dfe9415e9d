//! Beam search, as Hugging Face's library does it (transformers 5, `GenerationMixin._beam_search`).

use super::adjust::adjust;
use super::choose::Desk;
use super::numbers::{Ranked, check_finite, log_softmax};
use super::options::{DecodeOptions, EarlyStopping};
use super::outcome::{DecodeError, Finish, Generated, Start, TokenLog, Want};
use super::stops::Watch;
use std::sync::Arc;

/// How a beam is searched, from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Breadth {
    pub(super) width: usize,
    pub(super) length_penalty: f32,
    pub(super) early: EarlyStopping,
}

impl Breadth {
    /// A sum of log-probabilities of so many tokens as the score of a sequence.
    fn score(&self, sum: f32, tokens: usize) -> f32 {
        let divisor = (tokens as f64).powf(f64::from(self.length_penalty)) as f32;
        // Penalties without measure would make infinities of it.
        sum / divisor.clamp(f32::MIN_POSITIVE, f32::MAX)
    }

    /// The best score that an open hypothesis may get.
    fn hope(&self, sum: f32, tokens: usize, tokens_max: usize) -> f32 {
        let is_longer_better = self.early == EarlyStopping::Never && self.length_penalty > 0.0;
        self.score(sum, if is_longer_better { tokens_max } else { tokens })
    }
}

/// A sequence that may still grow.
#[derive(Clone, Debug, Default)]
struct Line {
    /// Prompt and new tokens.
    tokens: Vec<u32>,
    /// Its place among the lines before.
    parent: usize,
    /// The sum of adjusted log-probabilities.
    sum: f32,
    watch: Watch,
    logs: Vec<Arc<TokenLog>>,
}

impl Line {
    /// Becomes a continuation of another line, in the memory that it has.
    fn follow(&mut self, parent: &Line, at: usize, token: u32, sum: f32, watch: Watch) {
        self.tokens.clone_from(&parent.tokens);
        self.tokens.push(token);
        self.logs.clone_from(&parent.logs);
        (self.parent, self.sum, self.watch) = (at, sum, watch);
    }
}

/// The hypotheses of one beam.
#[derive(Clone, Debug)]
pub(super) struct Beams {
    breadth: Breadth,
    prompt: usize,
    /// Open hypotheses, the best first.
    lines: Vec<Line>,
    /// The lines before, for their memory.
    spare: Vec<Line>,
    /// Sequences that ended, the best first; at most `width`.
    ended: Vec<Generated>,
    /// Whether the engine has no keys and values of the lines.
    is_cold: bool,
    is_over: bool,
}

impl Beams {
    pub(super) fn new(breadth: Breadth, start: &Start, watch: Watch) -> Beams {
        let first = Line { tokens: start.prompt.to_vec(), watch, ..Line::default() };
        let (lines, prompt) = (vec![first], start.prompt.len());
        Beams { breadth, prompt, lines, spare: Vec::new(), ended: Vec::new(), is_cold: true, is_over: false }
    }

    pub(super) fn wants(&self) -> impl Iterator<Item = Want<'_>> {
        self.lines.iter().map(|line| {
            let kept = if self.is_cold { 0 } else { line.tokens.len() - 1 };
            Want { parent: line.parent, tokens: &line.tokens[kept..], kept }
        })
    }

    /// Wants everything to be run again.
    pub(super) fn refill(&mut self) {
        self.is_cold = true;
    }

    /// The best sequences, if the search is over.
    pub(super) fn ended(&self, returns: usize) -> Option<&[Generated]> {
        self.is_over.then(|| &self.ended[..returns.min(self.ended.len())])
    }

    /// Takes a row for each line, `[lines, vocabulary]`.
    pub(super) fn advance(
        &mut self,
        logits: &mut [f32],
        start: &Start,
        options: &DecodeOptions,
        desk: &mut Desk,
    ) -> Result<(), DecodeError> {
        self.rank(logits, start.vocabulary, options, desk)?;
        self.extend(start.vocabulary, options, desk);
        if self.lines.is_empty() && self.ended.is_empty() {
            return Err(DecodeError::NothingAllowed);
        }
        self.is_cold = false;
        self.is_over = self.is_decided(options.max_new_tokens);
        Ok(())
    }

    /// Finds the best continuations of all lines. There must be enough of them for all stop tokens to end a sequence and `width` lines
    /// to go on.
    fn rank(
        &mut self,
        logits: &mut [f32],
        vocabulary: usize,
        options: &DecodeOptions,
        desk: &mut Desk,
    ) -> Result<(), DecodeError> {
        desk.top.begin(self.breadth.width.saturating_mul(options.stop_tokens.len().max(1) + 1));
        for (row, scores) in logits.chunks_exact_mut(vocabulary).enumerate() {
            check_finite(scores, row)?;
            log_softmax(scores);
        }
        if options.log_probabilities.is_some() {
            desk.logs.note(logits);
        }
        for (row, (scores, line)) in logits.chunks_exact_mut(vocabulary).zip(&self.lines).enumerate() {
            adjust(scores, &line.tokens, line.tokens.len() - self.prompt, options, &mut desk.seen);
            desk.top.show(scores, line.sum, row * vocabulary);
        }
        Ok(())
    }

    /// Makes lines and ended sequences of the best continuations.
    fn extend(&mut self, vocabulary: usize, options: &DecodeOptions, desk: &mut Desk) {
        let Desk { top, logs, .. } = desk;
        let before = std::mem::replace(&mut self.lines, std::mem::take(&mut self.spare));
        let mut open = 0;
        for (rank, &Ranked { value, at }) in top.ranked().iter().enumerate() {
            let (parent, token) = (at / vocabulary, (at % vocabulary) as u32);
            let line = &before[parent];
            let mut watch = line.watch.clone();
            let made = line.tokens.len() + 1 - self.prompt;
            let end = watch.end(token, made, options);
            let is_kept = if end.is_some() { rank < self.breadth.width } else { open < self.breadth.width };
            if !is_kept {
                continue;
            }
            let entry = options.log_probabilities.map(|count| logs.entry(parent, vocabulary, token, count));
            match end {
                Some(reason) => {
                    let ended = Continued { line, token, entry };
                    self.end(ended, self.breadth.score(value, made), reason);
                }
                None => {
                    if open == self.lines.len() {
                        self.lines.push(Line::default());
                    }
                    self.lines[open].follow(line, parent, token, value, watch);
                    self.lines[open].logs.extend(entry);
                    open += 1;
                }
            }
        }
        self.lines.truncate(open);
        self.spare = before;
    }

    /// Keeps an ended sequence if it is among the best.
    fn end(&mut self, Continued { line, token, entry }: Continued<'_>, score: f32, reason: Finish) {
        let place = self.ended.partition_point(|better| better.score >= score);
        if place < self.breadth.width {
            let tokens = [&line.tokens[self.prompt..], &[token]].concat();
            let log_probabilities = line.logs.iter().cloned().chain(entry).collect();
            self.ended.insert(place, Generated { tokens, score, reason, log_probabilities });
            self.ended.truncate(self.breadth.width);
        }
    }

    /// Whether no line can change what is returned, by the rule that was asked for.
    fn is_decided(&self, tokens_max: usize) -> bool {
        let Some(best) = self.lines.first() else { return true };
        let Some(worst) = self.ended.get(self.breadth.width - 1) else { return false };
        let hope = self.breadth.hope(best.sum, best.tokens.len() - self.prompt, tokens_max);
        self.breadth.early == EarlyStopping::AtWidth || hope <= worst.score
    }
}

/// A line with one more token.
struct Continued<'a> {
    line: &'a Line,
    token: u32,
    entry: Option<Arc<TokenLog>>,
}
