//! Cargo's data about the workspace.

use crate::{Error, Result, process};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace from `cargo metadata`; dependencies as written, not as resolved.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// A member.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency in a member's manifest.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) kind: Kind,
}

/// The table of a dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Normal,
    Build,
    Dev,
}

impl Workspace {
    /// Runs cargo.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Unreadable`].
    pub(crate) fn find() -> Result<Workspace> {
        let json = process::capture(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_slice(&json)
            .map_err(|error| Error::Unreadable { place: "cargo metadata".to_owned(), problem: error.to_string() })
    }

    /// The version that all members share.
    ///
    /// # Errors
    /// [`Error::Unreadable`] without `grice-cli`.
    pub(crate) fn version(&self) -> Result<&str> {
        let cli = self.packages.iter().find(|package| package.name == "grice-cli");
        let lacking = || Error::Unreadable { place: "cargo metadata".to_owned(), problem: "no `grice-cli`".to_owned() };
        cli.map(|package| package.version.as_str()).ok_or_else(lacking)
    }

    /// The folder for tools of exact versions, separate from the user's own.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A tool in that folder.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        process::program_in(&self.tools().join("bin"), name)
    }

    /// A virtual environment of Python packages that tests import.
    pub(crate) fn venv(&self) -> PathBuf {
        self.tools().join("python")
    }

    /// Its interpreter.
    pub(crate) fn venv_python(&self) -> PathBuf {
        process::program_in(&self.venv().join(if cfg!(windows) { "Scripts" } else { "bin" }), "python")
    }

    /// The version of a crate in Cargo.lock.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is missing.
    pub(crate) fn locked_version(&self, name: &str) -> Result<String> {
        let lock = read_toml(&self.root.join("Cargo.lock"))?;
        let packages = lock.get("package").and_then(toml::Value::as_array);
        let package = packages
            .into_iter()
            .flatten()
            .find(|package| package.get("name").is_some_and(|n| n.as_str() == Some(name)));
        let version = package.and_then(|package| package.get("version")).and_then(toml::Value::as_str);
        version
            .map(str::to_owned)
            .ok_or_else(|| Error::Unreadable { place: "Cargo.lock".to_owned(), problem: format!("no `{name}` in it") })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)?.as_deref() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        })
    }
}

/// The cargo that started this program, with arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Reads a TOML file.
///
/// # Errors
/// [`Error::File`], [`Error::Unreadable`].
pub(crate) fn read_toml(path: &Path) -> Result<toml::Table> {
    read(path)?.parse().map_err(|error: toml::de::Error| Error::Unreadable {
        place: path.display().to_string(),
        problem: error.to_string(),
    })
}

/// Reads a text file.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
