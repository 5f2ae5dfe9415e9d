//! A corpus on disk: what `grice.json` says of it, and the file of its vectors. Texts are for others.

mod manifest;
mod vectors;

pub use manifest::{CORPUS_MANIFEST, CORPUS_TEXTS, CORPUS_VECTORS, CorpusEmbedder, CorpusManifest};
pub use vectors::CorpusVectors;
