//! `grice.json` of a corpus (`docs/retrieval.md`).

use crate::{Error, Result, utf16_hint, without_bom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the manifest.
pub const CORPUS_MANIFEST: &str = "grice.json";
/// The name of the file of texts.
pub const CORPUS_TEXTS: &str = "texts.jsonl";
/// The name of the file of vectors.
pub const CORPUS_VECTORS: &str = "vectors.safetensors";

const FORMAT: u32 = 2;
const TASK: &str = "corpus";
/// More rows than any corpus has; keeps products of sizes within what numbers hold.
const ROWS_MAX: usize = u32::MAX as usize;
/// More columns could overflow the sums of the products of bytes.
const DIMS_MAX: usize = 1 << 16;

/// The parsed and checked manifest of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusManifest {
    /// Version of the manifest's own format: 2.
    pub format: u32,
    /// `corpus`.
    pub task: String,
    /// Name of the corpus.
    pub name: String,
    /// Version of the corpus.
    #[serde(default)]
    pub version: String,
    /// What made the vectors.
    pub embedder: CorpusEmbedder,
    /// How many texts and vectors.
    pub rows: usize,
    /// Numbers of a vector.
    pub dims: usize,
    /// The licence of the texts.
    #[serde(default)]
    pub licence: String,
    /// `sha256:<hex>` of both files.
    pub digests: BTreeMap<String, String>,
}

/// The embedder of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusEmbedder {
    /// Its name, for messages.
    pub name: String,
    /// The digest of all that changes a vector, the prompts included.
    pub digest: String,
    /// What stood before every text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// What stands before every query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query_prompt: String,
}

/// What is read first, so that a manifest of another kind is told so.
#[derive(Deserialize)]
struct Kind {
    format: Option<u32>,
    task: Option<String>,
}

impl CorpusManifest {
    /// A manifest of this format, without digests.
    pub fn new(name: &str, embedder: CorpusEmbedder) -> CorpusManifest {
        let (name, task) = (name.to_owned(), TASK.to_owned());
        let (version, licence) = (String::new(), String::new());
        CorpusManifest {
            format: FORMAT,
            task,
            name,
            version,
            embedder,
            rows: 0,
            dims: 0,
            licence,
            digests: BTreeMap::new(),
        }
    }

    /// Reads and checks `grice.json`.
    ///
    /// # Errors
    /// [`Error::ManifestSyntax`] or [`Error::ManifestField`], naming the field.
    pub fn parse(json: &[u8]) -> Result<CorpusManifest> {
        let syntax =
            |error: serde_json::Error| Error::ManifestSyntax(utf16_hint(json).unwrap_or_else(|| error.to_string()));
        let json = without_bom(json);
        let Kind { format, task } = serde_json::from_slice(json).map_err(syntax)?;
        if task.as_deref() != Some(TASK) {
            let found = task.map_or_else(|| "it is missing".to_owned(), |task| format!("it is `{task}`"));
            return Err(field("task", format!("{found}, and a corpus has `{TASK}`; `grice index` makes one")));
        }
        if format != Some(FORMAT) {
            let found = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
            return Err(field("format", format!("this build reads a corpus of format {FORMAT}, found {found}")));
        }
        let manifest: CorpusManifest = serde_json::from_slice(json).map_err(syntax)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        for (name, size, max) in [("rows", self.rows, ROWS_MAX), ("dims", self.dims, DIMS_MAX)] {
            if !(1..=max).contains(&size) {
                return Err(field(name, format!("must lie in 1..={max}, found {size}")));
            }
        }
        if !is_digest(&self.embedder.digest) {
            return Err(field("embedder", "`digest` must be `sha256:` and 64 hexadecimal digits".to_owned()));
        }
        let mut files: Vec<&str> = self.digests.keys().map(String::as_str).collect();
        files.sort_unstable();
        if files != [CORPUS_TEXTS, CORPUS_VECTORS] || !self.digests.values().all(|digest| is_digest(digest)) {
            let expected =
                format!("must have `sha256:` and 64 hexadecimal digits for {CORPUS_TEXTS} and {CORPUS_VECTORS}");
            return Err(field("digests", expected));
        }
        Ok(())
    }
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn field(field: &'static str, problem: String) -> Error {
    Error::ManifestField { field, problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn whole() -> Value {
        let digest = format!("sha256:{}", "0a".repeat(32));
        json!({
            "format": 2, "task": "corpus", "name": "replies", "version": "1", "licence": "CC0-1.0",
            "embedder": { "name": "tiny", "digest": digest }, "rows": 3, "dims": 24,
            "digests": { CORPUS_TEXTS: digest, CORPUS_VECTORS: digest },
        })
    }

    fn refused(change: impl FnOnce(&mut Value), expected: &str) {
        let mut json = whole();
        change(&mut json);
        let error = CorpusManifest::parse(json.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = CorpusManifest::parse(whole().to_string().as_bytes()).unwrap();
        assert_eq!((manifest.rows, manifest.dims, manifest.embedder.query_prompt.as_str()), (3, 24, ""));
        assert_eq!(serde_json::to_value(&manifest).unwrap(), whole());
        let named = CorpusEmbedder { query_prompt: "query: ".to_owned(), ..manifest.embedder.clone() };
        let manifest = CorpusManifest { embedder: named, ..manifest };
        assert_eq!(CorpusManifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_field() {
        refused(|json| json["task"] = json!("detect"), "field `task`: it is `detect`");
        refused(|json| drop(json.as_object_mut().unwrap().remove("task")), "field `task`: it is missing");
        refused(|json| json["format"] = json!(1), "field `format`: this build reads a corpus of format 2, found 1");
        refused(|json| json["rows"] = json!(0), "field `rows`");
        refused(|json| json["rows"] = json!(u64::MAX), "field `rows`");
        refused(|json| json["rows"] = json!(-1), "grice.json");
        refused(|json| json["dims"] = json!(65_537), "field `dims`: must lie in 1..=65536");
        refused(|json| json["embedder"]["digest"] = json!("sha256:12"), "field `embedder`");
        refused(|json| json["digests"][CORPUS_TEXTS] = json!("x"), "field `digests`");
        refused(|json| json["digests"]["../other"] = json!("x"), "field `digests`");
        refused(|json| drop(json["digests"].as_object_mut().unwrap().remove(CORPUS_VECTORS)), "field `digests`");
        refused(|json| drop(json.as_object_mut().unwrap().remove("embedder")), "embedder");
        assert!(CorpusManifest::parse(b"[]").is_err() && CorpusManifest::parse(b"\xff\xfe{").is_err());
    }
}
