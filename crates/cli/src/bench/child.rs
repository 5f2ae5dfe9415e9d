//! A process that holds one model. Its memory is that of the model alone, and an idle process costs no time.

use super::named::{Kind, Wanted};
use super::protocol::{Ask, Ready, Sample, Told};
use crate::args::{Bench, Common};
use crate::error::{CliError, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A model in a process of its own.
pub(super) struct ModelProcess {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it said about itself.
    pub(super) ready: Ready,
    pub(super) kind: Kind,
}

impl ModelProcess {
    /// Starts the process and waits until its model is loaded.
    ///
    /// # Errors
    /// [`CliError::BenchModel`] with the error of the model; [`CliError::Child`] if the process cannot be started.
    pub(super) fn start(wanted: &Wanted, args: &Bench, common: &Common) -> Result<ModelProcess> {
        let mut child = command(wanted, args, common)?.spawn().map_err(|error| failed(&error.to_string()))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new).ok_or_else(|| failed("it has no output"))?;
        let mut answers = answers;
        match told(&mut answers)? {
            Told::Ready(ready) => Ok(ModelProcess { child, requests, answers, ready, kind: wanted.kind }),
            other => Err(unexpected(other)),
        }
    }

    /// Runs batches.
    ///
    /// # Errors
    /// As [`ModelProcess::start`].
    pub(super) fn measure(&mut self, ask: Ask) -> Result<Sample> {
        let line = serde_json::to_string(&ask).map_err(|error| failed(&error.to_string()))? + "\n";
        let requests = self.requests.as_mut().ok_or_else(|| failed("it has no input"))?;
        requests.write_all(line.as_bytes()).map_err(|error| failed(&error.to_string()))?;
        match told(&mut self.answers)? {
            Told::Sample(sample) => Ok(sample),
            other => Err(unexpected(other)),
        }
    }
}

impl Drop for ModelProcess {
    /// The process ends with its input.
    fn drop(&mut self) {
        self.requests = None;
        // Nothing depends on how it ends.
        _ = self.child.wait();
    }
}

fn command(wanted: &Wanted, args: &Bench, common: &Common) -> Result<Command> {
    let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["bench-model", "--kind", wanted.kind.name()]);
    command.args(["--tokens", &args.tokens.to_string(), "--new-tokens", &args.new_tokens.to_string()]);
    command.args(["--threads", &crate::model::threads(common).to_string(), "--device", &common.device.to_string()]);
    if let Some(precision) = common.precision {
        command.args(["--precision", precision.name()]);
    }
    if common.quiet {
        command.arg("--quiet");
    }
    let [detector, repair, generator] = &wanted.parts;
    let paths = [("--model", &wanted.path), ("--detector", detector), ("--repair", repair), ("--generator", generator)];
    for (flag, path) in paths {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    // What the environment says is in the arguments.
    command.env_remove("GRICE_MODEL").env_remove("GRICE_PRECISION").env_remove("GRICE_THREADS");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// The next line.
fn told(answers: &mut impl BufRead) -> Result<Told> {
    let mut line = String::new();
    let read = answers.read_line(&mut line).map_err(|error| failed(&error.to_string()))?;
    if read == 0 {
        return Err(failed("it ended early; its own message is above"));
    }
    serde_json::from_str(&line).map_err(|error| failed(&format!("`{}`: {error}", line.trim_end())))
}

fn unexpected(told: Told) -> CliError {
    match told {
        Told::Error(cause) => CliError::BenchModel(cause),
        _ => failed("it gave another answer than asked for"),
    }
}

fn failed(cause: &str) -> CliError {
    CliError::Child { what: "bench-model", cause: cause.to_owned() }
}
