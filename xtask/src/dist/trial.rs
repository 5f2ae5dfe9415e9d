//! Tries an unpacked archive: the program alone answers README.md's examples.

use super::build::Build;
use crate::process::{capture, step};
use crate::{Error, Result};
use std::path::Path;
use std::process::Command;

/// README.md's examples without `cargo run --release --`, and what the answer contains.
const EXAMPLES: [(&[&str], &str); 2] = [
    (
        &["detect", "--context", "What did you think of the film?", "--response", "Yes."],
        r#""violations":{"quantity":true,"quality":false,"relation":false,"manner":false}"#,
    ),
    (
        &[
            "repair",
            "--context",
            "What did you think of the film?",
            "--response",
            "I liked it. I liked it a lot. In other words, the film was liked by me a lot.",
        ],
        r#""repaired":"I liked it. I liked it a lot.""#,
    ),
];

/// Runs the program of an unpacked archive. It sees no variable of the environment, so it finds no compiler and no settings.
///
/// # Errors
/// [`Error::Release`] for another answer, [`Error::Failed`].
pub(super) fn run(build: &Build, folder: &Path, version: &str) -> Result<()> {
    let program = folder.join(build.program_name());
    step(format_args!("trying {}", program.display()));
    expect(&mut alone(build, &program, &["--version"]), &format!("grice {version}"))?;
    for (arguments, answer) in EXAMPLES {
        expect(&mut alone(build, &program, &[arguments, &["--json"]].concat()), answer)?;
    }
    Ok(())
}

fn alone(build: &Build, program: &Path, arguments: &[&str]) -> Command {
    let mut command = build.start(program);
    command.args(arguments).env_clear();
    // Windows itself needs it, to find its libraries.
    command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
    command
}

fn expect(command: &mut Command, answer: &str) -> Result<()> {
    let said = capture(command)?;
    let said = String::from_utf8_lossy(&said);
    if said.contains(answer) {
        return Ok(());
    }
    let line = crate::process::display(command);
    Err(Error::Release(format!("`{line}` should have answered {answer}, and answered {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_those_of_the_readme() {
        let readme = include_str!("../../../README.md");
        for (arguments, _) in EXAMPLES {
            let quoted = arguments.iter().map(|word| match word.contains(' ') || word.ends_with('.') {
                true => format!("\"{word}\""),
                false => (*word).to_owned(),
            });
            let line = format!("cargo run --release -- {}", quoted.collect::<Vec<_>>().join(" "));
            assert!(readme.lines().any(|written| written == line), "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn another_answer_is_an_error() {
        assert!(expect(Command::new("echo").arg("grice 1.0"), "grice 1.0").is_ok());
        let error = expect(Command::new("echo").arg("grice 1.0"), "grice 2.0").unwrap_err();
        assert_eq!(error.to_string(), "`echo grice 1.0` should have answered grice 2.0, and answered grice 1.0");
    }
}
