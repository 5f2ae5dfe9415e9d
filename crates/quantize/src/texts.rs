//! The quality gate of models that write text: what two models predict for each next token of the same texts.

use crate::{Error, Result};
use serde::Serialize;

/// What a converted model must reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TextBounds {
    /// The most that the perplexity may rise: after / before − 1.
    pub perplexity_rise_max: f64,
    /// The largest mean divergence of the next token's distribution, in nats.
    pub kl_max: f64,
    /// The smallest share of tokens for which both models find the same next token likeliest.
    pub agreement_min: f64,
}

/// How far a model is from the one that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TextScore {
    /// Tokens whose prediction was compared.
    pub tokens: u64,
    /// exp of the mean negative log-probability of the texts' tokens, in the source.
    pub perplexity_before: f64,
    /// The same in the converted model; infinite if it returned a number that is none.
    pub perplexity_after: f64,
    /// Mean Kullback-Leibler divergence of the next token's distribution from the source's, in nats.
    pub mean_kl: f64,
    /// Share of tokens for which both find the same next token likeliest: what greedy search takes.
    pub agreement: f64,
}

/// Sums over tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextComparison {
    tokens: u64,
    loss_before: f64,
    loss_after: f64,
    kl: f64,
    same: u64,
}

impl TextComparison {
    /// Compares logits of one place, one for each token of the vocabulary; `next` is the token that follows there.
    ///
    /// # Errors
    /// [`Error::Judge`] if the vocabularies differ, `next` is in neither, or the source's logits are not finite.
    pub fn add(&mut self, before: &[f32], after: &[f32], next: u32) -> Result<()> {
        if before.len() != after.len() || next as usize >= before.len() {
            let (was, is) = (before.len(), after.len());
            return Err(Error::Judge(format!("vocabularies of {was} and {is} tokens do not fit the token {next}")));
        }
        if !before.iter().all(|logit| logit.is_finite()) {
            return Err(Error::Judge("the model returns a logit that is not a finite number".to_owned()));
        }
        self.tokens += 1;
        let was = log_sum(before);
        let log_before = |token: usize| f64::from(before[token]) - was;
        self.loss_before -= log_before(next as usize);
        if !after.iter().all(|logit| logit.is_finite()) {
            // A model that returns no numbers has lost everything, whatever comparisons say.
            self.loss_after = f64::INFINITY;
            self.kl = f64::INFINITY;
            return Ok(());
        }
        let is = log_sum(after);
        let log_after = |token: usize| f64::from(after[token]) - is;
        self.loss_after -= log_after(next as usize);
        let terms = (0..before.len()).map(|token| log_before(token).exp() * (log_before(token) - log_after(token)));
        // Rounding may make it a little less than nothing.
        self.kl += terms.sum::<f64>().max(0.0);
        self.same += u64::from(likeliest(before) == likeliest(after));
        Ok(())
    }

    /// What came of all.
    ///
    /// # Errors
    /// [`Error::Judge`] if nothing was compared.
    pub fn score(&self) -> Result<TextScore> {
        if self.tokens == 0 {
            return Err(Error::Judge("no row has a token that follows another one".to_owned()));
        }
        let tokens = self.tokens as f64;
        Ok(TextScore {
            tokens: self.tokens,
            perplexity_before: (self.loss_before / tokens).exp(),
            perplexity_after: (self.loss_after / tokens).exp(),
            mean_kl: self.kl / tokens,
            agreement: self.same as f64 / tokens,
        })
    }
}

impl TextScore {
    /// after / before − 1.
    pub fn perplexity_rise(&self) -> f64 {
        self.perplexity_after / self.perplexity_before - 1.0
    }

    /// The bounds that do not hold, in words.
    pub fn broken(&self, bounds: &TextBounds) -> Vec<String> {
        let mut broken = Vec::new();
        let rise = self.perplexity_rise();
        // What is no number is in no bounds.
        let is_above = |number: f64, most: f64| number.is_nan() || number > most;
        if is_above(rise, bounds.perplexity_rise_max) {
            broken.push(format!("the perplexity rises by {rise:.4}, more than {}", bounds.perplexity_rise_max));
        }
        if is_above(self.mean_kl, bounds.kl_max) {
            broken.push(format!("the mean KL is {:.4} nats, more than {}", self.mean_kl, bounds.kl_max));
        }
        if self.agreement.is_nan() || self.agreement < bounds.agreement_min {
            broken.push(format!(
                "{:.4} of the greedy tokens are equal, less than {}",
                self.agreement, bounds.agreement_min
            ));
        }
        broken
    }
}

/// The logarithm of the sum of all exponentials.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}

/// The token of the largest logit; of equal ones the first.
fn likeliest(logits: &[f32]) -> usize {
    let larger = |best: usize, token: usize| if logits[token] > logits[best] { token } else { best };
    (0..logits.len()).fold(0, larger)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BOUNDS: TextBounds = TextBounds { perplexity_rise_max: 0.05, kl_max: 0.1, agreement_min: 0.9 };

    /// Logits of probabilities, moved by a constant that changes nothing.
    fn logits(probabilities: [f64; 3], moved: f64) -> [f32; 3] {
        probabilities.map(|probability| (probability.ln() + moved) as f32)
    }

    #[test]
    fn scores_are_those_of_their_definitions() {
        let mut comparison = TextComparison::default();
        let rows = [([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], 0u32), ([0.1, 0.2, 0.7], [0.1, 0.3, 0.6], 1)];
        for (before, after, next) in rows {
            comparison.add(&logits(before, 3.0), &logits(after, -40.0), next).unwrap();
        }
        let score = comparison.score().unwrap();
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        close(score.perplexity_before, (0.5f64 * 0.2).powf(-0.5));
        close(score.perplexity_after, (0.25f64 * 0.3).powf(-0.5));
        let first = 0.5 * 2f64.ln() + 0.25 * 0.5f64.ln();
        let second = 0.2 * (0.2f64 / 0.3).ln() + 0.7 * (0.7f64 / 0.6).ln();
        close(score.mean_kl, (first + second) / 2.0);
        assert_eq!((score.agreement, score.tokens), (0.5, 2));
        let broken = score.broken(&BOUNDS);
        // The mean divergence is just above its bound.
        let expected =
            ["the perplexity rises by 0.15", "the mean KL is 0.1000 nats, more than 0.1", "0.5000 of the greedy"];
        assert_eq!(broken.len(), expected.len(), "{broken:?}");
        assert!(broken.iter().zip(expected).all(|(found, words)| found.starts_with(words)), "{broken:?}");
    }

    #[test]
    fn equal_models_are_equal() {
        let mut comparison = TextComparison::default();
        comparison.add(&[1.0, 9.0, 9.0], &[1.0, 9.0, 9.0], 2).unwrap();
        let score = comparison.score().unwrap();
        assert_eq!((score.mean_kl, score.agreement, score.perplexity_rise()), (0.0, 1.0, 0.0));
        let strict = TextBounds { perplexity_rise_max: 0.0, kl_max: 0.0, agreement_min: 1.0 };
        assert!(score.broken(&strict).is_empty());
    }

    #[test]
    fn what_is_no_number_passes_no_gate() {
        let mut comparison = TextComparison::default();
        comparison.add(&[1.0, 2.0], &[f32::NAN, 2.0], 1).unwrap();
        comparison.add(&[1.0, 2.0], &[1.0, 2.0], 1).unwrap();
        assert_eq!(comparison.score().unwrap().broken(&BOUNDS).len(), 3);
        assert!(comparison.add(&[1.0, f32::INFINITY], &[1.0, 2.0], 1).is_err());
        assert!(comparison.add(&[1.0, 2.0], &[1.0], 0).is_err());
        assert!(comparison.add(&[1.0, 2.0], &[1.0, 2.0], 2).is_err());
        assert!(TextComparison::default().score().is_err());
    }
}
