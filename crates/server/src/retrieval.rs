//! The corpus of a server: responses that are near the context of a turn.

use crate::arrival::Arrival;
use crate::embedding::Embedding;
use crate::lanes::Lanes;
use crate::problem::Problem;
use grice_core::schedule::Caching;
use grice_core::{CANDIDATES, Embedder, Error, Nearest, SIMILARITY, Turn};
use std::sync::Arc;

/// A corpus, and the served model that made its vectors.
pub(crate) struct Retrieval {
    source: Arc<dyn Nearest>,
    embedding: Arc<Embedding>,
}

/// Whether the embedder made a corpus's vectors. It is as before afterwards.
///
/// # Errors
/// Those of [`Nearest::prepare`] but another embedder.
pub(crate) fn is_of(corpus: &dyn Nearest, embedder: &mut Embedder) -> grice_core::Result<bool> {
    match corpus.prepare(embedder) {
        Ok(()) => embedder.set_prompt("").map(|()| true),
        Err(Error::OtherEmbedder { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Retrieval {
    /// `embedding` must be the corpus's own ([`is_of`]).
    pub(crate) fn new(source: Arc<dyn Nearest>, embedding: Arc<Embedding>) -> Retrieval {
        Retrieval { source, embedding }
    }

    /// The responses nearest to the last utterance of the context, the nearest first; none for a context that has no vector.
    ///
    /// # Errors
    /// Those of the schedule.
    pub(crate) async fn find(
        &self,
        lanes: &Lanes,
        arrival: &Arrival,
        turn: &Turn,
        caching: Caching,
    ) -> Result<Vec<String>, Problem> {
        let query = turn.context.last_utterance();
        if query.trim().is_empty() {
            return Ok(Vec::new());
        }
        let text = format!("{}{query}", self.source.embedder().query_prompt);
        let (embedding, bytes) = (Arc::clone(&self.embedding), text.len());
        let (question, _place) = lanes.run(bytes, arrival.deadline, move || embedding.prepare(&text)).await?;
        let question = match question {
            Ok(question) => question,
            // Nothing is near a text that the model cannot read.
            Err(problem) if problem.status.as_u16() == 422 => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let vectors = self.embedding.embed(&[question], arrival.deadline, caching).await?;
        let Some((vector, _)) = vectors.into_iter().next() else { return Ok(Vec::new()) };
        let source = Arc::clone(&self.source);
        let search = move || source.nearest(&vector.values, CANDIDATES, Some(SIMILARITY));
        let near = tokio::task::spawn_blocking(search).await.map_err(Problem::internal)?;
        let near = near.map_err(|error| Problem::from(&error))?;
        Ok(near.into_iter().map(|near| near.text).collect())
    }
}
