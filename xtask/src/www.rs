//! The demo page: the browser artifacts, the npm package around them, the page around that; then served, or tested.

use crate::process::{find, run, step, succeeds};
use crate::workspace::Workspace;
use crate::{Error, Result, setup, wasm};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `www` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Serve what was built, on this port of the machine itself; `None` only builds.
    pub(crate) port: Option<u16>,
}

impl Choice {
    const PORT: u16 = 8000;

    /// Reads the options of the command line.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(crate) fn parse(options: &[&str]) -> Result<Choice> {
        match options {
            [] => Ok(Choice { port: Some(Choice::PORT) }),
            ["--build"] => Ok(Choice { port: None }),
            ["--port", port] => {
                let port = port.parse().map_err(|_| Error::Usage(format!("`{port}` is no port")))?;
                Ok(Choice { port: Some(port) })
            }
            _ => Err(Error::Usage(format!("`www` takes no `{}`", options.join(" ")))),
        }
    }
}

/// Builds the page into `target/www` and serves it until it is interrupted.
///
/// # Errors
/// [`Error::Missing`] without Node.js; those of the tools.
pub(crate) fn run_page(workspace: &Workspace, choice: &Choice) -> Result<()> {
    build(workspace)?;
    match choice.port {
        Some(port) => {
            let port = port.to_string();
            npm(&workspace.root.join("www"), &["run", "--silent", "serve", "--", "--port", &port])
        }
        None => Ok(()),
    }
}

/// Builds the page and runs its tests in headless Chromium.
///
/// # Errors
/// [`Error::Missing`] naming what is not installed; those of the tools.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let lacks = setup::browser_lacks(workspace);
    if !lacks.is_empty() {
        let remedy = "`cargo xtask setup` says how to get it, `--skip www` goes without".to_owned();
        return Err(Error::Missing { what: lacks, remedy });
    }
    build(workspace)?;
    step("tests of the demo page in headless Chromium");
    npm(&workspace.root.join("www"), &["run", "--silent", "test"])
}

fn build(workspace: &Workspace) -> Result<()> {
    // Asked before minutes of building rather than after.
    find_npm()?;
    wasm::build_unweighed(workspace)?;
    for folder in ["web", "www"].map(|name| workspace.root.join(name)) {
        step(format_args!("building {}", folder.display()));
        install_packages(&folder)?;
        if folder.ends_with("www") {
            npm(&folder, &["run", "--silent", "check"])?;
        }
        npm(&folder, &["run", "--silent", "build"])?;
    }
    Ok(())
}

/// What a folder's lock file names, unless it is there already.
fn install_packages(folder: &Path) -> Result<()> {
    let changed = |file: &str| folder.join(file).metadata().and_then(|metadata| metadata.modified()).ok();
    // npm writes the second when it is done.
    let (locked, installed) = (changed("package-lock.json"), changed("node_modules/.package-lock.json"));
    if locked.is_some() && installed >= locked {
        return Ok(());
    }
    npm(folder, &["ci", "--no-audit", "--no-fund", "--loglevel=error"])
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new(find_npm()?).args(arguments).current_dir(folder))
}

fn find_npm() -> Result<PathBuf> {
    let names: &[&str] = if cfg!(windows) { &["npm.cmd"] } else { &["npm"] };
    let npm = find(names).filter(|_| has_node());
    npm.ok_or_else(|| Error::Missing { what: vec![NODE], remedy: "`cargo xtask setup` says how to get it".to_owned() })
}

/// What setup calls it.
pub(crate) const NODE: &str = "Node.js 20 or newer, with npm (builds the npm package and the demo page)";

/// Whether Node.js is there and new enough.
pub(crate) fn has_node() -> bool {
    let is_new = "process.exit(Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)";
    succeeds(Command::new("node").args(["--eval", is_new])) && find(&["npm", "npm.cmd"]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_whether_and_where_it_is_served() {
        assert_eq!(Choice::parse(&[]).unwrap(), Choice { port: Some(8000) });
        assert_eq!(Choice::parse(&["--build"]).unwrap(), Choice { port: None });
        assert_eq!(Choice::parse(&["--port", "8123"]).unwrap(), Choice { port: Some(8123) });
        for line in [&["--port"][..], &["--port", "80000"], &["--serve"], &["--build", "--port", "1"]] {
            assert!(matches!(Choice::parse(line), Err(Error::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn packages_that_the_lock_file_names_are_installed_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "{}").unwrap();
        write("package-lock.json");
        std::fs::create_dir(folder.path().join("node_modules")).unwrap();
        write("node_modules/.package-lock.json");
        // There is no package.json: npm, if it were asked, would refuse.
        assert!(install_packages(folder.path()).is_ok());
    }
}
