//! What an archive contains.

use super::build::Build;
use crate::process::{capture, run, step};
use crate::workspace::Workspace;
use crate::{Error, Result, tools};
use std::path::Path;
use std::process::Command;

/// A file of an archive.
pub(super) struct File {
    /// Its path in the archive's folder.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) is_program: bool,
}

/// Shells, and the name that each expects of a completion script.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "grice.bash"),
    ("elvish", "grice.elv"),
    ("fish", "grice.fish"),
    ("powershell", "_grice.ps1"),
    ("zsh", "_grice"),
];

/// Files of the repository, and their paths in the archive. The models in the program have licences of their own.
const COPIES: [(&str, &str); 6] = [
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE", "LICENSE"),
    ("docs/installing.md", "INSTALL.md"),
    ("models/detector-mini/README.md", "licences/detector-mini.md"),
    ("models/repair-mini/LICENSE-NOTES.md", "licences/repair-mini.md"),
    ("training/cdla_sharing_1.0.txt", "licences/cdla-sharing-1.0.txt"),
];

/// Collects the files, the program first.
///
/// # Errors
/// [`Error::File`]; errors of the program and of cargo-about.
pub(super) fn collect(workspace: &Workspace, build: &Build, binary: &Path) -> Result<Vec<File>> {
    let text = |path: String, bytes| File { path, bytes, is_program: false };
    let name = build.program_name().to_owned();
    let mut files = vec![File { path: name, bytes: read_bytes(binary)?, is_program: true }];
    files.push(text("man/grice.1".to_owned(), capture(build.start(binary).arg("man"))?));
    for (shell, file) in COMPLETIONS {
        let script = capture(build.start(binary).args(["completions", shell]))?;
        files.push(text(format!("completions/{file}"), script));
    }
    for (from, to) in COPIES {
        files.push(text(to.to_owned(), read_bytes(&workspace.root.join(from))?));
    }
    files.push(text("licences/dependencies.txt".to_owned(), licences(workspace, build)?));
    Ok(files)
}

/// The licences of all crates in the program, with their texts.
fn licences(workspace: &Workspace, build: &Build) -> Result<Vec<u8>> {
    let about = tools::install(workspace, &tools::CARGO_ABOUT)?;
    let file = workspace.target.join("dist").join(format!("licences-{}.txt", build.target));
    step("cargo about");
    let mut command = Command::new(about);
    command.args(["generate", "--locked", "--fail", "--target", &build.target]).args(build.features());
    command.arg("--manifest-path").arg(workspace.root.join("crates/cli/Cargo.toml"));
    command.arg("--config").arg(workspace.root.join("about.toml")).arg("--output-file").arg(&file);
    run(command.arg(workspace.root.join("about.hbs")).current_dir(&workspace.root))?;
    read_bytes(&file)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
