//! Where near texts come from: a corpus in memory, or a server that holds a larger one.

use super::open::Corpus;
use crate::Result;

/// A text near a query.
#[derive(Clone, Debug, PartialEq)]
pub struct NearText {
    /// The text.
    pub text: String,
    /// The inner product of its vector and the query.
    pub similarity: f32,
}

/// A source of texts near a vector.
pub trait Nearest {
    /// The `count` texts nearest to a query, the most similar first. Fewer if there are fewer, or if the others are less similar than `minimum`.
    ///
    /// # Errors
    /// Those of the source, and for a query that does not fit it.
    fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<NearText>>;
}

impl Nearest for Corpus {
    fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<NearText>> {
        let hits = self.search(query, count, minimum)?.into_iter();
        let near = hits.filter_map(|hit| {
            let text = self.text(hit.index)?.into_owned();
            Some(NearText { text, similarity: hit.similarity })
        });
        Ok(near.collect())
    }
}
