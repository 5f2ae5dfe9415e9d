//! What a generator's engine is asked to compute, and where its memory is. The engine owns the pages and holds no request's state; who
//! asks owns the map of which page belongs to whom.

use crate::{BetweenSteps, EngineError};
use std::sync::Arc;

/// The number of a page: room for the keys and values of [`grice_kernels::PAGE_TOKENS`] tokens in every layer.
pub type Page = u32;

/// The new tokens of one sequence, and what came before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// New tokens, at least one.
    pub tokens: usize,
    /// Tokens before them whose keys and values are kept.
    pub kept: usize,
    /// The pages of all of these tokens, in order.
    pub pages: Arc<[Page]>,
    /// What the encoder made of the sequence's source.
    pub source: Option<SourcePast>,
    /// How many of the new tokens, the last ones, have their logits asked for.
    pub asked: usize,
}

/// The keys and values of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePast {
    /// How many tokens it has.
    pub tokens: usize,
    /// Their pages, in order.
    pub pages: Arc<[Page]>,
}

/// One pass of some sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// The new tokens of all sequences, end to end.
    pub ids: Vec<u32>,
    /// One for each sequence.
    pub pasts: Vec<Past>,
    /// Pages to copy first, from and to: what a beam that splits still writes to.
    pub copies: Vec<(Page, Page)>,
}

/// A source that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSource {
    /// Its tokens, at least one.
    pub ids: Arc<[u32]>,
    /// Where the keys and values that are made of it go.
    pub pages: Arc<[Page]>,
}

/// Computes the logits of next tokens.
pub trait GeneratorEngine {
    /// Makes keys and values of sources, for decoders that have an encoder.
    ///
    /// # Errors
    /// [`EngineError`]: a token id without an embedding, a source longer than the model, pages that are too few or that there are not.
    fn read(&mut self, sources: &[NewSource]) -> Result<(), EngineError>;

    /// Logits `[asked tokens, vocabulary]`, in the order of the sequences and of their tokens. New tokens' keys and values are kept.
    /// The logits of a token depend neither on other sequences nor on how many tokens are new.
    ///
    /// # Errors
    /// As [`GeneratorEngine::read`].
    fn step(&mut self, pass: &Pass) -> Result<&mut [f32], EngineError>;

    /// How many pages there are.
    fn pages(&self) -> usize;

    /// As [`Engine::set_between_steps`](crate::Engine::set_between_steps).
    fn set_between_steps(&mut self, between: BetweenSteps) {
        drop(between);
    }
}

impl Past {
    /// Tokens that it has pages for.
    pub fn end(&self) -> usize {
        self.kept + self.tokens
    }
}

/// Pages that so many tokens fill.
pub fn pages_of(tokens: usize) -> usize {
    tokens.div_ceil(grice_kernels::PAGE_TOKENS)
}
