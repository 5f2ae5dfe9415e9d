//! Compiles the program for a release.

use crate::process::{capture, find, run, step};
use crate::workspace::{Workspace, cargo};
use crate::{Error, Result, setup};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROFILE: &str = "dist";

/// How the program is compiled for a target.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) target: String,
}

impl Build {
    /// For a target, or for this machine.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if rustc does not say what this machine is.
    pub(super) fn new(target: Option<&str>) -> Result<Build> {
        Ok(Build { target: target.map_or_else(host, |target| Ok(target.to_owned()))? })
    }

    /// Whether the program needs no library of the system.
    fn is_static(&self) -> bool {
        self.target.ends_with("-linux-musl")
    }

    /// The features. A static program cannot load a GPU's driver, so it has no GPU engine.
    pub(super) fn features(&self) -> &'static [&'static str] {
        if self.is_static() { &["--no-default-features", "--features", "embedded-model,postgres"] } else { &[] }
    }

    /// The program's name in a folder.
    pub(super) fn program_name(&self) -> &'static str {
        if self.target.contains("-windows-") { "grice.exe" } else { "grice" }
    }

    /// Compiles it and returns its path.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Failed`].
    pub(super) fn run(&self, workspace: &Workspace) -> Result<PathBuf> {
        setup::install_target(&self.target)?;
        if self.is_static() && find(&[&format!("cargo-zigbuild{}", std::env::consts::EXE_SUFFIX)]).is_none() {
            let remedy = "it links static programs: pip install -r deploy/release/requirements.txt".to_owned();
            return Err(Error::Missing { what: vec!["cargo-zigbuild"], remedy });
        }
        step(format_args!("building grice for {}", self.target));
        let mut command =
            cargo(&[if self.is_static() { "zigbuild" } else { "build" }, "--locked", "--profile", PROFILE]);
        command.args(["--package", "grice-cli", "--target", &self.target]).args(self.features());
        run(command.current_dir(&workspace.root))?;
        Ok(workspace.target.join(&self.target).join(PROFILE).join(self.program_name()))
    }

    /// A command for a program of the target; under the runner that cargo would use, if one is set.
    pub(super) fn start(&self, program: &Path) -> Command {
        let variable = format!("CARGO_TARGET_{}_RUNNER", self.target.to_uppercase().replace('-', "_"));
        let runner = std::env::var(variable).unwrap_or_default();
        let mut words = runner.split_whitespace();
        let Some(first) = words.next() else { return Command::new(program) };
        // By path, because the command may get an empty environment.
        let mut command = Command::new(find(&[first]).unwrap_or_else(|| first.into()));
        command.args(words).arg(program);
        command
    }
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = capture(Command::new(rustc).arg("-vV"))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Error::Unreadable { place: "rustc -vV".to_owned(), problem: "it names no host".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_are_without_a_gpu() {
        let features = |target: &str| Build { target: target.to_owned() }.features().join(" ");
        assert!(features("aarch64-unknown-linux-musl").contains("--no-default-features"));
        assert_eq!(features("x86_64-unknown-linux-gnu"), "");
        assert_eq!(Build::new(Some("x86_64-pc-windows-msvc")).unwrap().program_name(), "grice.exe");
    }

    #[test]
    fn this_machine_has_a_target() {
        let target = Build::new(None).unwrap().target;
        assert!(target.contains(std::env::consts::ARCH) && target.split('-').count() >= 3, "{target}");
    }
}
