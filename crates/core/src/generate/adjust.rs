//! What a sequence may not say, or should say less often, as changes to the scores of its next token.
//!
//! Greedy search and sampling adjust logits, beams adjust log-probabilities: so does Hugging Face's library, whose order this is.

use super::options::DecodeOptions;

/// Which tokens were met: one bit a token of the vocabulary. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    /// Meets nothing yet, of so many tokens.
    fn clear(&mut self, vocabulary: usize) {
        self.0.clear();
        self.0.resize(vocabulary.div_ceil(64), 0);
    }

    /// Whether it meets the token for the first time.
    fn meet(&mut self, token: usize) -> bool {
        let (word, bit) = (&mut self.0[token / 64], 1 << (token % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Adjusts a row of scores for a sequence that has `made` new tokens at the end of its `history`.
pub(super) fn adjust(scores: &mut [f32], history: &[u32], made: usize, options: &DecodeOptions, seen: &mut Seen) {
    penalise_repeats(scores, history, options.repetition_penalty, seen);
    let new = &history[history.len() - made.min(history.len())..];
    penalise_new(scores, new, options.presence_penalty, options.frequency_penalty, seen);
    ban_repeated_ngrams(scores, history, options.no_repeat_ngram);
    if history.len() < options.min_length || made < options.min_new_tokens {
        ban(scores, &options.stop_tokens);
    }
    ban(scores, &options.banned);
}

/// Makes each token of the history less probable, once however often it comes.
pub(super) fn penalise_repeats(scores: &mut [f32], history: &[u32], penalty: f32, seen: &mut Seen) {
    if penalty == 1.0 {
        return;
    }
    seen.clear(scores.len());
    for &token in history {
        let token = token as usize;
        if let Some(score) = scores.get_mut(token)
            && seen.meet(token)
        {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// Makes each new token less probable: by `presence` once, by `frequency` each time that it is there.
pub(super) fn penalise_new(scores: &mut [f32], new: &[u32], presence: f32, frequency: f32, seen: &mut Seen) {
    if presence == 0.0 && frequency == 0.0 {
        return;
    }
    seen.clear(scores.len());
    for &token in new {
        let token = token as usize;
        if let Some(score) = scores.get_mut(token) {
            *score -= frequency + if seen.meet(token) { presence } else { 0.0 };
        }
    }
}

/// Forbids what would make the last `n` tokens a sequence that was there before.
pub(super) fn ban_repeated_ngrams(scores: &mut [f32], history: &[u32], n: usize) {
    if n == 0 || history.len() < n {
        return;
    }
    let (_, begun) = history.split_at(history.len() + 1 - n);
    for ngram in history.windows(n) {
        if ngram.starts_with(begun) {
            ban(scores, &ngram[n - 1..]);
        }
    }
}

/// Forbids tokens.
pub(super) fn ban(scores: &mut [f32], tokens: &[u32]) {
    for &token in tokens {
        if let Some(score) = scores.get_mut(token as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}
