//! The demo page: builds the browser artifacts, the npm package and the page, and serves it.

use crate::process::{run, step};
use crate::workspace::Workspace;
use crate::{Error, Result, setup, wasm};

/// Options of `www`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Serve the page on this local port; `None` only builds.
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
                let port = port.parse().map_err(|_| Error::Usage(format!("`{port}` is not a port")))?;
                Ok(Choice { port: Some(port) })
            }
            _ => Err(Error::Usage(format!("`www` takes no `{}`", options.join(" ")))),
        }
    }
}

/// Builds the page into `target/www` and serves it until it is interrupted.
///
/// # Errors
/// Errors of the tools.
pub(crate) fn run_page(workspace: &Workspace, choice: &Choice) -> Result<()> {
    build(workspace)?;
    let Some(port) = choice.port else { return Ok(()) };
    let port = port.to_string();
    let arguments = ["run", "--silent", "serve", "--", "--port", &port];
    run(setup::npm(&arguments).current_dir(workspace.root.join("www")))
}

/// Builds the page and its parts into `target/www`.
///
/// # Errors
/// Errors of the tools.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    // Check for npm first, because building takes minutes.
    setup::install_npm_packages(workspace)?;
    wasm::build_unweighed(workspace)?;
    for (folder, script) in [("web", "build"), ("www", "check"), ("www", "build")] {
        step(format_args!("npm run {script} in {folder}"));
        run(setup::npm(&["run", "--silent", script]).current_dir(workspace.root.join(folder)))?;
    }
    Ok(())
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
}
