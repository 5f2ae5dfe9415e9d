//! Finds and starts other programs, and reports their failures.

use crate::{Error, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Prints the next step.
pub(crate) fn step(what: impl std::fmt::Display) {
    println!("==> {what}");
}

/// Runs a program to its end; its output is passed through.
///
/// # Errors
/// [`Error::Start`], [`Error::Failed`].
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    // No tool may wait for input, because there may be no user.
    let status = command.stdin(Stdio::null()).status();
    match status.map_err(|source| Error::Start { command: line.clone(), source })? {
        status if status.success() => Ok(()),
        status => Err(Error::Failed { command: line, status }),
    }
}

/// Standard output of a run; standard error is passed through.
///
/// # Errors
/// [`Error::Start`], [`Error::Failed`].
pub(crate) fn capture(command: &mut Command) -> Result<Vec<u8>> {
    let line = display(command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| Error::Start { command: line.clone(), source })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Failed { command: line, status: output.status })
    }
}

/// Whether a short run of a program succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first of these programs on PATH.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| program_in(folder, name)).find(|file| file.is_file()))
}

/// The path of a program in a folder.
pub(crate) fn program_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A command as one types it, for messages.
pub(crate) fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
