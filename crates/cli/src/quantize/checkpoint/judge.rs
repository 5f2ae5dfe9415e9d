//! Runs two models over the same texts.

use crate::args::Quantize;
use crate::error::{CliError, Result};
use grice_core::{KnownText, Writer};
use grice_quantize::{TextBounds, TextComparison, TextScore};
use serde::Serialize;

/// Tokens that are read at once: their logits are held in memory for both models.
const TOKENS_TOGETHER: usize = 64;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judgement {
    pub(super) rows: usize,
    pub(super) bounds: TextBounds,
    pub(super) score: TextScore,
    pub(super) passed: bool,
    /// Whether the model was written although it did not pass.
    pub(super) forced: bool,
    /// Which bounds do not hold, in words.
    pub(super) broken: Vec<String>,
}

/// Compares what was written with what it was made from.
///
/// # Errors
/// Errors of the models.
pub(super) fn judge(
    [before, after]: [&Writer; 2],
    texts: &[KnownText],
    threads: usize,
    args: &Quantize,
    mut tell: impl FnMut(usize),
) -> Result<Judgement> {
    let failed = |source| CliError::Judge { source };
    let mut comparison = TextComparison::default();
    let (mut was, mut is) = (before.reader(threads, texts)?, after.reader(threads, texts)?);
    for (row, text) in texts.iter().enumerate() {
        tell(row + 1);
        was.begin(text)?;
        is.begin(text)?;
        let last = text.tokens.len().saturating_sub(1);
        for start in (0..last).step_by(TOKENS_TOGETHER) {
            let end = last.min(start + TOKENS_TOGETHER);
            // The token at place `p` predicts the one at `p + 1`.
            let asked = (end + 1).saturating_sub(text.first.max(start + 1));
            let tokens = &text.tokens[start..end];
            let (was, is) = (was.read(tokens, asked)?, is.read(tokens, asked)?);
            let next = &text.tokens[end + 1 - asked..=end];
            let columns = |logits: &[f32]| logits.len() / asked.max(1);
            let rows = was.chunks_exact(columns(was).max(1)).zip(is.chunks_exact(columns(is).max(1)));
            for ((was, is), next) in rows.zip(next) {
                comparison.add(was, is, *next).map_err(failed)?;
            }
        }
    }
    let bounds =
        TextBounds { perplexity_rise_max: args.rise_max, kl_max: args.kl_max, agreement_min: args.agreement_min };
    let score = comparison.score().map_err(failed)?;
    let broken = score.broken(&bounds);
    let passed = broken.is_empty();
    Ok(Judgement { rows: texts.len(), bounds, score, passed, forced: args.force && !passed, broken })
}
