//! Where the files of a checkpoint come from.

use crate::safetensors::Source;

/// Files by name.
pub trait Folder {
    /// A file of the folder; `None` if it has none of that name.
    ///
    /// # Errors
    /// Those of the file system.
    fn file(&self, name: &str) -> std::io::Result<Option<Box<dyn Source + '_>>>;
}

/// The bytes of a file, if it is there.
pub(super) fn read_if(folder: &dyn Folder, file: &str) -> Result<Option<Vec<u8>>, String> {
    let told = |error: std::io::Error| format!("{file}: {error}");
    let Some(source) = folder.file(file).map_err(told)? else { return Ok(None) };
    let bytes = source.read(0..source.length()).map_err(told)?;
    Ok(Some(bytes.into_owned()))
}
