//! The vectors of a corpus, and the threads that look through them.

use grice_kernels::{Kernels, Near, ShapeError, round_to_bytes};
use grice_model::CorpusVectors;

/// Bytes of vectors that make a thread worth starting.
const BYTES_PER_THREAD: usize = 1 << 20;

/// Finds the vectors nearest to one, by looking at all of them.
pub struct NearestVectors {
    vectors: CorpusVectors,
    kernels: Kernels,
}

impl NearestVectors {
    /// On at most `threads` threads with the caller's; on fewer if the vectors are few. Calls from several threads take turns.
    pub fn new(vectors: CorpusVectors, threads: usize) -> NearestVectors {
        let threads = threads.min(vectors.bytes() / BYTES_PER_THREAD).max(1);
        NearestVectors { vectors, kernels: Kernels::new(threads) }
    }

    /// The vectors.
    pub fn vectors(&self) -> &CorpusVectors {
        &self.vectors
    }

    /// The `count` vectors with the largest inner product with a query, which is rounded to bytes; the largest first, of equal ones the first.
    /// Fewer if the others are below `minimum`. No vector, if the query holds a number that is infinite or NaN.
    ///
    /// # Errors
    /// A query of another length.
    pub fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<Near>, ShapeError> {
        let mut rounded = vec![0; query.len()];
        match round_to_bytes(query, &mut rounded) {
            Some(scale) => self.kernels.nearest_rows((&rounded, scale), self.vectors.table(), count, minimum),
            None => Ok(Vec::new()),
        }
    }
}
