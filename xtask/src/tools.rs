//! Tools that cargo installs in one exact version, under `target/tools`, separate from the user's own.

use crate::process::{run, step};
use crate::workspace::{Workspace, cargo};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program from the registry.
pub(crate) struct Tool<'t> {
    /// Its package.
    pub(crate) package: &'t str,
    /// Its binary.
    pub(crate) program: &'t str,
    pub(crate) version: &'t str,
    /// More arguments for `cargo install`.
    pub(crate) features: &'t [&'t str],
}

/// Makes the book; without its own web server.
pub(crate) const MDBOOK: Tool = Tool {
    package: "mdbook",
    program: "mdbook",
    version: "0.5.4",
    features: &["--no-default-features", "--features", "search"],
};

/// Collects the licences of the dependencies.
pub(crate) const CARGO_ABOUT: Tool =
    Tool { package: "cargo-about", program: "cargo-about", version: "0.9.3", features: &["--features", "cli"] };

/// The program, which is installed first if this version is not there.
///
/// # Errors
/// Errors of cargo.
pub(crate) fn install(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let program = workspace.tool(tool.program);
    if !has_version(&program, tool.version) {
        fetch(workspace, tool)?;
    }
    Ok(program)
}

/// Compiles and installs a program.
///
/// # Errors
/// Errors of cargo.
pub(crate) fn fetch(workspace: &Workspace, tool: &Tool) -> Result<()> {
    step(format_args!("installing {} {} into target/tools (a few minutes, once)", tool.package, tool.version));
    let install = |extra: &[&str]| {
        let mut command = cargo(&["install", tool.package, "--version", tool.version, "--root"]);
        command.arg(workspace.tools()).args(["--quiet", "--force"]).args(tool.features).args(extra);
        // Do not spend minutes optimising a tool that runs for seconds.
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        run(command.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR"))
    };
    install(&["--locked"]).or_else(|error| match error {
        // A registry mirror may lack the newest dependencies in the tool's own lock file.
        Error::Failed { .. } => {
            step(format_args!("{error}; trying again with the newest dependencies in the registry"));
            install(&[])
        }
        error => Err(error),
    })
}

/// Whether a program says that it has this version.
pub(crate) fn has_version(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    let said = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    said.split_whitespace().nth(1).map(|word| word.trim_start_matches('v')) == Some(version)
}
