//! An opened corpus, and the search in it.

use super::files::{check_digest, read_file};
use super::query::check_query;
use super::texts::Texts;
use crate::bundle::FileSource;
use crate::{Error, Result};
use grice_cpu::NearestVectors;
use grice_model::{CORPUS_MANIFEST, CORPUS_TEXTS, CORPUS_VECTORS, CorpusManifest, CorpusVectors};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// An opened corpus. Its vectors are in memory, in 8 bits.
///
/// ```
/// use grice_core::{Corpus, CorpusWriter, Embedder, Nearest, NewCorpus, Options};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/embedders/bert");
/// # let scratch = tempfile::tempdir().unwrap();
/// # let place = scratch.path().join("replies");
/// let mut embedder = Embedder::open(folder.as_ref(), &Options::default())?;
/// let mut writer = CorpusWriter::create(&place, &embedder, NewCorpus { name: "replies".to_owned(), ..NewCorpus::default() })?;
/// for text in ["The film was good.", "No, yes."] {
///     let vector = embedder.embed(text)?;
///     writer.push(text, "", &vector.values)?;
/// }
/// writer.finish()?;
///
/// let corpus = Corpus::open(&place, 1)?;
/// corpus.prepare(&mut embedder)?;
/// let query = embedder.embed("The film was good.")?;
/// let hits = corpus.search(&query.values, 1, Some(0.3))?;
/// assert_eq!(corpus.text(hits[0].index).as_deref(), Some("The film was good."));
/// # Ok::<(), grice_core::Error>(())
/// ```
pub struct Corpus {
    place: PathBuf,
    manifest: CorpusManifest,
    texts: Texts,
    vectors: NearestVectors,
}

/// A text that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its number in the corpus, from 0.
    pub index: usize,
    /// The inner product of its vector and the query: the cosine, if the embedder normalises.
    pub similarity: f32,
}

impl Corpus {
    /// Opens a folder and checks all of it. A search uses at most `threads` threads with the caller's.
    ///
    /// # Errors
    /// [`Error::BundleFile`], [`Error::BundleDigest`] and [`Error::Model`], naming file and field, tensor or line.
    pub fn open(folder: &Path, threads: usize) -> Result<Corpus> {
        let path = folder.join(CORPUS_MANIFEST);
        let of_manifest = |source| Error::Model { path: folder.display().to_string(), source: Box::new(source) };
        let manifest = CorpusManifest::parse(&read_file(&path)?).map_err(of_manifest)?;
        let texts = read_texts(&folder.join(CORPUS_TEXTS), &manifest)?;
        let vectors = read_vectors(&folder.join(CORPUS_VECTORS), &manifest)?;
        let vectors = NearestVectors::new(vectors, threads);
        Ok(Corpus { place: folder.to_owned(), manifest, texts, vectors })
    }

    /// The folder, for messages.
    pub(super) fn place(&self) -> String {
        self.place.display().to_string()
    }

    /// The `count` texts nearest to a query, a vector by the corpus's embedder: the largest inner product first, of equal ones the first text.
    /// Fewer if there are fewer, or if the others are less similar than `minimum`. All vectors are looked at.
    ///
    /// # Errors
    /// [`Error::VectorLength`], [`Error::VectorNotFinite`]; [`Error::MinimumSimilarity`] if `minimum` is no finite number.
    pub fn search(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<Hit>> {
        check_query(query, self.manifest.dims, minimum)?;
        let of_length = |_| Error::VectorLength { found: query.len(), expected: self.manifest.dims };
        let found = self.vectors.nearest(query, count, minimum).map_err(of_length)?;
        Ok(found.into_iter().map(|near| Hit { index: near.row, similarity: near.similarity }).collect())
    }

    /// A text; `None` if there are not so many.
    pub fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        self.texts.text(index)
    }

    /// A text with its other fields, as the JSON object that stands in the file; `None` if there are not so many.
    pub fn row(&self, index: usize) -> Option<&str> {
        self.texts.row(index)
    }

    /// How many texts.
    pub fn rows(&self) -> usize {
        self.manifest.rows
    }

    /// What `grice.json` says.
    pub fn manifest(&self) -> &CorpusManifest {
        &self.manifest
    }
}

fn read_texts(path: &Path, manifest: &CorpusManifest) -> Result<Texts> {
    check_digest(path, &manifest.digests[CORPUS_TEXTS])?;
    let refuse = |cause: String| Error::BundleFile { path: path.display().to_string(), cause };
    let texts = Texts::read(read_file(path)?).map_err(refuse)?;
    if texts.rows() != manifest.rows {
        return Err(refuse(format!("it has {} lines, but grice.json says {} rows", texts.rows(), manifest.rows)));
    }
    Ok(texts)
}

fn read_vectors(path: &Path, manifest: &CorpusManifest) -> Result<CorpusVectors> {
    check_digest(path, &manifest.digests[CORPUS_VECTORS])?;
    let refuse = |cause: String| Error::BundleFile { path: path.display().to_string(), cause };
    let source = FileSource::open(path).map_err(|error| refuse(error.to_string()))?;
    CorpusVectors::read(&source, manifest.rows, manifest.dims).map_err(refuse)
}
