//! The output: a folder beside it that gets its name when all is written.

use crate::args::Quantize;
use crate::error::{CliError, Result};
use grice_quantize::checkpoint::{Place, Sink};
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

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

/// A folder that is removed unless it is finished.
pub(super) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// A new folder beside `--output`, which must be free, or a folder of a model with `--overwrite`.
    ///
    /// # Errors
    /// [`CliError::TargetExists`], [`CliError::TargetKind`], [`CliError::SameFile`], [`CliError::Write`].
    pub(super) fn create(model: &Path, args: &Quantize) -> Result<Unfinished> {
        check_free(model, args)?;
        // Without the slash at its end, which would put the folder inside.
        let target: PathBuf = args.output.components().collect();
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        fs::create_dir_all(&path).map_err(|source| unwritable(&path, source))?;
        Ok(Unfinished { path, target })
    }

    /// Where it is until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies the tokenizer, and what else a model's folder has beside its weights.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(super) fn copy_others(&self, model: &Path) -> Result<()> {
        for name in OTHERS {
            let (from, to) = (model.join(name), self.path.join(name));
            if from.is_file() {
                fs::copy(&from, &to).map_err(|source| unwritable(&to, source))?;
            }
        }
        Ok(())
    }

    /// Writes a text file.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(|source| unwritable(&path, source))
    }

    /// Gives it its name. What was there before is removed last.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(super) fn finish(self) -> Result<()> {
        let rename = || -> io::Result<()> {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            let is_taken = self.target.exists();
            if is_taken {
                fs::rename(&self.target, &old)?;
            }
            let renamed = fs::rename(&self.path, &self.target);
            match (is_taken, renamed.is_ok()) {
                (true, true) => fs::remove_dir_all(&old)?,
                (true, false) => fs::rename(&old, &self.target)?,
                (false, _) => {}
            }
            renamed
        };
        rename().map_err(|source| unwritable(&self.target, source))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone if it was finished.
        _ = fs::remove_dir_all(&self.path);
    }
}

impl Place for Unfinished {
    fn file(&self, name: &str) -> io::Result<Box<dyn Sink + '_>> {
        Ok(Box::new(BufWriter::new(fs::File::create(self.path.join(name))?)))
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

fn unwritable(path: &Path, source: io::Error) -> CliError {
    CliError::Write { place: path.display().to_string(), source }
}
