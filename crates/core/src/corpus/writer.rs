//! Writes a corpus, text by text.

use crate::bundle::digest_of;
use crate::text::is_blank;
use crate::{Embedder, Error, Result};
use grice_model::{CORPUS_MANIFEST, CORPUS_TEXTS, CORPUS_VECTORS, CorpusEmbedder, CorpusManifest, CorpusVectors};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a new corpus says of itself.
#[derive(Clone, Debug, Default)]
pub struct NewCorpus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The licence of its texts.
    pub licence: String,
    /// What stands before every text when it is embedded.
    pub prompt: String,
    /// What will stand before every query.
    pub query_prompt: String,
}

/// A corpus that is being written. Its folder has no `grice.json` before [`CorpusWriter::finish`], so nothing half written opens.
pub struct CorpusWriter {
    folder: PathBuf,
    manifest: CorpusManifest,
    texts: BufWriter<File>,
    vectors: CorpusVectors,
}

impl CorpusWriter {
    /// Begins a corpus in a folder, which is made if it does not exist. Vectors must come from the embedder with the corpus's prompt.
    ///
    /// # Errors
    /// [`Error::CorpusWrite`]; those of [`Embedder::digest`].
    pub fn create(folder: &Path, embedder: &Embedder, new: NewCorpus) -> Result<CorpusWriter> {
        let NewCorpus { name, version, licence, prompt, query_prompt } = new;
        let digest = embedder.digest(&prompt, &query_prompt)?;
        let embedded = CorpusEmbedder { name: embedder.name().to_owned(), digest, prompt, query_prompt };
        let manifest = CorpusManifest { version, licence, ..CorpusManifest::new(&name, embedded) };
        let path = folder.join(CORPUS_TEXTS);
        let create = || {
            fs::create_dir_all(folder)?;
            File::create(&path)
        };
        let texts = BufWriter::new(create().map_err(|error| unwritten(&path, &error))?);
        let vectors = CorpusVectors::new(embedder.columns());
        Ok(CorpusWriter { folder: folder.to_owned(), manifest, texts, vectors })
    }

    /// Appends a text and its vector. `fields` are further fields, as JSON without braces (`"id":3`), or nothing.
    ///
    /// # Errors
    /// [`Error::EmptyField`] for a text without visible characters; [`Error::VectorLength`], [`Error::VectorNotFinite`],
    /// [`Error::CorpusWrite`].
    pub fn push(&mut self, text: &str, fields: &str, vector: &[f32]) -> Result<()> {
        let row = corpus_row(text, fields)?;
        if vector.len() != self.vectors.columns() {
            return Err(Error::VectorLength { found: vector.len(), expected: self.vectors.columns() });
        }
        if !self.vectors.push(vector) {
            return Err(Error::VectorNotFinite);
        }
        let written = writeln!(self.texts, "{row}");
        written.map_err(|error| unwritten(&self.folder.join(CORPUS_TEXTS), &error))
    }

    /// How many texts it has.
    pub fn rows(&self) -> usize {
        self.vectors.rows()
    }

    /// Writes the vectors, and then the manifest.
    ///
    /// # Errors
    /// [`Error::CorpusWrite`], also for a corpus without texts.
    pub fn finish(mut self) -> Result<()> {
        let path = |name: &str| self.folder.join(name);
        if self.vectors.rows() == 0 {
            let none = io::Error::other("there is no text to find");
            return Err(unwritten(&self.folder, &none));
        }
        self.texts.flush().map_err(|error| unwritten(&path(CORPUS_TEXTS), &error))?;
        write_with(&path(CORPUS_VECTORS), |writer| self.vectors.write(writer))?;
        let manifest = &mut self.manifest;
        (manifest.rows, manifest.dims) = (self.vectors.rows(), self.vectors.columns());
        for name in [CORPUS_TEXTS, CORPUS_VECTORS] {
            let file = self.folder.join(name);
            let digest = digest_of(&file).map_err(|error| unwritten(&file, &error))?;
            manifest.digests.insert(name.to_owned(), digest);
        }
        let json = serde_json::to_string_pretty(manifest).unwrap_or_default() + "\n";
        write_with(&self.folder.join(CORPUS_MANIFEST), |writer| writer.write_all(json.as_bytes()))
    }
}

/// A text with its other fields, as the JSON object that a corpus keeps. `fields` as for [`CorpusWriter::push`].
///
/// # Errors
/// [`Error::EmptyField`] for a text without visible characters.
pub fn corpus_row(text: &str, fields: &str) -> Result<String> {
    if is_blank(text) {
        return Err(Error::EmptyField { field: "text" });
    }
    let text = serde_json::Value::from(text);
    let comma = if fields.is_empty() { "" } else { "," };
    Ok(format!("{{\"text\":{text}{comma}{fields}}}"))
}

fn write_with(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let written = File::create(path).and_then(|file| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()
    });
    written.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::CorpusWrite { path: path.display().to_string(), cause: error.to_string() }
}
