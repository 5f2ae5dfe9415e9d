//! Whether a piece equals the step it is taken for in longer sequences than the few tokens that told what it is: local windows, clamped
//! positions and whatever else begins later.

use super::sample::{LARGE, Sample, samples};
use super::unfused::Fused;
use crate::lengths::{Fingerprint, Lengths, remember};
use crate::program::Unfused;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use tract_onnx::prelude::TractResult;

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

    /// Whether a piece was found equal before: it was proven, or compared in this process.
    pub(super) fn knows(&self, text: &str) -> bool {
        self.lengths.covers(Fingerprint::of(text), self.up_to.get())
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
