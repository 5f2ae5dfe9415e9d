//! API keys from the environment and from files. Configured but missing keys are an error, because a server without keys
//! accepts everyone.

use crate::error::{CliError, Result};
use crate::text_file::read_text;
use std::env::VarError;
use std::path::Path;

/// The keys of clients: from `GRICE_API_KEYS`, comma-separated, and from a file, one per line.
///
/// # Errors
/// An error that names the variable or file without a key, or that cannot be read.
pub(crate) fn api_keys(file: Option<&Path>) -> Result<Vec<String>> {
    let mut keys = from_variable("GRICE_API_KEYS", std::env::var("GRICE_API_KEYS"))?;
    keys.extend(file.map(|path| from_file("--api-keys-file", path)).transpose()?.unwrap_or_default());
    Ok(keys)
}

/// The administrator's key, from `GRICE_ADMIN_KEY` or a file.
///
/// # Errors
/// As [`api_keys`]; also if there are several.
pub(crate) fn admin_key(file: Option<&Path>) -> Result<Option<String>> {
    let mut keys = from_variable("GRICE_ADMIN_KEY", std::env::var("GRICE_ADMIN_KEY"))?;
    keys.extend(file.map(|path| from_file("--admin-key-file", path)).transpose()?.unwrap_or_default());
    match keys.len() {
        0 | 1 => Ok(keys.pop()),
        count => {
            let cause =
                "GRICE_ADMIN_KEY and --admin-key-file together may have only one; commas and line ends separate keys";
            Err(CliError::ServeOption(format!("{count} admin keys are given: {cause}")))
        }
    }
}

fn from_variable(name: &str, value: std::result::Result<String, VarError>) -> Result<Vec<String>> {
    let refused = |cause: &str| Err(CliError::ServeOption(format!("{name} {cause}")));
    match value {
        Err(VarError::NotPresent) => Ok(Vec::new()),
        Err(VarError::NotUnicode(_)) => refused("is not UTF-8; keys are text"),
        Ok(text) => match keys_of(text.split(',')) {
            keys if keys.is_empty() => {
                refused("is set but holds no key; set it to comma-separated keys, or unset it to accept everyone")
            }
            keys => Ok(keys),
        },
    }
}

fn from_file(option: &str, path: &Path) -> Result<Vec<String>> {
    if path.as_os_str().is_empty() {
        return Err(CliError::ServeOption(format!("{option} names no file; name one, or remove the option")));
    }
    let place = path.display().to_string();
    let text = read_text(path)?;
    let keys = keys_of(text.lines().filter(|line| !line.trim_start().starts_with('#')));
    if keys.is_empty() {
        let cause = "holds no key; write one key per line, or remove the option to accept everyone";
        return Err(CliError::ServeOption(format!("{option} {place} {cause}")));
    }
    Ok(keys)
}

fn keys_of<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<String> {
    texts.map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn variable(text: &str) -> Result<Vec<String>> {
        from_variable("GRICE_API_KEYS", Ok(text.to_owned()))
    }

    #[test]
    fn a_variable_that_is_set_holds_a_key() {
        assert!(from_variable("GRICE_API_KEYS", Err(VarError::NotPresent)).unwrap().is_empty());
        assert_eq!(variable(" first-key ,,second-key,").unwrap(), ["first-key", "second-key"]);
        for empty in ["", " ", ",", " , ,\t", "\n"] {
            let error = variable(empty).unwrap_err().to_string();
            assert!(error.contains("GRICE_API_KEYS is set but holds no key"), "{empty:?}: {error}");
        }
        let error = from_variable("GRICE_API_KEYS", Err(VarError::NotUnicode("x".into()))).unwrap_err();
        assert!(error.to_string().contains("GRICE_API_KEYS is not UTF-8"), "{error}");
    }

    #[test]
    fn a_file_that_is_named_holds_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.txt");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            from_file("--api-keys-file", &path)
        };
        let fine = "\u{feff}first-key\r\n# of the second team\r\n\r\n  second-key  \r\n";
        assert_eq!(read(fine.as_bytes()).unwrap(), ["first-key", "second-key"]);
        for empty in ["", "\n", " \r\n\t\n", "# nothing yet", "  # first-key\n#\n", "\u{feff}", "\u{feff}# none\n"] {
            let error = read(empty.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("keys.txt holds no key"), "{empty:?}: {error}");
        }
        assert!(read(b"\xff\xfe").unwrap_err().to_string().contains("keys.txt"));
        let error = from_file("--api-keys-file", Path::new("")).unwrap_err().to_string();
        assert!(error.contains("--api-keys-file names no file"), "{error}");
        let missing = from_file("--api-keys-file", &folder.path().join("none.txt")).unwrap_err().to_string();
        assert!(missing.contains("none.txt"), "{missing}");
    }
}
