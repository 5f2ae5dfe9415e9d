//! `bench`: models × batch sizes, as results.json and a report with a plot.

use crate::args::{Bench, Common, Shape};
use crate::error::{CliError, Result};
use crate::output::{check_writable, write_file, write_stdout};
use crate::profile::{Measured, digits_for, load_subject, measure_latency};
use crate::serve::config_file::ConfigFile;
use crate::terminal::Terminal;
use crate::workers::{Workers, counted};
use grice_core::{Engine, Precision};
use serde::Serialize;
use std::fmt::Write;

const WARMUP: usize = 1;
/// A smaller batch answers sooner, and the last percents of throughput are noise.
const OPTIMAL_SHARE: f64 = 0.97;
const FILES: [&str; 3] = ["results.json", "throughput.svg", "report.md"];

/// All measurements, as in results.json.
#[derive(Serialize)]
struct Results {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    cores: usize,
    models: Vec<ModelResult>,
}

#[derive(Serialize)]
struct ModelResult {
    model: String,
    precision: Precision,
    kernels: &'static str,
    #[serde(flatten)]
    workers: Workers,
    load_ms: f64,
    results: Vec<Measured>,
    /// The smallest batch size within 3 % of the highest throughput.
    optimal_batch_size: usize,
}

/// Measures every model at every batch size.
///
/// # Errors
/// Errors of a model; a folder that cannot be written.
pub(crate) fn run(args: &Bench, common: &Common) -> Result<()> {
    let named = args.models.iter().map(|path| Common { model: Some(path.clone()), ..common.clone() });
    let subjects: Vec<Common> = if args.models.is_empty() { vec![common.clone()] } else { named.collect() };
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .map_err(|source| CliError::Write { place: folder.display().to_string(), source })?;
        FILES.iter().try_for_each(|file| check_writable(&folder.join(file)))?;
    }
    // Read and checked before the measurements, written after them.
    let config = args.write_config.as_deref().map(|path| ConfigFile::open(path, subjects.len())).transpose()?;
    let models = subjects.iter().map(|common| measure(args, common)).collect::<Result<Vec<ModelResult>>>()?;
    let results = Results {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cores: crate::model::cores(),
        models,
    };
    let json = serde_json::to_string_pretty(&results).unwrap_or_default() + "\n";
    if let Some(folder) = &args.output {
        for (file, text) in FILES.into_iter().zip([&json, &plot(&results), &report(&results)]) {
            write_file(&folder.join(file), text.as_bytes())?;
        }
    }
    if let (Some(config), [model]) = (config, results.models.as_slice()) {
        config.write_batch_size(model.optimal_batch_size)?;
    }
    let text = if args.json { json } else { show(&results, Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())
}

fn measure(args: &Bench, common: &Common) -> Result<ModelResult> {
    let mut subject = load_subject(common)?;
    let mut results = Vec::new();
    for rows in &args.batch_sizes {
        let shape = Shape { rows: rows.get(), tokens: args.tokens.get() };
        results.push(measure_latency(&mut subject, shape, WARMUP, args.runs.get())?);
    }
    Ok(ModelResult {
        precision: subject.precision,
        kernels: subject.engine.info().kernels,
        workers: subject.workers,
        load_ms: (subject.load.as_secs_f64() * 1e3).round(),
        optimal_batch_size: optimal_batch_size(&results),
        model: subject.name,
        results,
    })
}

fn optimal_batch_size(results: &[Measured]) -> usize {
    let highest = results.iter().map(|result| result.throughput_per_s).fold(0.0, f64::max);
    let good = results.iter().filter(|result| result.throughput_per_s >= OPTIMAL_SHARE * highest);
    good.map(|result| result.batch_size).min().unwrap_or(1)
}

fn show(results: &Results, terminal: Terminal) -> String {
    let mut text = String::new();
    for (number, model) in results.models.iter().enumerate() {
        let ModelResult { model: name, precision, kernels, workers, load_ms, results, optimal_batch_size } = model;
        let gap = if number == 0 { "" } else { "\n" };
        let workers = workers.phrase();
        _ = writeln!(text, "{gap}{name} ({precision}), {kernels} {workers}, loaded in {load_ms} ms\n");
        let columns = "batch  tokens    P50 ms    P95 ms    P99 ms  sequences/s";
        _ = writeln!(text, "{}", terminal.paint(terminal.strong(), columns));
        let digits = digits_for(results.iter().map(|result| result.times.min_ms));
        for result in results {
            let times = &result.times;
            let mark = if result.batch_size == *optimal_batch_size { "  optimal" } else { "" };
            let busy = result.gpu_busy.map_or_else(String::new, |busy| format!("  GPU busy {:.0} %", busy * 100.0));
            _ = writeln!(
                text,
                "{:>5}  {:>6}  {:>8.digits$}  {:>8.digits$}  {:>8.digits$}  {:>11.1}{busy}{mark}",
                result.batch_size,
                result.sequence_length,
                times.p50_ms,
                times.p95_ms,
                times.p99_ms,
                result.throughput_per_s
            );
        }
    }
    text
}

fn report(results: &Results) -> String {
    let mut text = format!(
        "# Benchmark\n\ngrice {} on {} {}, {}. Times in milliseconds, including the effect of other load on the machine.\n\n![Throughput by batch size](throughput.svg)\n",
        results.version,
        results.os,
        results.arch,
        counted(results.cores, "core")
    );
    for model in &results.models {
        let workers = model.workers.phrase();
        let digits = digits_for(model.results.iter().map(|result| result.times.min_ms));
        _ = writeln!(text, "\n## {} ({}), {} {workers}\n", model.model, model.precision, model.kernels);
        text += "| batch | tokens | mean | std | P50 | P95 | P99 | sequences/s | GPU busy |\n|---|---|---|---|---|---|---|---|---|\n";
        for result in &model.results {
            let times = &result.times;
            let busy = result.gpu_busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", busy * 100.0));
            _ = writeln!(
                text,
                "| {} | {} | {:.digits$} | {:.digits$} | {:.digits$} | {:.digits$} | {:.digits$} | {:.1} | {busy} |",
                result.batch_size,
                result.sequence_length,
                times.mean_ms,
                times.std_ms,
                times.p50_ms,
                times.p95_ms,
                times.p99_ms,
                result.throughput_per_s
            );
        }
        _ = writeln!(
            text,
            "\nOptimal batch size: {}, the smallest one within 3 % of the highest throughput.",
            model.optimal_batch_size
        );
    }
    text
}

/// Throughput over batch size, batch sizes evenly spaced.
fn plot(results: &Results) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 320.0;
    const MARGIN: f64 = 48.0;
    let all = || results.models.iter().flat_map(|model| &model.results);
    let highest = all().map(|result| result.throughput_per_s).fold(1.0, f64::max);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Sequences per second by batch size</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\">sequences/s, up to {highest:.0}</text>\n"
    );
    for (number, model) in results.models.iter().enumerate() {
        let steps = model.results.len().saturating_sub(1).max(1) as f64;
        let color = ["#0b6e99", "#b5482a", "#3c7a3c", "#7a3c7a"][number % 4];
        let mut points = String::new();
        for (index, result) in model.results.iter().enumerate() {
            let x = MARGIN + index as f64 / steps * (WIDTH - 2.0 * MARGIN);
            let y = HEIGHT - MARGIN - result.throughput_per_s / highest * (HEIGHT - 2.0 * MARGIN);
            _ = write!(points, "{x:.1},{y:.1} ");
            if number == 0 {
                let y = HEIGHT - MARGIN + 18.0;
                _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", result.batch_size);
            }
        }
        _ = writeln!(text, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>");
        let (y, name) = (40.0 + 16.0 * number as f64, escape(&format!("{} ({})", model.model, model.precision)));
        _ = writeln!(text, "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{color}\">{name}</text>");
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
