//! Whether a piece equals the step it is taken for in longer sequences than the few tokens that told what it is: local windows, clamped
//! positions and whatever else begins later.

use super::glue::{ROWS, TOKENS};
use super::{Fused, Unfused};
use crate::lengths::{Fingerprint, Lengths, remember};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use tract_onnx::prelude::TractResult;

/// Lengths below the longest at which pieces are compared: around the edges of windows, buckets and tiles.
const STEPS: [usize; 10] = [1, 2, 7, 33, 65, 130, 257, 513, 1025, 2049];
/// Sequences with more tokens are tried one at a time.
const LONG: usize = 1024;
/// How much larger the values of one sample are than the others', for what is cut off far out.
const LARGE: f32 = 8.0;

/// The form of a small input: sequences, the second of which is masked from some token on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// [`ROWS`], or one where scores of two would fill the memory.
    pub(super) rows: usize,
    pub(super) tokens: usize,
    /// Tokens of the second row that are not masked.
    pub(super) kept: usize,
    /// What queries are multiplied by.
    pub(super) factor: f32,
}

impl Sample {
    /// What tells pieces apart: no token masked.
    pub(super) const SMALL: Sample = Sample { rows: ROWS, tokens: TOKENS, kept: TOKENS, factor: 1.0 };

    /// What hidden states are multiplied by: they reach farther than scores.
    pub(super) fn spread(&self) -> f32 {
        self.factor.powi(3)
    }

    /// 1 for a token, 0 for padding.
    pub(super) fn mask(&self) -> Vec<i64> {
        let mut mask = vec![1; self.rows * self.tokens];
        mask.iter_mut().skip(self.tokens + self.kept).for_each(|mask| *mask = 0);
        mask
    }

    /// The rows of tokens that are not masked, one sequence after the other, of values with `tokens` of them in each sequence.
    pub(super) fn unmasked<'v>(&self, values: &'v [f32], tokens: usize, columns: usize) -> Vec<&'v [f32]> {
        let kept = if tokens == 1 { 1 } else { self.kept };
        let rows = values.chunks(columns.max(1)).enumerate();
        rows.filter(|(row, _)| *row < tokens + kept).map(|(_, values)| values).collect()
    }
}

/// The samples on which every piece must equal its step, and the pieces that did.
pub(super) struct Ladder<'a> {
    lengths: &'a Lengths,
    up_to: Cell<usize>,
    equal: RefCell<BTreeSet<u64>>,
    unequal: RefCell<Option<String>>,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(lengths: &'a Lengths) -> Ladder<'a> {
        Ladder { lengths, up_to: Cell::new(lengths.up_to), equal: RefCell::default(), unequal: RefCell::default() }
    }

    /// The longest sequence in tokens.
    pub(super) fn up_to(&self) -> usize {
        self.up_to.get()
    }

    /// No sequence has more tokens than positions.
    pub(super) fn limit(&self, positions: usize) {
        self.up_to.set(self.up_to.get().min(positions));
    }

    /// The numbers of all pieces that were equal.
    pub(super) fn pieces(&self) -> BTreeSet<u64> {
        self.equal.borrow().clone()
    }

    /// Tries a piece, which `text` describes with the step it is taken for, unless it was tried before. One that does the same to every
    /// token is only tried on larger values.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn check(
        &self,
        text: &str,
        value: &str,
        is_token_wise: bool,
        mut is_right: impl FnMut(Sample) -> TractResult<bool>,
    ) -> Fused<()> {
        let (piece, up_to) = (Fingerprint::of(text), self.up_to.get());
        if !self.lengths.covers(piece, up_to) {
            let samples = match is_token_wise {
                true => vec![Sample { factor: LARGE, ..Sample::SMALL }],
                false => samples(up_to).collect(),
            };
            for sample in samples {
                let reason = match is_right(sample) {
                    Ok(true) => continue,
                    Ok(false) if is_token_wise => format!("`{value}` is something else for large values"),
                    Ok(false) => format!("`{value}` is something else in sequences of {} tokens", sample.tokens),
                    Err(error) => {
                        format!("`{value}` cannot be compared in sequences of {} tokens: {error:#}", sample.tokens)
                    }
                };
                *self.unequal.borrow_mut() = Some(reason.clone());
                return Err(Unfused::new(reason));
            }
            remember(piece, up_to);
        }
        self.equal.borrow_mut().insert(piece);
        Ok(())
    }

    /// The reason, with the piece that may have led to it: one that was unequal in longer sequences.
    pub(super) fn explain(&self, unfused: Unfused) -> Unfused {
        match &*self.unequal.borrow() {
            Some(unequal) if !unfused.reason.contains(unequal) => {
                Unfused::new(format!("{}; {unequal}", unfused.reason))
            }
            _ => unfused,
        }
    }
}

/// Every step below the longest sequence, and that one; the second row masked from the second token on, from a third, or not at all.
fn samples(up_to: usize) -> impl Iterator<Item = Sample> {
    let steps = STEPS.into_iter().filter(move |tokens| *tokens < up_to).chain([up_to.max(1)]);
    steps.enumerate().map(move |(step, tokens)| {
        let kept = match step % 3 {
            0 if tokens != up_to => tokens,
            1 if tokens != up_to => 1,
            _ => tokens.div_ceil(3),
        };
        let factor = if tokens == STEPS[2] { LARGE } else { 1.0 };
        Sample { rows: if tokens > LONG { 1 } else { ROWS }, tokens, kept, factor }
    })
}
