//! Output of lines, to standard output or to a file that is not overwritten by accident.

use crate::error::{CliError, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Where lines go, and what may be lost there.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// What is read, which must not be the output.
    pub(crate) input: Option<&'a Path>,
    /// The file, or `-`.
    pub(crate) output: &'a Path,
    /// Whether an existing file is replaced.
    pub(crate) overwrite: bool,
    /// Whether an existing file is continued.
    pub(crate) resume: bool,
}

/// Writes lines; [`Output::flush`] sends them to the system.
pub(crate) struct Output {
    writer: BufWriter<Box<dyn Write>>,
    place: String,
}

impl Output {
    /// Standard output for `-`, otherwise a new file, or an existing one if `--overwrite` allows it.
    ///
    /// # Errors
    /// [`CliError::OutputExists`], [`CliError::Write`].
    pub(crate) fn create(target: Target<'_>) -> Result<Output> {
        let path = target.output;
        if is_stdio(path) {
            return Ok(Output::new(Box::new(io::stdout().lock()), "standard output".to_owned()));
        }
        check_free(target)?;
        let place = path.display().to_string();
        // Empty the file only after checking that it is not the input, even if its name has changed.
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|source| CliError::Write { place: place.clone(), source })?;
        let metadata = file.metadata().map_err(|source| CliError::Write { place: place.clone(), source })?;
        if metadata.is_file() {
            check_other(target.input, &metadata, path)?;
            file.set_len(0).map_err(|source| CliError::Write { place: place.clone(), source })?;
        }
        Ok(Output::new(Box::new(file), place))
    }

    /// A file that is kept up to byte `end` and continued there.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn resume(path: &Path, end: u64) -> Result<Output> {
        let place = path.display().to_string();
        let open = || -> io::Result<File> {
            let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
            file.set_len(end)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|source| CliError::Write { place: place.clone(), source })?;
        Ok(Output::new(Box::new(file), place))
    }

    /// Writes one line.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn write_line(&mut self, line: &str) -> Result<()> {
        let written = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|source| self.unwritable(source))
    }

    /// Flushes everything, so that an interruption loses nothing.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(|source| self.unwritable(source))
    }

    fn new(sink: Box<dyn Write>, place: String) -> Output {
        Output { writer: BufWriter::with_capacity(64 << 10, sink), place }
    }

    fn unwritable(&self, source: io::Error) -> CliError {
        CliError::Write { place: self.place.clone(), source }
    }
}

/// Checks that the output file may be written: it is not the input and, without options for an
/// old file, it is new or empty. Pipes and devices have nothing to lose.
///
/// # Errors
/// [`CliError::SameFile`], [`CliError::OutputExists`].
pub(crate) fn check_free(target: Target<'_>) -> Result<()> {
    let path = target.output;
    if is_stdio(path) {
        return check_appended(target);
    }
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if !metadata.is_file() {
        return Ok(());
    }
    check_other(target.input, &metadata, path)?;
    if metadata.len() > 0 && !target.overwrite && !target.resume {
        return Err(CliError::OutputExists(path.display().to_string()));
    }
    Ok(())
}

/// Whether a path means standard input or output.
pub(crate) fn is_stdio(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes to standard output.
///
/// # Errors
/// [`CliError::Write`].
pub(crate) fn write_stdout(text: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    written.map_err(|source| CliError::Write { place: "standard output".to_owned(), source })
}

/// A value as JSON, by one of the functions of `serde_json`.
///
/// # Errors
/// [`CliError::Json`] for a value that JSON cannot hold, which is a fault of grice.
pub(crate) fn json<T: ?Sized>(value: &T, write: impl FnOnce(&T) -> serde_json::Result<String>) -> Result<String> {
    write(value).map_err(CliError::Json)
}

/// Writes a whole file, and replaces an existing one.
///
/// # Errors
/// [`CliError::Write`].
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|source| CliError::Write { place: path.display().to_string(), source })
}

/// Writes a file completely or not at all; creates its folder.
///
/// # Errors
/// [`CliError::Write`].
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        fs::write(&unfinished, bytes)?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| CliError::Write { place: path.display().to_string(), source })
}

/// Checks that a file can be written, before its contents are computed. Leaves an existing file unchanged, and removes a new one.
///
/// # Errors
/// [`CliError::Write`].
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    let is_new = !path.exists();
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|source| CliError::Write { place: path.display().to_string(), source })?;
    if is_new {
        // A failure does not matter, because the file will be written.
        _ = fs::remove_file(path);
    }
    Ok(())
}

/// Checks that the output is not the input under another name or descriptor: a link, `/dev/stdin`, `< file`.
#[cfg(unix)]
fn check_other(input: Option<&Path>, output: &fs::Metadata, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let input = match input {
        Some(input) if is_stdio(input) => metadata_of(&io::stdin()),
        Some(input) => fs::metadata(input).ok(),
        None => None,
    };
    match input {
        Some(input) if input.dev() == output.dev() && input.ino() == output.ino() => {
            Err(CliError::SameFile(path.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// Checks that standard output does not append to the input file, which would never end.
#[cfg(unix)]
fn check_appended(target: Target<'_>) -> Result<()> {
    match metadata_of(&io::stdout()) {
        Some(output) if output.is_file() => check_other(target.input, &output, Path::new("standard output")),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn metadata_of(stream: &impl std::os::fd::AsFd) -> Option<fs::Metadata> {
    File::from(stream.as_fd().try_clone_to_owned().ok()?).metadata().ok()
}

#[cfg(not(unix))]
fn check_other(input: Option<&Path>, _: &fs::Metadata, path: &Path) -> Result<()> {
    match (input.map(fs::canonicalize), fs::canonicalize(path)) {
        (Some(Ok(input)), Ok(output)) if input == output => Err(CliError::SameFile(path.display().to_string())),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check_appended(_: Target<'_>) -> Result<()> {
    Ok(())
}
