//! The test suite: its parts in order, and their results.

use crate::error::Failure;
use crate::failures::run_tests;
use crate::process::{find, run, step, succeeds};
use crate::workspace::{Workspace, cargo};
use crate::{Error, Result, setup, tidy, wasm, www};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time limit of a browser test in seconds: generous, because a busy machine may load the model ten times slower.
const BROWSER_SECONDS_MAX: &str = "900";

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Tidy,
    Native,
    Browser,
    Web,
    Www,
}

/// Options of `test`.
pub(crate) struct Choice {
    /// Install missing tools first.
    pub(crate) setup: bool,
    /// Parts to skip.
    pub(crate) skipped: Vec<Part>,
}

enum Outcome {
    Passed(Duration),
    Failed(Error),
    Skipped(&'static str),
}

impl Part {
    const ALL: [Part; 5] = [Part::Tidy, Part::Native, Part::Browser, Part::Web, Part::Www];

    fn name(self) -> &'static str {
        match self {
            Part::Tidy => "tidy",
            Part::Native => "native",
            Part::Browser => "browser",
            Part::Web => "web",
            Part::Www => "www",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.name() == name)
    }

    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Part::Tidy => tidy::check(workspace),
            Part::Native => test_native(workspace),
            Part::Browser => test_browser(workspace),
            Part::Web => test_web(workspace),
            Part::Www => test_www(workspace),
        }
    }
}

/// Runs the suite and prints a summary. A part that cannot run has failed, unless it was skipped with an option: green must mean
/// that everything ran.
///
/// # Errors
/// [`Error::Parts`] with the failed parts.
pub(crate) fn test(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let mut outcomes = Vec::new();
    if choice.setup {
        // Continue after a failure: native tests need none of these tools, and the other parts name what they lack.
        outcomes.push(("setup", timed(|| setup::install(workspace))));
    }
    for part in Part::ALL {
        let outcome = match choice.skipped.contains(&part) {
            true => Outcome::Skipped("because of --skip"),
            false => timed(|| part.run(workspace)),
        };
        outcomes.push((part.name(), outcome));
    }
    sum_up(outcomes)
}

/// Everything that a change must pass.
///
/// # Errors
/// [`Error::Parts`] with the failed parts.
pub(crate) fn ci(workspace: &Workspace) -> Result<()> {
    let mut outcomes = vec![
        ("fmt", timed(|| run(cargo(&["fmt", "--all", "--check"]).current_dir(&workspace.root)))),
        ("clippy", timed(|| clippy(workspace))),
    ];
    outcomes.push((
        "deny",
        match succeeds(&mut cargo(&["deny", "--version"])) {
            true => timed(|| {
                // Advisories are in a git repository that a build machine may not reach, so check only the tree.
                run(cargo(&["deny", "check", "bans", "licenses", "sources"]).current_dir(&workspace.root))
            }),
            false => Outcome::Skipped("cargo-deny is not installed: cargo install cargo-deny --locked"),
        },
    ));
    let all = Choice { setup: true, skipped: Vec::new() };
    outcomes.push(("test", timed(|| test(workspace, &all))));
    outcomes.push(("next", timed(|| test_next(workspace))));
    sum_up(outcomes)
}

/// Uses the profile of the tests.
fn clippy(workspace: &Workspace) -> Result<()> {
    let arguments = ["clippy", "--release", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    run(cargo(&arguments).current_dir(&workspace.root))
}

/// Includes the doctests, because no test target is named.
fn test_native(workspace: &Workspace) -> Result<()> {
    step("native tests");
    run_tests(cargo(&["test", "--release", "--workspace", "--no-fail-fast"]).current_dir(&workspace.root))
}

fn test_browser(workspace: &Workspace) -> Result<()> {
    step("wasm tests in headless Chromium");
    refuse_without(setup::browser_lacks(workspace), Part::Browser)?;
    let mut command = cargo(&[
        "test",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
        "--package",
        "grice-wasm",
        "--test",
        "browser",
        "--test",
        "gpu",
        "--test",
        "texts",
    ]);
    command
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", workspace.tool("wasm-bindgen-test-runner"))
        .env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_SECONDS_MAX)
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60");
    if let Some(driver) = driver() {
        command.env("CHROMEDRIVER", driver);
    }
    run_tests(&mut command)
}

/// The shipped artifacts with their size budgets, and the npm package made of them.
fn test_web(workspace: &Workspace) -> Result<()> {
    refuse_without(setup::web_lacks(workspace), Part::Web)?;
    wasm::build_all(workspace)?;
    for script in ["build", "lint", "test"] {
        step(format_args!("npm run {script} in web"));
        run_tests(setup::npm(&["run", "--silent", script]).current_dir(workspace.root.join("web")))?;
    }
    Ok(())
}

/// The npm package in a Next.js project: only in `ci`, because its packages are hundreds of megabytes. Uses the build of `test`.
fn test_next(workspace: &Workspace) -> Result<()> {
    refuse_without(setup::web_lacks(workspace), Part::Web)?;
    step("npm run test:next in web");
    run(setup::npm(&["run", "--silent", "test:next"]).current_dir(workspace.root.join("web")))
}

/// Builds and tests the demo page.
fn test_www(workspace: &Workspace) -> Result<()> {
    refuse_without(setup::web_lacks(workspace), Part::Www)?;
    www::build(workspace)?;
    step("npm run test in www");
    run_tests(setup::npm(&["run", "--silent", "test"]).current_dir(workspace.root.join("www")))
}

fn refuse_without(lacks: Vec<&'static str>, part: Part) -> Result<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    let remedy = format!("`cargo xtask setup` installs it or says how; `--skip {}` skips this part", part.name());
    Err(Error::Missing { what: lacks, remedy })
}

fn driver() -> Option<PathBuf> {
    std::env::var_os("CHROMEDRIVER").map(PathBuf::from).or_else(|| find(&["chromedriver"]))
}

fn timed(part: impl FnOnce() -> Result<()>) -> Outcome {
    let started = Instant::now();
    match part() {
        Ok(()) => Outcome::Passed(started.elapsed()),
        Err(error) => {
            // Print it here too, next to the part's own output.
            eprintln!("xtask: {error}");
            Outcome::Failed(error)
        }
    }
}

fn sum_up(outcomes: Vec<(&'static str, Outcome)>) -> Result<()> {
    println!("\nsummary");
    let mut failed = Vec::new();
    for (name, outcome) in &outcomes {
        match outcome {
            Outcome::Passed(time) => println!("  {name:<8} ok       {:>4} s", time.as_secs()),
            Outcome::Skipped(reason) => println!("  {name:<8} SKIPPED  {reason}"),
            Outcome::Failed(error) => {
                println!("  {name:<8} FAILED   {error}");
                failed.push(*name);
            }
        }
    }
    for (name, outcome) in &outcomes {
        if let Outcome::Failed(Error::Tests { failures, .. }) = outcome {
            failures.iter().for_each(|failure| repeat(name, failure));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::Parts(failed)) }
}

/// Prints what a failed test said once more.
fn repeat(part: &str, failure: &Failure) {
    println!("\nfailed in {part}: {}", failure.test);
    failure.output.iter().for_each(|line| println!("  {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_part_is_no_failure_and_a_failed_one_is() {
        let passed = || ("tidy", Outcome::Passed(Duration::ZERO));
        assert!(sum_up(vec![passed(), ("browser", Outcome::Skipped("because of --skip"))]).is_ok());
        let failed = ("native", Outcome::Failed(Error::Untidy(1)));
        assert!(matches!(sum_up(vec![passed(), failed]), Err(Error::Parts(parts)) if parts == ["native"]));
    }
}
