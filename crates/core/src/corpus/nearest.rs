//! Where near texts come from: a corpus in memory, or a server that holds a larger one.

use super::open::Corpus;
use crate::{Embedder, Error, Result};
use grice_model::CorpusEmbedder;

/// A text near a query.
#[derive(Clone, Debug, PartialEq)]
pub struct NearText {
    /// Its number in the corpus, from 0.
    pub index: u64,
    /// The text.
    pub text: String,
    /// The text with its other fields, as a JSON object.
    pub row: String,
    /// The inner product of its vector and the query.
    pub similarity: f32,
}

/// A source of texts near a vector.
pub trait Nearest: Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// What made its vectors.
    fn embedder(&self) -> &CorpusEmbedder;

    /// The `count` texts nearest to a query, the most similar first. Fewer if there are fewer, or if the others are less similar than `minimum`.
    ///
    /// # Errors
    /// Those of the source, and for a query that does not fit it.
    fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<NearText>>;

    /// Checks that a model is the one that made the vectors, and lets it put the source's prompt before queries.
    ///
    /// # Errors
    /// [`Error::OtherEmbedder`], naming both; those of [`Embedder::digest`] and [`Embedder::set_prompt`].
    fn prepare(&self, embedder: &mut Embedder) -> Result<()> {
        let known = self.embedder();
        let found = embedder.digest(&known.prompt, &known.query_prompt)?;
        if found != known.digest {
            return Err(Error::OtherEmbedder {
                corpus: self.place(),
                expected: format!("{} ({})", known.name, known.digest),
                found: format!("{} ({found})", embedder.name()),
            });
        }
        embedder.set_prompt(&known.query_prompt)
    }
}

impl Nearest for Corpus {
    fn place(&self) -> String {
        Corpus::place(self)
    }

    fn embedder(&self) -> &CorpusEmbedder {
        &self.manifest().embedder
    }

    fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<NearText>> {
        let hits = self.search(query, count, minimum)?.into_iter();
        let near = hits.filter_map(|hit| {
            let (text, row) = (self.text(hit.index)?.into_owned(), self.row(hit.index)?.to_owned());
            Some(NearText { index: hit.index as u64, text, row, similarity: hit.similarity })
        });
        Ok(near.collect())
    }
}
