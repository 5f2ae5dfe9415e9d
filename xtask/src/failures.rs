//! Runs a program of tests, passes its output on and keeps what it says about failed tests, so that the summary can repeat it: a
//! log of many thousand lines is often cut.

use crate::error::{Error, Failure, Result};
use crate::process::display;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// Lines of a failed test's own output that the summary repeats.
const LINES_MAX: usize = 12;

/// Runs tests to their end. Standard output is passed on line by line, standard error directly.
///
/// # Errors
/// [`Error::Start`], [`Error::Tests`].
pub(crate) fn run_tests(command: &mut Command) -> Result<()> {
    let line = display(command);
    let failed_to_start = |source| Error::Start { command: line.clone(), source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed_to_start)?;
    let failures = child.stdout.take().map(pass_on).unwrap_or_default();
    match child.wait().map_err(failed_to_start)? {
        status if status.success() => Ok(()),
        status => Err(Error::Tests { command: line, status, failures }),
    }
}

fn pass_on(output: impl Read) -> Vec<Failure> {
    let mut reader = Reader::default();
    // Split at bytes: a line that is not UTF-8 must not end the reading, or the program would wait for its reader for ever.
    for line in BufReader::new(output).split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        reader.read(line.trim_end());
    }
    reader.finish()
}

/// Reads the output of Rust's test programs and of `node --test`, line by line.
#[derive(Default)]
struct Reader {
    failures: Vec<Failure>,
    /// The failure whose output is being read.
    open: bool,
    /// A Rust test program has begun and has not told its result.
    running: bool,
    /// The latest test that the running program told about.
    latest: String,
}

impl Reader {
    fn read(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            // Natively "NAME stdout", in browsers "NAME output".
            self.begin(test.rsplit_once(' ').map_or(test, |(name, _)| name));
        } else if let Some(test) = line.trim_start().strip_prefix("not ok ") {
            self.begin(test);
        } else if line.starts_with("running ") && line.contains(" test") {
            self.expect_result();
            self.running = true;
        } else if line.starts_with("test result: ") {
            self.running = false;
            self.open = false;
        } else if line == "failures:" || line.trim_start().starts_with("ok ") {
            self.open = false;
        } else if let Some(test) = line.strip_prefix("test ") {
            self.latest = test.to_owned();
        } else if self.open {
            self.keep(line);
        }
    }

    fn begin(&mut self, test: &str) {
        self.failures.push(Failure { test: test.to_owned(), output: Vec::new() });
        self.open = true;
    }

    fn keep(&mut self, line: &str) {
        if let Some(failure) = self.failures.last_mut()
            && failure.output.len() < LINES_MAX
            && !line.trim().is_empty()
        {
            failure.output.push(line.to_owned());
        }
    }

    /// A program that ended without a result was stopped by a signal or left early.
    fn expect_result(&mut self) {
        if self.running {
            let test = "a test program ended without a result".to_owned();
            self.failures
                .push(Failure { test, output: vec![format!("the latest line about a test: {}", self.latest)] });
        }
        self.running = false;
        self.open = false;
    }

    fn finish(mut self) -> Vec<Failure> {
        self.expect_result();
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Vec<Failure> {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.read(line));
        reader.finish()
    }

    fn failure(test: &str, output: &[&str]) -> Failure {
        Failure { test: test.to_owned(), output: output.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn rust_failures_are_kept_with_their_output() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\nthread 'b' panicked at x.rs:1:2:\n\
                      left is not right\n\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed\n\nrunning 1 test\ntest c ... ok\n\n\
                      test result: ok. 1 passed\n";
        assert_eq!(read(output), [failure("b", &["thread 'b' panicked at x.rs:1:2:", "left is not right"])]);
    }

    #[test]
    fn a_program_that_ends_without_a_result_is_a_failure() {
        let output = "running 2 tests\ntest a ... ok\n\nrunning 1 test\ntest c ... ok\ntest result: ok. 1 passed\n";
        let expected = failure("a test program ended without a result", &["the latest line about a test: a ... ok"]);
        assert_eq!(read(output), [expected]);
    }

    #[test]
    fn node_failures_are_kept_with_their_output() {
        let output = "TAP version 13\n# Subtest: one\nok 1 - one\n# Subtest: two\nnot ok 2 - two\n  error: 'no'\nok 3 - three\n  more\n";
        assert_eq!(read(output), [failure("2 - two", &["  error: 'no'"])]);
    }

    #[test]
    fn long_output_is_cut() {
        let output = format!("---- a stdout ----\n{}", "line\n".repeat(2 * LINES_MAX));
        assert_eq!(read(&output)[0].output.len(), LINES_MAX);
    }
}
