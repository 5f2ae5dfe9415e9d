//! What identifies an embedder: two that make the same vectors of all texts have the same digest.

use crate::bundle::{DiskFolder, digest_of, file_digest};
use crate::{Error, Result};
use grice_model::{Folder, Pooling, Program, Readout, Source};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Counts with each change of what is digested.
const VERSION: &str = "grice embedder 1";

/// A folder that knows which of its files were opened.
pub(crate) struct Seen {
    folder: DiskFolder,
    names: RefCell<BTreeSet<String>>,
}

impl Seen {
    /// None was opened yet.
    pub(crate) fn new(folder: DiskFolder) -> Seen {
        Seen { folder, names: RefCell::default() }
    }

    /// Those that were opened.
    pub(crate) fn names(self) -> BTreeSet<String> {
        self.names.into_inner()
    }
}

impl Folder for Seen {
    fn file(&self, name: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        let file = self.folder.file(name)?;
        if file.is_some() {
            self.names.borrow_mut().insert(name.to_owned());
        }
        Ok(file)
    }
}

/// The parts of an embedder that change its vectors.
pub(crate) struct Parts {
    /// Files whose bytes count.
    files: Vec<String>,
    /// What the other files say.
    settings: String,
}

impl Parts {
    /// `tokenizer` is the path of the tokenizer; the encoder's configuration lies beside it.
    pub(crate) fn new(tokenizer: &str, seen: BTreeSet<String>, program: &Program, tokens_max: usize) -> Parts {
        let beside = tokenizer.strip_suffix("tokenizer.json").unwrap_or_default();
        let config = format!("{beside}config.json");
        let is_weights = |name: &String| name.ends_with(".safetensors") || *name == config;
        let mut files: Vec<String> = seen.into_iter().filter(is_weights).collect();
        files.push(tokenizer.to_owned());
        let settings = match &program.readout {
            Readout::Pooled { pooling, normalised } => {
                let pooling = match pooling {
                    Pooling::Mean => "mean",
                    Pooling::Cls => "cls",
                };
                format!("pooling {pooling}\nnormalised {normalised}\ntokens {tokens_max}\n")
            }
            // An embedder pools; anything else is another model.
            _ => format!("tokens {tokens_max}\n"),
        };
        Parts { files, settings }
    }

    /// `sha256:<hex>`. Files are named without their folders, which do not change a vector.
    pub(crate) fn digest(&self, folder: &Path, prompt: &str, query_prompt: &str) -> Result<String> {
        // As JSON, a prompt is one line.
        let [prompt, query_prompt] = [prompt, query_prompt].map(serde_json::Value::from);
        let mut all = format!("{VERSION}\n{}prompt {prompt}\nquery prompt {query_prompt}\n", self.settings);
        for name in &self.files {
            let path = folder.join(name);
            let digest = digest_of(&path)
                .map_err(|error| Error::BundleFile { path: path.display().to_string(), cause: error.to_string() })?;
            // Writing to a text does not fail.
            _ = writeln!(all, "{} {digest}", name.rsplit('/').next().unwrap_or_default());
        }
        Ok(file_digest(all.as_bytes()))
    }
}
