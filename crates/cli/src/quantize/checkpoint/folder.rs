//! The output: what may be replaced, and what a model's folder holds beside its weights.

use crate::args::Quantize;
use crate::error::{CliError, Result};
use crate::unfinished::Unfinished;
use grice_quantize::checkpoint::{Place, Sink};
use std::fs;
use std::io::{self, BufWriter};
use std::path::Path;

/// What belongs to a model beside its configuration and its weights.
const OTHERS: [&str; 12] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE",
    "NOTICE",
];

/// A new folder for `--output`, which must be free, or a folder of a model with `--overwrite`.
///
/// # Errors
/// [`CliError::TargetExists`], [`CliError::TargetKind`], [`CliError::SameFile`], [`CliError::Write`].
pub(super) fn create(model: &Path, args: &Quantize) -> Result<Unfinished> {
    check_free(model, args)?;
    Unfinished::create(&args.output)
}

/// Copies the tokenizer, and what else a model's folder has beside its weights.
///
/// # Errors
/// [`CliError::Write`].
pub(super) fn copy_others(model: &Path, unfinished: &Unfinished) -> Result<()> {
    for name in OTHERS {
        let (from, to) = (model.join(name), unfinished.path().join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(|source| CliError::Write { place: to.display().to_string(), source })?;
        }
    }
    Ok(())
}

impl Place for Unfinished {
    fn file(&self, name: &str) -> io::Result<Box<dyn Sink + '_>> {
        Ok(Box::new(BufWriter::new(fs::File::create(self.path().join(name))?)))
    }
}

fn check_free(model: &Path, args: &Quantize) -> Result<()> {
    let output = &args.output;
    let place = output.display().to_string();
    let Ok(metadata) = fs::metadata(output) else { return Ok(()) };
    if !metadata.is_dir() {
        return Err(CliError::TargetKind { place, expected: "a folder, because the model is one" });
    }
    if let (Ok(model), Ok(output)) = (fs::canonicalize(model), fs::canonicalize(output))
        && model.starts_with(&output)
    {
        return Err(CliError::TargetKind { place, expected: "another folder than the model's" });
    }
    let is_empty = fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    match (args.overwrite, output.join("config.json").is_file()) {
        (false, _) => Err(CliError::TargetExists(place)),
        (true, true) => Ok(()),
        (true, false) => {
            Err(CliError::TargetKind { place, expected: "a new folder or a model's: this one has no config.json" })
        }
    }
}
