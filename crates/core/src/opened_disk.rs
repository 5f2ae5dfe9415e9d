//! A model that writes text, on disk: a Hugging Face folder, or a GGUF file with all that it needs.

use crate::bundle::DiskFolder;
use crate::chat::{self, Chat, ChatFiles};
use crate::opened::{MANIFEST, Opened, TOKENIZER, bytes_of, read, recipes_of, tokenizer_of};
use crate::recipe::Recipes;
use crate::text::{Tokenizer, tokenizer_json};
use crate::{Error, Result};
use grice_model::{GgufModel, GgufVocabulary, Precision};
use std::path::{Path, PathBuf};

const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Opens a Hugging Face folder, a GGUF file, or a folder with one GGUF file.
pub(crate) fn open(path: &Path, precision: Option<Precision>) -> Result<Opened> {
    match gguf_in(path)? {
        Some((folder, file)) => open_gguf(&folder, &file, precision),
        None => read(&DiskFolder(path.to_owned()), &|file| path.join(file).display().to_string(), precision),
    }
}

/// Whether a path is what [`open`] reads, and not a bundle.
pub(crate) fn is_writer(path: &Path) -> bool {
    is_checkpoint(path) || !matches!(gguf_in(path), Ok(None))
}

fn is_checkpoint(path: &Path) -> bool {
    let has = |name: &str| path.join(name).is_file();
    has("config.json") && WEIGHTS.iter().any(|name| has(name)) && !is_other(path)
}

/// Whether a folder is a bundle for another task.
fn is_other(path: &Path) -> bool {
    std::fs::read(path.join(MANIFEST)).is_ok_and(|json| !Recipes::are_in(&json))
}

fn of_model(path: &Path, source: grice_model::Error) -> Error {
    Error::Model { path: path.display().to_string(), source: Box::new(source) }
}

/// The chat template in a folder with a GGUF file, or that of the file itself.
fn chat_of_gguf(folder: &Path, path: &Path, vocabulary: Option<&GgufVocabulary>) -> Result<Option<ChatFiles>> {
    let place = |file: &str| folder.join(file).display().to_string();
    if let Some(beside) = chat::read(&|file| bytes_of(&DiskFolder(folder.to_owned()), &place, file), &place)? {
        return Ok(Some(beside));
    }
    let Some(vocabulary) = vocabulary else { return Ok(None) };
    let Some(template) = vocabulary.chat_template.clone() else { return Ok(None) };
    let named = [("bos_token", vocabulary.begin), ("eos_token", vocabulary.end), ("unk_token", vocabulary.unknown)];
    let token = |(name, id): (&str, Option<u32>)| Some((name.to_owned(), vocabulary.tokens.get(id? as usize)?.clone()));
    let tokens = named.into_iter().filter_map(token).collect();
    let place = format!("{}: `tokenizer.chat_template`", path.display());
    Ok(Some(ChatFiles { template, tokens, place }))
}

/// The folder and the name of a GGUF file: the path itself, or the only one in a folder that is nothing else.
fn gguf_in(path: &Path) -> Result<Option<(PathBuf, String)>> {
    if is_gguf(path) && !path.is_dir() {
        let name = path.file_name().and_then(|name| name.to_str());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(name.map(|name| (folder.to_owned(), name.to_owned())));
    }
    if is_checkpoint(path) || is_other(path) {
        return Ok(None);
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(None) };
    let names = entries.flatten().map(|entry| entry.path()).filter(|file| is_gguf(file) && file.is_file());
    let mut names: Vec<String> = names.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    let Some(first) = names.first().cloned() else { return Ok(None) };
    match names.iter().all(|name| stem(name) == stem(&first)) {
        true => Ok(Some((path.to_owned(), first))),
        false => Err(Error::BundleFile {
            path: path.display().to_string(),
            cause: format!("it holds several models: {}; name one of them", names.join(", ")),
        }),
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// What the parts of a split model have in common.
fn stem(name: &str) -> (&str, &str) {
    let parts = name.rsplit_once("-of-").and_then(|(rest, count)| Some((rest.rsplit_once('-')?.0, count)));
    parts.unwrap_or((name, ""))
}

fn open_gguf(folder: &Path, file: &str, precision: Option<Precision>) -> Result<Opened> {
    let path = folder.join(file);
    let model = GgufModel::open(&DiskFolder(folder.to_owned()), file, precision);
    let GgufModel { checkpoint, vocabulary } = model.map_err(|source| of_model(&path, source))?;
    let place = |file: &str| folder.join(file).display().to_string();
    let recipes = match is_other(folder) {
        true => Recipes::default(),
        false => recipes_of(&DiskFolder(folder.to_owned()), &place)?,
    };
    let chat = chat_of_gguf(folder, &path, vocabulary.as_ref())?;
    let (templates, has_chat) = (recipes.templates(), chat.is_some());
    let wrong = |cause: String| Error::BundleFile { path: path.display().to_string(), cause };
    let beside = folder.join(TOKENIZER);
    let tokenizer = match std::fs::read(&beside) {
        Ok(json) => {
            let tokenizer = tokenizer_of(&json, &templates, has_chat)?;
            let vocabulary = vocabulary.as_ref();
            vocabulary.map_or(Ok(()), |vocabulary| check_same(&tokenizer, vocabulary)).map_err(|token| {
                Error::BundleFile {
                    path: beside.display().to_string(),
                    cause: format!(
                        "it is another model's: {file} has other tokens, such as {token}; move it away or replace it"
                    ),
                }
            })?;
            tokenizer
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let built = vocabulary.as_ref().ok_or_else(|| "it says nothing of tokens".to_owned());
            let built = built.and_then(|vocabulary| build(vocabulary, &templates, has_chat));
            let advice = "the model's own tokenizer.json in the same folder is used if there is one";
            built.map_err(|problem| wrong(format!("its tokenizer cannot be used: {problem}; {advice}")))?
        }
        Err(error) => return Err(Error::BundleFile { path: beside.display().to_string(), cause: error.to_string() }),
    };
    let recipes = recipes.clone().marked(&tokenizer);
    Ok(Opened { checkpoint, tokenizer, recipes, chat: chat.map(Chat::new) })
}

fn build(vocabulary: &GgufVocabulary, templates: &[&str], has_chat: bool) -> Result<Tokenizer, String> {
    tokenizer_of(&tokenizer_json(vocabulary)?, templates, has_chat).map_err(|error| match error {
        Error::Tokenizer(problem) => problem,
        other => other.to_string(),
    })
}

/// All normal tokens must be the same; the first that is not, otherwise.
fn check_same(tokenizer: &Tokenizer, vocabulary: &GgufVocabulary) -> Result<(), String> {
    let normal = |id: usize| vocabulary.kinds.get(id).is_none_or(|kind| *kind == 1);
    let mut normal = vocabulary.tokens.iter().enumerate().filter(|(id, _)| normal(*id));
    // A token that looks special has another name.
    let id_of = |token: &str| tokenizer.id_of(token).or_else(|| tokenizer.id_of(&tokenizer.mark(token)));
    match normal.find(|(id, token)| id_of(token) != Some(*id as u32)) {
        Some((id, token)) => Err(format!("{token:?} with the id {id}")),
        None => Ok(()),
    }
}
