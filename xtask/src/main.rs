//! Development commands of the repository: `cargo xtask <command>`.
//!
//! ```text
//! setup ─► test ─► ci        tidy (dependencies and other rules)        wasm (the browser artifacts) ─► www (the demo page)
//! book (the documentation as a website)        dist (a release archive) ─► notes
//! ```
//!
//! It starts tools and checks their results; it builds nothing itself.

mod book;
mod dist;
mod error;
mod failures;
mod markdown;
mod process;
mod rustc;
mod setup;
mod suite;
mod tidy;
mod tools;
mod wasm;
mod workspace;
mod www;

use error::{Error, Result};
use std::process::ExitCode;
use suite::Part;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup   install missing tools for the tests
  test    setup, then all tests: tidy, native tests with doctests, wasm tests in a headless browser, the npm package, the demo page
            --skip tidy|native|browser|web|www   skip a part (the summary shows it)
            --no-setup                           do not install anything
  ci      formatting, clippy, licences, then `test`, then the npm package in Next.js
  tidy    check the dependencies between crates and the other rules of the repository
  wasm    build the browser artifacts of wasm-pack.toml and check their size budgets
  www     build the demo page into target/www, and serve it on this machine
            --port N   on this port instead of 8000
            --build    only build
  book    build the documentation as a website with a search into target/book/html
  dist    build a release archive for this machine in target/dist, and try it
            --target TARGET   for another target; CARGO_TARGET_…_RUNNER names a program that runs its programs
  notes FOLDER   print the release notes: changes, and the sizes of the files in the folder
            --tag TAG   fail if this is not the tag of the version in Cargo.toml

exit codes: 0 success, 1 a check failed, 2 wrong usage
";

fn main() -> ExitCode {
    if let Some(code) = rustc::wrap() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Usage(problem)) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((&command, options)) = arguments.split_first() else {
        return Err(Error::Usage("name a command".to_owned()));
    };
    if ["help", "--help", "-h"].contains(&command) || options.contains(&"--help") {
        print!("{USAGE}");
        return Ok(());
    }
    match command {
        "test" => suite::test(&Workspace::find()?, &parse_test(options)?),
        "www" => {
            let choice = www::Choice::parse(options)?;
            www::run_page(&Workspace::find()?, &choice)
        }
        "dist" => {
            let choice = dist::Choice::parse(options)?;
            dist::pack(&Workspace::find()?, &choice)
        }
        "notes" => {
            let choice = dist::notes::Choice::parse(options)?;
            dist::notes::print(&Workspace::find()?, &choice)
        }
        _ if !options.is_empty() => Err(Error::Usage(format!("`{command}` takes no `{}`", options.join(" ")))),
        "setup" => setup::install(&Workspace::find()?),
        "ci" => suite::ci(&Workspace::find()?),
        "tidy" => tidy::check(&Workspace::find()?),
        "book" => book::build(&Workspace::find()?),
        "wasm" => wasm::build_all(&Workspace::find()?),
        _ => Err(Error::Usage(format!("there is no command `{command}`"))),
    }
}

fn parse_test(options: &[&str]) -> Result<suite::Choice> {
    let mut choice = suite::Choice { setup: true, skipped: Vec::new() };
    let mut options = options.iter();
    while let Some(&option) = options.next() {
        match option {
            "--no-setup" => choice.setup = false,
            "--skip" => {
                let name = options.next().copied().unwrap_or("nothing");
                let part = Part::named(name).ok_or_else(|| Error::Usage(format!("`--skip` cannot skip `{name}`")))?;
                choice.skipped.push(part);
            }
            _ => return Err(Error::Usage(format!("`test` takes no `{option}`"))),
        }
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_that_make_no_sense_are_usage_errors() {
        for line in [
            &[][..],
            &["fly"],
            &["tidy", "--fast"],
            &["test", "--skip"],
            &["test", "--skip", "all"],
            &["www", "--fast"],
            &["dist", "--target"],
            &["notes"],
        ] {
            let line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
            assert!(matches!(run(&line), Err(Error::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn test_options_are_read() {
        let choice = parse_test(&["--no-setup", "--skip", "browser"]).unwrap();
        assert!(!choice.setup);
        assert_eq!(choice.skipped, [Part::Browser]);
    }
}
