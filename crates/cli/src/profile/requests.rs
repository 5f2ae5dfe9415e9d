//! `profile latency --stdin`: reads one batch per line and prints its times. The model stays loaded, so that a script can alternate with
//! another program every few tenths of a second, and the current load affects both.

use super::latency::time_batch;
use super::statistics::rounded;
use super::{load_subject, synthetic_batch};
use crate::args::{Common, SHAPE_TOKENS_MAX, Shape};
use crate::error::{CliError, Result};
use crate::output::write_stdout;
use crate::workers::Workers;
use grice_core::{Engine, Precision};
use serde::Serialize;
use std::io;

/// The first line, after the model is loaded.
#[derive(Serialize)]
struct Ready<'a> {
    version: &'static str,
    model: &'a str,
    precision: Precision,
    device: &'static str,
    kernels: &'static str,
    #[serde(flatten)]
    workers: &'a Workers,
    load_ms: f64,
}

/// The answer to a line.
#[derive(Serialize)]
struct Times {
    times_ms: Vec<f64>,
}

/// Answers each line until the input ends.
///
/// # Errors
/// The number of the first line that is invalid or has a batch that the model cannot run.
pub(super) fn run(common: &Common) -> Result<()> {
    let mut subject = load_subject(common)?;
    let info = subject.engine.info();
    write_line(&Ready {
        version: env!("CARGO_PKG_VERSION"),
        model: &subject.name,
        precision: subject.precision,
        device: info.device,
        kernels: info.kernels,
        workers: &subject.workers,
        load_ms: rounded(subject.load.as_secs_f64() * 1e3),
    })?;
    let place = || "standard input".to_owned();
    for (index, line) in io::stdin().lines().enumerate() {
        let line = line.map_err(|source| CliError::Read { place: place(), source })?;
        let at_fault = |cause: String| CliError::BadRequest { line: index + 1, cause };
        let (lengths, runs) = parse_request(&line).map_err(at_fault)?;
        let batch = synthetic_batch(&lengths, subject.vocabulary)?;
        let times = time_batch(&mut subject.engine, &batch, 0, runs).map_err(|error| at_fault(error.to_string()))?;
        write_line(&Times { times_ms: times.into_iter().map(rounded).collect() })?;
    }
    Ok(())
}

/// The lengths of a batch's sequences, and the number of runs: `8x128 5`, `31,17,90 3`, or without a number for one run.
fn parse_request(line: &str) -> Result<(Vec<usize>, usize), String> {
    let usage = || format!("`{line}` is not a request; write 8x128 5, or 31,17,90 5: a batch and the number of runs");
    let mut words = line.split_whitespace();
    let (batch, runs, rest) = (words.next().ok_or_else(usage)?, words.next().unwrap_or("1"), words.next());
    let runs = runs.parse().ok().filter(|&runs| runs > 0 && rest.is_none()).ok_or_else(usage)?;
    if batch.contains('x') {
        let shape: Shape = batch.parse().map_err(|cause| format!("`{batch}`: {cause}"))?;
        return Ok((shape.lengths(), runs));
    }
    let lengths: Option<Vec<usize>> = batch.split(',').map(|length| length.parse().ok().filter(|&n| n > 0)).collect();
    let lengths = lengths.ok_or_else(usage)?;
    match lengths.iter().fold(0usize, |sum, &length| sum.saturating_add(length)) {
        ..=SHAPE_TOKENS_MAX => Ok((lengths, runs)),
        tokens => Err(format!("{tokens} tokens are more than the {SHAPE_TOKENS_MAX} allowed in one batch")),
    }
}

fn write_line(value: &impl Serialize) -> Result<()> {
    write_stdout((serde_json::to_string(value).unwrap_or_default() + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_batch_and_a_count() {
        assert_eq!(parse_request("2x3 5"), Ok((vec![3, 3], 5)));
        assert_eq!(parse_request(" 31,17  2 "), Ok((vec![31, 17], 2)));
        assert_eq!(parse_request("7"), Ok((vec![7], 1)));
        for bad in ["", "x", "0x8", "2x3 0", "2x3 -1", "2x3 1 1", "3,,4", "3,0", "3,a", "2097152", "1e3"] {
            assert!(parse_request(bad).is_err(), "{bad}");
        }
    }
}
