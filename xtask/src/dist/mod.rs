//! Release archives: the program for one target with its manual page, completions and licences.
//!
//! ```text
//! build ─► contents ─► archive ─► trial: unpacked, it answers README.md's examples
//! ```

mod archive;
mod build;
mod contents;
pub(crate) mod notes;
mod trial;

use crate::process::step;
use crate::workspace::Workspace;
use crate::{Error, Result};
use build::Build;

/// The target that `dist` packs for; `None` is this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice<'o> {
    target: Option<&'o str>,
}

impl<'o> Choice<'o> {
    /// Reads the options of the command line.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(crate) fn parse(options: &[&'o str]) -> Result<Choice<'o>> {
        match options {
            [] => Ok(Choice { target: None }),
            ["--target", target] if !target.starts_with('-') => Ok(Choice { target: Some(target) }),
            _ => Err(Error::Usage(format!("`dist` takes no `{}`", options.join(" ")))),
        }
    }
}

/// Makes `target/dist/grice-VERSION-TARGET.tar.gz` and tries what is in it.
///
/// # Errors
/// [`Error::Release`] if the program of the archive answers wrongly; errors of files and tools.
pub(crate) fn pack(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let version = workspace.version()?;
    let build = Build::new(choice.target)?;
    let binary = build.run(workspace)?;
    let name = format!("grice-{version}-{}", build.target);
    let file = workspace.target.join("dist").join(format!("{name}.tar.gz"));
    step(format_args!("packing {}", file.display()));
    let files = contents::collect(workspace, &build, &binary)?;
    archive::write(&file, &name, &files)?;
    let unpacked = file.with_file_name("trial");
    archive::unpack(&file, &unpacked)?;
    trial::run(&build, &unpacked.join(&name), version)?;
    let size = std::fs::metadata(&file).map_err(|source| Error::File { path: file.clone(), source })?.len();
    println!("    {}: {}", file.display(), notes::megabytes(size));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_the_target() {
        assert_eq!(Choice::parse(&[]).unwrap(), Choice { target: None });
        let target = "aarch64-unknown-linux-musl";
        assert_eq!(Choice::parse(&["--target", target]).unwrap(), Choice { target: Some(target) });
        for line in [&["--target"][..], &["--target", "--fast"], &["--fast"]] {
            assert!(matches!(Choice::parse(line), Err(Error::Usage(_))), "{line:?}");
        }
    }
}
