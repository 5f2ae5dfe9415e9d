//! What was timed once, kept in a file.
//!
//! The file belongs to one adapter, one driver, one state of the shaders and one version of the file's form; any other is as good as none. It
//! never stands in anyone's way: what cannot be read is made anew, and what cannot be written is timed again next time.

use super::Shape;
use crate::gemm::{Abilities, Choice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The form of the file.
const VERSION: u32 = 1;
/// More than this is no file of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The timed choices of one adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u32,
    key: Key,
    /// By the shape in writing, so that the file can be read.
    choices: BTreeMap<String, Choice>,
}

/// What choices hold for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) adapter: String,
    pub(crate) backend: String,
    pub(crate) driver: String,
    /// Of all shaders of products.
    pub(crate) shaders: String,
}

impl Key {
    /// Where the file of an adapter lies in a folder: adapters do not share one.
    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        let name = blake3::hash(format!("{}\n{}\n{}", self.adapter, self.backend, self.driver).as_bytes()).to_hex();
        folder.join(format!("tiles-{}.json", &name[..16]))
    }
}

impl Kept {
    pub(crate) fn new(key: Key) -> Kept {
        Kept { version: VERSION, key, choices: BTreeMap::new() }
    }

    pub(crate) fn get(&self, shape: &Shape) -> Option<Choice> {
        self.choices.get(&shape.to_string()).copied()
    }

    pub(crate) fn set(&mut self, shape: &Shape, choice: Choice) {
        self.choices.insert(shape.to_string(), choice);
    }

    /// What a file holds for a key, without choices that the device cannot make; and what is wrong with it, if it is there and of no use.
    pub(crate) fn read(folder: &Path, key: &Key, abilities: &Abilities) -> (Kept, Option<String>) {
        let path = key.path(folder);
        let ignored = |reason: String| {
            let warning = format!("{}: {reason}; the file is ignored and made anew", path.display());
            (Kept::new(key.clone()), Some(warning))
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Kept::new(key.clone()), None),
            Err(error) => return ignored(error.to_string()),
            Ok(found) if found.len() > FILE_BYTES_MAX => return ignored(format!("{} bytes are too many", found.len())),
            Ok(_) => {}
        }
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => return ignored(error.to_string()),
        };
        let mut kept: Kept = match serde_json::from_slice(&text) {
            Ok(kept) => kept,
            Err(error) => return ignored(format!("not a file of timed tiles ({error})")),
        };
        if kept.version != VERSION {
            return ignored(format!("version {} of the file, where {VERSION} is due", kept.version));
        }
        if kept.key != *key {
            return ignored("made for another adapter, driver or release".to_owned());
        }
        let all = kept.choices.len();
        kept.choices.retain(|_, choice| choice.is_sound(abilities));
        let lost = all - kept.choices.len();
        let warning =
            format!("{}: {lost} of {all} entries ask for what the adapter cannot do and are ignored", path.display());
        (kept, (lost > 0).then_some(warning))
    }

    /// Writes the file as a whole or not at all; the folder is made if it is missing.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let path = self.key.path(folder);
        let told = |error: std::io::Error| format!("{}: {error}; tiles will be timed again next time", path.display());
        std::fs::create_dir_all(folder).map_err(told)?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| format!("{}: {error}", path.display()))?;
        // Another process may write the same file.
        let unfinished = path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&unfinished, text).map_err(told)?;
        std::fs::rename(&unfinished, &path).map_err(told)
    }
}
