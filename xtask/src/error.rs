//! Errors of commands.

use std::path::PathBuf;

/// An error whose text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("`{command}` could not be started: {source}")]
    Start { command: String, source: std::io::Error },
    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: std::process::ExitStatus },
    #[error("`{command}` failed ({status}); failed tests: {}", failures.len())]
    Tests { command: String, status: std::process::ExitStatus, failures: Vec<Failure> },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{place}: {problem}")]
    Unreadable { place: String, problem: String },
    #[error("missing: {}; {remedy}", what.join(", "))]
    Missing { what: Vec<&'static str>, remedy: String },
    #[error("{0} rule(s) broken, listed above")]
    Untidy(usize),
    #[error("failed: {}", .0.join(", "))]
    Parts(Vec<&'static str>),
    #[error("{0} link(s) of the book lead nowhere, listed above")]
    Links(usize),
    #[error("{0}")]
    Release(String),
    #[error("{0} artifact(s) above their size budget in wasm-pack.toml")]
    TooLarge(usize),
}

/// Short for a result with this crate's [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) test: String,
    /// The first lines of its output.
    pub(crate) output: Vec<String>,
}
