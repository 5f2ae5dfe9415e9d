//! `profile ops`: measures the time of each step of the model.

use super::statistics::rounded;
use super::{load_subject, synthetic_batch};
use crate::args::{Common, ProfileOps};
use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file, write_stdout};
use crate::terminal::Terminal;
use crate::workers::Workers;
use grice_core::{AnyEngine, Batch, Engine, Precision, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// All measurements, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    model: String,
    precision: Precision,
    kernels: &'static str,
    #[serde(flatten)]
    workers: Workers,
    batch_size: usize,
    sequence_length: usize,
    runs: usize,
    /// The mean time of a run, over all steps.
    total_ms: f64,
    /// The most expensive kind of step first.
    ops: Vec<OpCost>,
}

/// All steps of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpCost {
    pub(crate) op: String,
    /// Number of steps in one run.
    pub(crate) calls: usize,
    /// Mean time in one run.
    pub(crate) total_ms: f64,
    /// Share of the time of all steps.
    pub(crate) share: f64,
    /// Multiplications and additions in billions per second; `None` if they are not counted.
    pub(crate) gflop_per_s: Option<f64>,
}

pub(super) fn run(args: &ProfileOps, common: &Common) -> Result<()> {
    args.trace.as_deref().map_or(Ok(()), check_writable)?;
    let mut subject = load_subject(common)?;
    let batch = synthetic_batch(&args.shape.lengths(), subject.vocabulary)?;
    for _ in 0..args.warmup {
        subject.engine.forward(&batch).map_err(|error| CliError::Core(error.into()))?;
    }
    let spans = trace_batch(&mut subject.engine, &batch, args.runs.get())?;
    if let (Some(path), Some(last)) = (&args.trace, spans.last()) {
        write_file(path, chrome_trace(last).as_bytes())?;
    }
    let info = subject.engine.info();
    let ops = sum_ops(&spans);
    let report = Report {
        model: subject.name,
        precision: subject.precision,
        kernels: info.kernels,
        workers: subject.workers,
        batch_size: args.shape.rows,
        sequence_length: args.shape.tokens,
        runs: spans.len(),
        total_ms: rounded(ops.iter().map(|op| op.total_ms).sum()),
        ops,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        false => show_report(&report, Terminal::of_stdout(common.color)),
    };
    write_stdout(text.as_bytes())
}

/// The steps of each of `runs` runs.
///
/// # Errors
/// A batch that the model cannot take.
pub(crate) fn trace_batch(engine: &mut AnyEngine, batch: &Batch, runs: usize) -> Result<Vec<Vec<Span>>> {
    let traced = |_| {
        let (_, trace) = engine.forward_traced(batch, clock).map_err(|error| CliError::Core(error.into()))?;
        Ok(trace.spans().to_vec())
    };
    (0..runs).map(traced).collect()
}

/// Time since the first call.
pub(crate) fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The cost of each kind of step, from the steps of each run; the most expensive first.
pub(crate) fn sum_ops(runs: &[Vec<Span>]) -> Vec<OpCost> {
    let mut sums: BTreeMap<&'static str, (usize, Duration, u64)> = BTreeMap::new();
    for span in runs.iter().flatten() {
        let (calls, time, operations) = sums.entry(span.op).or_default();
        *calls += 1;
        *time += span.duration;
        *operations += span.operations;
    }
    let count = runs.len().max(1);
    let all: Duration = sums.values().map(|(_, time, _)| *time).sum();
    let costs = sums.into_iter().map(|(op, (calls, time, operations))| OpCost {
        op: op.to_owned(),
        calls: calls / count,
        total_ms: rounded(time.as_secs_f64() * 1e3 / count as f64),
        share: rounded(time.as_secs_f64() / all.as_secs_f64().max(1e-12)),
        gflop_per_s: (operations > 0).then(|| rounded(operations as f64 / time.as_secs_f64().max(1e-12) / 1e9)),
    });
    let mut costs: Vec<OpCost> = costs.collect();
    costs.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms));
    costs
}

/// The format that chrome://tracing and Perfetto read: complete events, times in microseconds.
fn chrome_trace(spans: &[Span]) -> String {
    let events: Vec<serde_json::Value> = spans
        .iter()
        .map(|span| {
            serde_json::json!({
                "name": span.name, "cat": span.op, "ph": "X", "pid": 1, "tid": 1,
                "ts": span.start.as_nanos() as f64 / 1e3, "dur": span.duration.as_nanos() as f64 / 1e3,
                "args": {"operations": span.operations},
            })
        })
        .collect();
    serde_json::json!({"traceEvents": events, "displayTimeUnit": "ms"}).to_string() + "\n"
}

fn show_report(report: &Report, terminal: Terminal) -> String {
    let mut text = format!(
        "{} ({}), {} {}, {}×{} tokens: {:.2} ms\n\n",
        report.model,
        report.precision,
        report.kernels,
        report.workers.phrase(),
        report.batch_size,
        report.sequence_length,
        report.total_ms
    );
    let columns = "op            calls        ms   share   GFLOP/s";
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), columns));
    for op in &report.ops {
        let rate = op.gflop_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        let share = op.share * 100.0;
        _ = writeln!(text, "{:<13} {:>5} {:>9.3} {share:>6.1}% {rate:>9}", op.op, op.calls, op.total_ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(op: &'static str, start_us: u64, duration_us: u64, operations: u64) -> Span {
        let time = Duration::from_micros;
        Span { name: format!("layer 0 {op}"), op, start: time(start_us), duration: time(duration_us), operations }
    }

    #[test]
    fn steps_of_a_kind_are_summed_and_shares_make_one() {
        let run = vec![span("qkv", 0, 250, 500_000), span("attention", 250, 500, 0), span("qkv", 750, 250, 500_000)];
        let costs = sum_ops(&[run.clone(), run]);
        let qkv = OpCost { op: "qkv".to_owned(), calls: 2, total_ms: 0.5, share: 0.5, gflop_per_s: Some(2.0) };
        assert!(costs.contains(&qkv), "{costs:?}");
        assert_eq!(costs.iter().map(|cost| cost.share).sum::<f64>(), 1.0);
    }

    #[test]
    fn the_trace_is_what_trace_viewers_read() {
        let trace = chrome_trace(&[span("qkv", 10, 20, 7)]);
        let trace: serde_json::Value = serde_json::from_str(&trace).unwrap_or_default();
        let event = &trace["traceEvents"][0];
        assert_eq!(
            (event["ph"].as_str(), event["ts"].as_f64(), event["dur"].as_f64()),
            (Some("X"), Some(10.0), Some(20.0))
        );
        assert_eq!(event["args"]["operations"], 7);
    }
}
