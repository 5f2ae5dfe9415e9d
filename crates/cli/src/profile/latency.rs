//! `profile latency`: times of whole batches.

use super::statistics::{Statistics, digits_for, rounded};
use super::{Subject, load_subject, synthetic_batch};
use crate::args::{Common, ProfileLatency, Shape};
use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file, write_stdout};
use crate::terminal::Terminal;
use crate::workers::{Workers, counted};
use grice_core::{AnyEngine, Batch, Engine, EngineError, Precision};
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// All measurements, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    model: String,
    precision: Precision,
    device: &'static str,
    kernels: &'static str,
    #[serde(flatten)]
    workers: Workers,
    load_ms: f64,
    warmup: usize,
    runs: usize,
    results: Vec<Measured>,
}

/// One shape.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) batch_size: usize,
    pub(crate) sequence_length: usize,
    #[serde(flatten)]
    pub(crate) times: Statistics,
    /// Sequences per second at the mean time.
    pub(crate) throughput_per_s: f64,
    /// The share of the median time in which the GPU was busy, by its own clock; `None` on a processor, or if the GPU has no
    /// clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gpu_busy: Option<f64>,
}

pub(super) fn run(args: &ProfileLatency, common: &Common) -> Result<()> {
    args.output.as_deref().map_or(Ok(()), check_writable)?;
    let mut subject = load_subject(common)?;
    let measure = |shape: &Shape| measure_latency(&mut subject, *shape, args.warmup, args.runs.get());
    let results = args.shapes.iter().map(measure).collect::<Result<Vec<Measured>>>()?;
    let info = subject.engine.info();
    let report = Report {
        model: subject.name,
        precision: subject.precision,
        device: info.device,
        kernels: info.kernels,
        workers: subject.workers,
        load_ms: rounded(subject.load.as_secs_f64() * 1e3),
        warmup: args.warmup,
        runs: args.runs.get(),
        results,
    };
    let json = serde_json::to_string_pretty(&report).unwrap_or_default() + "\n";
    if let Some(path) = &args.output {
        write_file(path, json.as_bytes())?;
    }
    let text = if args.json { json } else { show_report(&report, Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())
}

/// Times of `runs` runs, after `warmup` runs that are not measured.
///
/// # Errors
/// A shape that the model cannot take.
pub(crate) fn measure_latency(subject: &mut Subject, shape: Shape, warmup: usize, runs: usize) -> Result<Measured> {
    let batch = synthetic_batch(&shape.lengths(), subject.vocabulary)?;
    let times = time_batch(&mut subject.engine, &batch, warmup, runs).map_err(|error| CliError::Core(error.into()))?;
    let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
    let statistics = Statistics::of(&times);
    Ok(Measured {
        batch_size: shape.rows,
        sequence_length: shape.tokens,
        throughput_per_s: rounded(shape.rows as f64 / mean.max(1e-9) * 1e3),
        gpu_busy: gpu_busy(&mut subject.engine, &batch, statistics.p50_ms),
        times: statistics,
    })
}

/// The time of one more run by the GPU's own clock, relative to the time of a run measured outside.
pub(crate) fn gpu_busy(engine: &mut AnyEngine, batch: &Batch, p50_ms: f64) -> Option<f64> {
    engine.device_bytes()?;
    let (_, trace) = engine.forward_traced(batch, || Duration::ZERO).ok()?;
    let busy: Duration = trace.spans().iter().map(|span| span.duration).sum();
    Some(rounded((busy.as_secs_f64() * 1e3 / p50_ms.max(1e-9)).min(1.0)))
}

/// Milliseconds of `runs` runs, after `warmup` runs that are not measured.
///
/// # Errors
/// A batch that the model cannot take.
pub(super) fn time_batch(
    engine: &mut AnyEngine,
    batch: &Batch,
    warmup: usize,
    runs: usize,
) -> Result<Vec<f64>, EngineError> {
    for _ in 0..warmup {
        engine.forward(batch)?;
    }
    let timed = |_| {
        let start = Instant::now();
        engine.forward(batch)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    (0..runs).map(timed).collect()
}

fn show_report(report: &Report, terminal: Terminal) -> String {
    let mut text = format!(
        "{} ({}), {} {}, {}, loaded in {:.0} ms\n\n",
        report.model,
        report.precision,
        report.kernels,
        report.workers.phrase(),
        counted(report.runs, "run"),
        report.load_ms
    );
    let columns = "batch × tokens      P50      P95      P99     mean      std      min      max  sequences/s";
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), columns));
    let digits = digits_for(report.results.iter().map(|result| result.times.min_ms));
    for result in &report.results {
        let Statistics { mean_ms, std_ms, p50_ms, p95_ms, p99_ms, min_ms, max_ms } = result.times;
        let shape = format!("{}×{}", result.batch_size, result.sequence_length);
        _ = write!(text, "{shape:<14}");
        for time in [p50_ms, p95_ms, p99_ms, mean_ms, std_ms, min_ms, max_ms] {
            _ = write!(text, " {time:>8.digits$}");
        }
        _ = writeln!(text, "  {:>11.1}", result.throughput_per_s);
    }
    text += "Times in milliseconds.\n";
    text
}
