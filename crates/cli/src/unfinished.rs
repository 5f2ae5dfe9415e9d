//! A folder that appears whole or not at all: it is filled beside its place, and gets its name at the end.

use crate::error::{CliError, Result};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is removed unless it is finished.
pub(crate) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// A new folder beside `target`. Whether that may be replaced is for the caller to check.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn create(target: &Path) -> Result<Unfinished> {
        // Without the slash at its end, which would put the folder inside.
        let target: PathBuf = target.components().collect();
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        fs::create_dir_all(&path).map_err(|source| unwritable(&path, source))?;
        Ok(Unfinished { path, target })
    }

    /// Where it is until it is finished.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a text file.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(|source| unwritable(&path, source))
    }

    /// Gives it its name. What was there before is removed last.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn finish(self) -> Result<()> {
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

fn unwritable(path: &Path, source: io::Error) -> CliError {
    CliError::Write { place: path.display().to_string(), source }
}
