//! A corpus: texts, a vector for each, and what made the vectors. The embedder stays outside.
//!
//! ```text
//! grice.json ─► checked ─┬─► texts.jsonl          ─► texts
//!                        └─► vectors.safetensors  ─► vectors ─► nearest rows
//! ```

mod files;
mod nearest;
mod open;
mod query;
mod texts;
mod writer;

pub use nearest::{NearText, Nearest};
pub use open::{Corpus, Hit};
pub use query::check_query;
pub use writer::{CorpusWriter, NewCorpus, corpus_row};
