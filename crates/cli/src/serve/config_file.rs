//! Changes measured values in `grice.toml`, and keeps everything else as its author wrote it.

use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file};
use crate::text_file::read_text;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, Value};

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
    /// [`CliError::ManyModels`] unless there is one; those of [`ConfigFile::open`].
    pub(crate) fn open_for(path: &Path, models: usize) -> Result<ConfigFile> {
        match models {
            1 => ConfigFile::open(path),
            _ => Err(CliError::ManyModels(models)),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`CliError::ConfigFile`] if it is not TOML, or the section is not a table; [`CliError::Read`], [`CliError::Write`].
    pub(crate) fn open(path: &Path) -> Result<ConfigFile> {
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
    pub(crate) fn write_batch_size(self, rows: usize) -> Result<()> {
        self.write_serve(&[(BATCH_SIZE, ServeValue::Count(rows))])
    }

    /// Writes the file with these options of `serve`.
    ///
    /// # Errors
    /// [`CliError::Write`].
    pub(crate) fn write_serve(mut self, values: &[(&str, ServeValue)]) -> Result<()> {
        values.iter().for_each(|(name, value)| set(&mut self.document, name, *value));
        write_file(&self.path, self.document.to_string().as_bytes())
    }

    /// Whether the section names several devices, one for each replica.
    pub(crate) fn names_devices(&self) -> bool {
        let devices = self.document.get(SECTION).and_then(|section| section.get("device"));
        devices.and_then(Item::as_array).is_some_and(|devices| devices.len() > 1)
    }
}

/// A value of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ServeValue {
    Count(usize),
    Word(&'static str),
}

impl From<ServeValue> for Value {
    fn from(value: ServeValue) -> Value {
        match value {
            ServeValue::Count(count) => i64::try_from(count).unwrap_or(i64::MAX).into(),
            ServeValue::Word(word) => word.into(),
        }
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

fn set(document: &mut DocumentMut, name: &str, new: ServeValue) {
    let section = document.entry(SECTION).or_insert_with(|| Item::Table(Table::new()));
    let Some(section) = section.as_table_like_mut() else { return };
    match section.get_mut(name).and_then(Item::as_value_mut) {
        // Text around the old value, such as a comment, stays.
        Some(old) => {
            let around = old.decor().clone();
            *old = new.into();
            *old.decor_mut() = around;
        }
        None => _ = section.insert(name, Item::Value(new.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: Result<&str, &str>) {
        let found = parse_config(old).map(|mut document| {
            set(&mut document, BATCH_SIZE, ServeValue::Count(8));
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

    #[test]
    fn several_values_are_written_in_their_order() {
        let mut document = parse_config("[serve]\nthreads = 9 # mine\nlisten = \"[::]:80\"\n").unwrap();
        set(&mut document, "threads", ServeValue::Count(2));
        set(&mut document, "batch-wait", ServeValue::Word("while-busy"));
        let written = "[serve]\nthreads = 2 # mine\nlisten = \"[::]:80\"\nbatch-wait = \"while-busy\"\n";
        assert_eq!(document.to_string(), written);
    }
}
