//! `grice.toml`: defaults that flags and environment override.

use crate::args::ServeOptions;
use crate::error::{CliError, Result};
use crate::text_file::read_text;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Read from the working directory if it exists and no other file is named.
const USUAL: &str = "grice.toml";

/// The file's sections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    serve: ServeOptions,
}

/// The options of `serve` in the named file, or in `grice.toml` if it exists.
///
/// # Errors
/// [`CliError::Config`] with the file and the problem.
pub(crate) fn read_serve(named: Option<&Path>) -> Result<ServeOptions> {
    let path = named.map_or_else(|| PathBuf::from(USUAL), Path::to_owned);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(CliError::Read { source, .. }) if named.is_none() && source.kind() == ErrorKind::NotFound => {
            return Ok(Default::default());
        }
        Err(CliError::Read { place, source }) => return Err(CliError::Config { place, cause: source.to_string() }),
        Err(other) => return Err(other),
    };
    let file: File = toml::from_str(&text)
        .map_err(|error| CliError::Config { place: path.display().to_string(), cause: error.to_string() })?;
    Ok(file.serve)
}
