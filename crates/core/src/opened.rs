//! The files of a model that writes text, wherever they are.

use crate::bundle::file_digest;
#[cfg(not(target_arch = "wasm32"))]
use crate::chat::{self, Chat};
use crate::recipe::Recipes;
use crate::text::Tokenizer;
use crate::{Error, Result};
use grice_model::{Checkpoint, Folder, Precision};
use std::borrow::Cow;

pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const MANIFEST: &str = "grice.json";
const FILES: &str = "config.json, model.safetensors and tokenizer.json";

/// A model and its tokenizer.
pub(crate) struct Opened {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Tokenizer,
    /// Those of a `grice.json` beside the model.
    pub(crate) recipes: Recipes,
    /// How it is talked to; why not, if its template cannot be used. Browsers run no chat templates.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) chat: Option<Result<Chat, String>>,
}

/// Opens the files of a Hugging Face folder; `place` gives their paths for errors.
pub(crate) fn read(
    folder: &dyn Folder,
    place: &dyn Fn(&str) -> String,
    precision: Option<Precision>,
) -> Result<Opened> {
    let of_model = |source| {
        let path = place("").trim_end_matches(['/', '\\']).to_owned();
        Error::Model { path, source: Box::new(source) }
    };
    let recipes = recipes_of(folder, place)?;
    let mut checkpoint = Checkpoint::open(folder).map_err(of_model)?;
    let json = bytes_of(folder, place, TOKENIZER)?.ok_or_else(|| Error::BundleFile {
        path: place(TOKENIZER),
        cause: format!("it does not exist; a model that writes text is a folder with {FILES}"),
    })?;
    #[cfg(not(target_arch = "wasm32"))]
    let chat = chat::read(&|file| bytes_of(folder, place, file), place)?;
    #[cfg(not(target_arch = "wasm32"))]
    let tokenizer = tokenizer_of(&json, &recipes.templates(), chat.is_some())?;
    #[cfg(target_arch = "wasm32")]
    let tokenizer = Tokenizer::for_templates(&json, &recipes.templates())?;
    if let Some(precision) = precision {
        checkpoint.generator = checkpoint.generator.to_precision(precision).map_err(of_model)?;
    }
    Ok(Opened {
        checkpoint,
        recipes: recipes.marked(&tokenizer),
        tokenizer,
        #[cfg(not(target_arch = "wasm32"))]
        chat: chat.map(Chat::new),
    })
}

/// The tokenizer for recipes and, if there is one, a chat template.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn tokenizer_of(json: &[u8], templates: &[&str], has_chat: bool) -> Result<Tokenizer> {
    if has_chat { Tokenizer::for_chat(json) } else { Tokenizer::for_templates(json, templates) }
}

/// The recipes in a folder, whose digests of other files must hold; none without `grice.json`.
pub(crate) fn recipes_of(folder: &dyn Folder, place: &dyn Fn(&str) -> String) -> Result<Recipes> {
    let Some(json) = bytes_of(folder, place, MANIFEST)? else { return Ok(Recipes::default()) };
    let recipes = Recipes::parse(&json, &place(MANIFEST))?;
    for (file, expected) in &recipes.digests {
        let missing = || Error::BundleFile { path: place(file), cause: "it is missing".to_owned() };
        let found = with_bytes(folder, place, file, |bytes| file_digest(&bytes))?.ok_or_else(missing)?;
        if !found.eq_ignore_ascii_case(expected) {
            return Err(Error::BundleDigest { path: place(file), found, expected: expected.clone() });
        }
    }
    Ok(recipes)
}

pub(crate) fn bytes_of(folder: &dyn Folder, place: &dyn Fn(&str) -> String, file: &str) -> Result<Option<Vec<u8>>> {
    with_bytes(folder, place, file, |bytes| bytes.into_owned())
}

/// What `read` makes of a file's bytes, which are copied only if they are not in memory; `None` without the file.
fn with_bytes<T>(
    folder: &dyn Folder,
    place: &dyn Fn(&str) -> String,
    file: &str,
    read: impl FnOnce(Cow<'_, [u8]>) -> T,
) -> Result<Option<T>> {
    let with = || -> std::io::Result<Option<T>> {
        let Some(source) = folder.file(file)? else { return Ok(None) };
        Ok(Some(read(source.read(0..source.length())?)))
    };
    with().map_err(|error| Error::BundleFile { path: place(file), cause: error.to_string() })
}
