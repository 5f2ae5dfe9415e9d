//! Small text files: configuration and keys.

use crate::error::{CliError, Result};
use grice_core::{utf16_hint, without_bom};
use std::io;
use std::path::Path;

/// Reads a file in UTF-8, with a byte order mark or without.
///
/// # Errors
/// [`CliError::Encoding`] for UTF-16; [`CliError::Read`].
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let place = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| CliError::Read { place: place(), source })?;
    if let Some(hint) = utf16_hint(&bytes) {
        return Err(CliError::Encoding { place: place(), hint });
    }
    let text = String::from_utf8(without_bom(&bytes).to_vec()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from byte {at}"));
        CliError::Read { place: place(), source }
    })?;
    Ok(text)
}
