//! Changes one measured value in `grice.toml`, and keeps everything else as its author wrote it.

use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file};
use crate::text_file::read_text;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, value};

const SECTION: &str = "serve";
const BATCH_SIZE: &str = "batch-rows-max";

/// A file of options, existing or new.
pub(crate) struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

impl ConfigFile {
    /// Reads the file that will get the batch size of one of `models` models.
    ///
    /// # Errors
    /// [`CliError::ManyModels`] unless there is one; [`CliError::ConfigFile`] if it is not TOML, or the section is
    /// not a table; [`CliError::Read`], [`CliError::Write`].
    pub(crate) fn open(path: &Path, models: usize) -> Result<ConfigFile> {
        if models != 1 {
            return Err(CliError::ManyModels(models));
        }
        let place = || path.display().to_string();
        let text = match read_text(path) {
            Ok(text) => text,
            Err(CliError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let document = parse_config(&text).map_err(|cause| CliError::ConfigFile { place: place(), cause })?;
        check_writable(path)?;
        Ok(ConfigFile { path: path.to_owned(), document })
    }

    /// Writes the file with this batch size.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn write_batch_size(mut self, rows: usize) -> Result<()> {
        set_batch_size(&mut self.document, rows);
        write_file(&self.path, self.document.to_string().as_bytes())
    }
}

fn parse_config(text: &str) -> Result<DocumentMut, String> {
    let document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.to_string().trim().to_owned())?;
    match document.get(SECTION) {
        Some(section) if !section.is_table_like() => Err(format!("`{SECTION}` must be a section, [{SECTION}]")),
        _ => Ok(document),
    }
}

fn set_batch_size(document: &mut DocumentMut, rows: usize) {
    let section = document.entry(SECTION).or_insert_with(|| Item::Table(Table::new()));
    let Some(section) = section.as_table_like_mut() else { return };
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    match section.get_mut(BATCH_SIZE).and_then(Item::as_value_mut) {
        // Text around the old value, such as a comment, stays.
        Some(old) => {
            let around = old.decor().clone();
            *old = rows.into();
            *old.decor_mut() = around;
        }
        None => _ = section.insert(BATCH_SIZE, value(rows)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: Result<&str, &str>) {
        let found = parse_config(old).map(|mut document| {
            set_batch_size(&mut document, 8);
            document.to_string()
        });
        match (new, found) {
            (Ok(new), found) => assert_eq!(found.as_deref(), Ok(new)),
            (Err(words), found) => assert!(found.unwrap_err().contains(words)),
        }
    }

    #[test]
    fn one_value_changes_and_all_else_stays() {
        check("", Ok("[serve]\nbatch-rows-max = 8\n"));
        check("# mine\n[serve]\nreplicas = 2 # two\n", Ok("# mine\n[serve]\nreplicas = 2 # two\nbatch-rows-max = 8\n"));
        check(
            "[serve]\nbatch-rows-max = 64 # was fast\na = 1\n",
            Ok("[serve]\nbatch-rows-max = 8 # was fast\na = 1\n"),
        );
        check("serve = { replicas = 2 }\n", Ok("serve = { replicas = 2 , batch-rows-max = 8 }\n"));
        check("[other]\na = 1\n", Ok("[other]\na = 1\n\n[serve]\nbatch-rows-max = 8\n"));
        check("serve = 3\n", Err("must be a section"));
        check("[serve\n", Err("line 1"));
    }
}
