//! `eval --compare`: compares the precisions of a model in one table.
//!
//! Quality comes from the labelled rows, latency from runs of one synthetic turn, memory from one process per precision.

use super::report::{build_report, compare_rows};
use crate::args::{Common, Eval, Shape};
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle};
use crate::output::{is_stdio, write_stdout};
use crate::profile::{digits_for, footprint_in_child, load_subject, measure_latency};
use crate::rows::RowReader;
use crate::terminal::Terminal;
use crate::workers::counted;
use grice_core::Precision;
use serde::Serialize;
use std::fmt::Write;

/// The turn for measuring latency and memory.
const SHAPE: Shape = Shape { rows: 1, tokens: 128 };
const WARMUP: usize = 3;
const RUNS: usize = 20;

/// The table, as `--json` prints it.
#[derive(Serialize)]
struct Comparison {
    model: String,
    rows: usize,
    batch_size: usize,
    sequence_length: usize,
    precisions: Vec<Compared>,
}

#[derive(Serialize)]
struct Compared {
    precision: Precision,
    /// The median.
    latency_ms: f64,
    /// Resident after loading and one run.
    memory_bytes: u64,
    macro_f1: Option<f64>,
}

/// Evaluates the file once for each precision.
///
/// # Errors
/// As `eval`, for the first precision that fails.
pub(crate) fn run(args: &Eval, common: &Common) -> Result<()> {
    if is_stdio(&args.input) {
        return Err(CliError::CompareStdin);
    }
    let bundle = open_bundle(common)?;
    // Check all precisions first, so that a missing one is reported at once.
    for &precision in &args.compare {
        bundle.model_path(precision)?;
    }
    let mut comparison = Comparison {
        model: String::new(),
        rows: 0,
        batch_size: SHAPE.rows,
        sequence_length: SHAPE.tokens,
        precisions: Vec::new(),
    };
    for &precision in &args.compare {
        let common = Common { precision: Some(precision), ..common.clone() };
        let mut reader = RowReader::open_json(&args.input)?;
        let mut detector = load_detector(&bundle, &common, &args.thresholds)?;
        let (compared, bad) = compare_rows(&mut reader, &mut detector, args.batch_size.get(), common.quiet)?;
        if compared.is_empty() {
            return Err(CliError::NoRows(reader.place().to_owned()));
        }
        let report = build_report(&compared, bad, &detector);
        drop(detector);
        let latency = measure_latency(&mut load_subject(&common)?, SHAPE, WARMUP, RUNS)?;
        let footprint = footprint_in_child(&common, precision, SHAPE)?;
        let memory_bytes = footprint.results.first().map_or(footprint.loaded_bytes, |run| run.resident_bytes);
        (comparison.model, comparison.rows) = (report.model, report.rows);
        let (latency_ms, macro_f1) = (latency.times.p50_ms, report.macro_f1);
        comparison.precisions.push(Compared { precision, latency_ms, memory_bytes, macro_f1 });
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&comparison).unwrap_or_default() + "\n",
        false => show(&comparison, Terminal::of_stdout(common.color)),
    };
    write_stdout(text.as_bytes())
}

fn show(comparison: &Comparison, terminal: Terminal) -> String {
    let Comparison { model, rows, batch_size, sequence_length, precisions } = comparison;
    let rows = counted(*rows, "row");
    let mut text = format!("{model}, {rows}; latency (P50) and memory at {batch_size}×{sequence_length} tokens\n\n");
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), "precision      latency       memory  macro F1"));
    let digits = digits_for(precisions.iter().map(|compared| compared.latency_ms));
    for Compared { precision, latency_ms, memory_bytes, macro_f1 } in precisions {
        let mebibytes = *memory_bytes as f64 / f64::from(1 << 20);
        let f1 = macro_f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.3}"));
        _ = writeln!(text, "{:<9} {latency_ms:>9.digits$} ms {mebibytes:>8.1} MiB  {f1:>8}", precision.name());
    }
    text
}
