//! Release notes: the section of CHANGELOG.md, and the size of each file.

use crate::workspace::{Workspace, read};
use crate::{Error, Result};
use std::path::Path;

/// Options of `notes`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice<'o> {
    /// The folder with the files of the release.
    folder: &'o str,
    /// The tag, which must be that of the version.
    tag: Option<&'o str>,
}

impl<'o> Choice<'o> {
    /// Reads the options of the command line.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(crate) fn parse(options: &[&'o str]) -> Result<Choice<'o>> {
        match options {
            [folder] if !folder.starts_with('-') => Ok(Choice { folder, tag: None }),
            [folder, "--tag", tag] if !folder.starts_with('-') => Ok(Choice { folder, tag: Some(tag) }),
            _ => Err(Error::Usage("`notes` takes a folder, and `--tag` with a tag".to_owned())),
        }
    }
}

/// Prints the notes of this version.
///
/// # Errors
/// [`Error::Release`] if the tag is another version's, or CHANGELOG.md has no section for it; [`Error::File`].
pub(crate) fn print(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let version = workspace.version()?;
    if let Some(tag) = choice.tag
        && tag != format!("v{version}")
    {
        return Err(Error::Release(format!("the tag is {tag}, but the version in Cargo.toml is {version}")));
    }
    let changes = read(&workspace.root.join("CHANGELOG.md"))?;
    let section = section(&changes, version)
        .ok_or_else(|| Error::Release(format!("CHANGELOG.md has no section `## [{version}]`")))?;
    print!("{}\n\n### Files\n\n{}", section.trim(), table(&sizes(Path::new(choice.folder))?));
    Ok(())
}

/// The text under the heading of a version.
pub(crate) fn section<'c>(changes: &'c str, version: &str) -> Option<&'c str> {
    let begin = changes.find(&format!("\n## [{version}]"))? + 1;
    let text = changes[begin..].split_once('\n')?.1;
    Some(text.split("\n## ").next().unwrap_or(text))
}

/// Names and lengths of the files in a folder, by name.
fn sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let unreadable = |source| Error::File { path: folder.to_owned(), source };
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let found = entry.metadata().map_err(unreadable)?;
        if found.is_file() {
            sizes.push((entry.file_name().to_string_lossy().into_owned(), found.len()));
        }
    }
    sizes.sort();
    Ok(sizes)
}

fn table(sizes: &[(String, u64)]) -> String {
    let rows = sizes.iter().map(|(name, bytes)| format!("| `{name}` | {} |\n", megabytes(*bytes)));
    format!("| file | size |\n|---|---|\n{}", rows.collect::<String>())
}

/// Millions of bytes, with a unit.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let changes =
            "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n- one\n\n## [0.1.0]\n- two\n";
        assert_eq!(section(changes, "0.2.0").unwrap().trim(), "### Added\n- one");
        assert_eq!(section(changes, "0.1.0").unwrap().trim(), "- two");
        assert_eq!(section(changes, "0.3.0"), None);
    }

    #[test]
    fn every_file_is_in_the_table() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.tgz"), vec![0; 1_250_000]).unwrap();
        std::fs::write(folder.path().join("a.tar.gz"), vec![0; 40_000]).unwrap();
        let table = table(&sizes(folder.path()).unwrap());
        assert_eq!(table, "| file | size |\n|---|---|\n| `a.tar.gz` | 0.0 MB |\n| `b.tgz` | 1.2 MB |\n");
    }

    #[test]
    fn options_are_read() {
        assert_eq!(Choice::parse(&["x"]).unwrap(), Choice { folder: "x", tag: None });
        assert_eq!(Choice::parse(&["x", "--tag", "v1"]).unwrap(), Choice { folder: "x", tag: Some("v1") });
        assert!(matches!(Choice::parse(&["--tag", "v1"]), Err(Error::Usage(_))));
    }
}
