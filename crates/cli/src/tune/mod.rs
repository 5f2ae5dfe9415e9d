//! `tune`: finds the options of `serve` for a model, a machine and a goal, by measuring.
//!
//! ```text
//! space (what there is to choose) ─► search (pure: what to measure next) ◄─► load (measures) ─► grice.toml
//! ```

mod load;
mod search;
mod space;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::args::{Common, Shape, Tune};
use crate::error::{CliError, Result};
use crate::model::cores;
use crate::output::{json, write_stdout};
use crate::profile::{Subject, load_subject, measure_latency, synthetic_tokens};
use crate::serve::config_file::{ConfigFile, ServeValue};
use crate::terminal::Terminal;
use grice_core::Writer;
use grice_core::schedule::Accumulate;
use load::{Clients, Engines, measure};
use search::{Cost, Found, Goal, search};
use serde::Serialize;
use space::{Chosen, Space};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Token counts of 64 turns drawn at random from GriceBench's labelled ones (`benches/turn_lengths.json`).
const TURN_TOKENS: [usize; 64] = [
    137, 95, 52, 169, 149, 136, 158, 77, 62, 120, 181, 234, 165, 94, 112, 151, 54, 160, 179, 99, 118, 95, 85, 86, 200,
    147, 88, 133, 64, 89, 120, 85, 113, 104, 239, 19, 83, 118, 34, 99, 125, 120, 169, 124, 207, 135, 29, 240, 161, 140,
    29, 147, 144, 100, 64, 100, 158, 78, 127, 185, 76, 98, 134, 70,
];
/// One in so many settings is measured.
const SHARE: usize = 10;
const TABLE_TOKENS: [usize; 4] = [32, 64, 128, 256];
const TABLE_BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const TABLE_RUNS: usize = 3;
/// A smaller batch answers sooner, and the last percents of throughput are noise.
const OPTIMAL_SHARE: f64 = 0.97;

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    model: String,
    cores: usize,
    adapter: Option<String>,
    clients: usize,
    p95_ms_max: Option<f64>,
    settings: usize,
    measurements: usize,
    best: Line,
    /// The server's defaults on this machine.
    default: Line,
    is_met: bool,
    optimal_batch_sizes: Vec<Optimal>,
}

/// A setting and its cost.
#[derive(Serialize)]
struct Line {
    threads: usize,
    replicas: usize,
    batch_rows_max: usize,
    batch_tokens_max: usize,
    batch_wait: &'static str,
    batch_wait_max_ms: u64,
    answers_per_s: f64,
    p95_ms: f64,
}

/// The best batch size for turns of one length.
#[derive(Serialize)]
struct Optimal {
    tokens: usize,
    batch_size: usize,
    batch_ms: f64,
    throughput_per_s: f64,
}

/// Measures, prints, and writes the file.
///
/// # Errors
/// Errors of the model; a file that cannot be changed; [`CliError::Tune`] for a model that has no such settings.
pub(crate) fn run(args: &Tune, common: &Common) -> Result<()> {
    if let Some(path) = common.model.as_deref().filter(|path| Writer::is_folder(path)) {
        let cause = format!(
            "{}: a model that writes or embeds has no batches to tune; name a bundle that judges turns",
            path.display()
        );
        return Err(CliError::Tune(cause));
    }
    // Read and checked before the measurements, written after them.
    let config = if args.dry_run { None } else { Some(open_config(args)?) };
    let mut subject = load_subject(common)?;
    let goal = args.p95_ms.map_or(Goal::Throughput, Goal::P95);
    let space = Space::new(common.threads.unwrap_or_else(cores), subject.workers.adapter.is_some());
    let clients = clients(args, &subject)?;
    let mut engines = Engines::new(subject.plan.clone());
    let mut measure = |setting: &[usize]| measure(&mut engines, space.at(setting), &clients);
    let default = measure(&space.start())?;
    let budget = if args.exhaustive { space.len() } else { (space.len() / SHARE).max(1) };
    let found = match args.exhaustive {
        true => best_of_all(&space, goal, &mut measure)?,
        false => search(&space.sizes(), &space.start(), budget, goal, &mut measure)?,
    };
    drop(engines);
    let chosen = space.at(&found.setting);
    let report = Report {
        model: subject.name.clone(),
        cores: cores(),
        adapter: subject.workers.adapter.clone(),
        clients: clients.count,
        p95_ms_max: args.p95_ms,
        settings: space.len(),
        measurements: found.measurements,
        best: line(chosen, found.cost),
        default: line(space.at(&space.start()), default),
        is_met: goal.is_met(found.cost),
        optimal_batch_sizes: optimal(&mut subject)?,
    };
    if let Some(config) = config {
        config.write_serve(&values(&report.best, report.adapter.is_some()))?;
    }
    let text = match args.json {
        true => json(&report, serde_json::to_string_pretty)? + "\n",
        false => show(&report, args, Terminal::of_stdout(common.color)),
    };
    write_stdout(text.as_bytes())
}

fn open_config(args: &Tune) -> Result<ConfigFile> {
    let config = ConfigFile::open(&args.config)?;
    match config.names_devices() {
        false => Ok(config),
        true => Err(CliError::ConfigFile {
            place: args.config.display().to_string(),
            cause: "`device` names several replicas, and tune chooses their number; name one device, or none"
                .to_owned(),
        }),
    }
}

fn clients(args: &Tune, subject: &Subject) -> Result<Clients> {
    let lengths = args.tokens.map_or(TURN_TOKENS.to_vec(), |tokens| vec![tokens.get(); TURN_TOKENS.len()]);
    let mut tokens = synthetic_tokens(subject.vocabulary);
    let longest = subject.plan.bounds().longest.unwrap_or(usize::MAX);
    let turn = |length: usize| -> Arc<[u32]> { tokens.by_ref().take(length.min(longest)).collect::<Vec<u32>>().into() };
    let turns = lengths.into_iter().map(turn).collect();
    let time = Duration::from_millis(args.measure_ms.get() as u64);
    Ok(Clients { count: args.clients.get(), turns, time })
}

/// Measures every setting once.
fn best_of_all(space: &Space, goal: Goal, mut measure: impl FnMut(&[usize]) -> Result<Cost>) -> Result<Found> {
    let mut costs: BTreeMap<Vec<usize>, Cost> = BTreeMap::new();
    for setting in space.all() {
        let cost = measure(&setting)?;
        costs.insert(setting, cost);
    }
    let best = costs.iter().max_by(|a, b| goal.score(*a.1).total_cmp(&goal.score(*b.1)));
    let (setting, cost) = best.ok_or_else(|| CliError::Tune("there is nothing to choose from".to_owned()))?;
    Ok(Found { setting: setting.clone(), cost: *cost, measurements: costs.len() })
}

fn line(chosen: Chosen, cost: Cost) -> Line {
    Line {
        threads: chosen.threads,
        replicas: chosen.replicas,
        batch_rows_max: chosen.rows,
        batch_tokens_max: chosen.tokens,
        batch_wait: match chosen.accumulate {
            Accumulate::Never => "never",
            Accumulate::WhileBusy => "while-busy",
            Accumulate::Always => "always",
        },
        batch_wait_max_ms: chosen.wait_ms as u64,
        answers_per_s: (cost.throughput * 10.0).round() / 10.0,
        p95_ms: (cost.p95_ms * 100.0).round() / 100.0,
    }
}

/// What is written into the file. Threads and replicas concern the processor only.
fn values(line: &Line, is_gpu: bool) -> Vec<(&'static str, ServeValue)> {
    let mut values = Vec::new();
    if !is_gpu {
        values.push(("threads", ServeValue::Count(line.threads)));
        values.push(("replicas", ServeValue::Count(line.replicas)));
    }
    values.push(("batch-rows-max", ServeValue::Count(line.batch_rows_max)));
    values.push(("batch-tokens-max", ServeValue::Count(line.batch_tokens_max)));
    values.push(("batch-wait", ServeValue::Word(line.batch_wait)));
    if line.batch_wait != "never" {
        let most = usize::try_from(line.batch_wait_max_ms).unwrap_or(usize::MAX);
        values.push(("batch-wait-max-ms", ServeValue::Count(most)));
    }
    values
}

/// The guide's table: the smallest batch within 3 % of the highest throughput, by the length of its turns.
fn optimal(subject: &mut Subject) -> Result<Vec<Optimal>> {
    let longest = subject.plan.bounds().longest.unwrap_or(usize::MAX);
    let mut table = Vec::new();
    for tokens in TABLE_TOKENS.into_iter().filter(|tokens| *tokens <= longest) {
        let measured = TABLE_BATCHES.into_iter().map(|rows| {
            let found = measure_latency(subject, Shape { rows, tokens }, 1, TABLE_RUNS)?;
            Ok((rows, found.times.p50_ms, rows as f64 / found.times.p50_ms.max(1e-6) * 1e3))
        });
        let measured = measured.collect::<Result<Vec<(usize, f64, f64)>>>()?;
        let highest = measured.iter().map(|(.., rate)| *rate).fold(0.0, f64::max);
        let best = measured.into_iter().find(|(.., rate)| *rate >= OPTIMAL_SHARE * highest);
        table.extend(best.map(|(batch_size, batch_ms, rate)| Optimal {
            tokens,
            batch_size,
            batch_ms,
            throughput_per_s: (rate * 10.0).round() / 10.0,
        }));
    }
    Ok(table)
}

fn show(report: &Report, args: &Tune, terminal: Terminal) -> String {
    let goal = args
        .p95_ms
        .map_or("most answers per second".to_owned(), |most| format!("most answers per second with P95 ≤ {most} ms"));
    let Report { model, clients, measurements, settings, .. } = report;
    let mut text = format!("{model}: {goal}, {clients} clients; measured {measurements} of {settings} settings\n\n");
    let columns = "           threads  replicas  rows  tokens  wait            answers/s    P95 ms";
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), columns));
    for (name, line) in [("best", &report.best), ("default", &report.default)] {
        let wait = match line.batch_wait {
            "never" => "never".to_owned(),
            word => format!("{word} {} ms", line.batch_wait_max_ms),
        };
        _ = writeln!(
            text,
            "{name:<9} {:>8}  {:>8}  {:>4}  {:>6}  {wait:<14}  {:>9.1}  {:>8.2}",
            line.threads, line.replicas, line.batch_rows_max, line.batch_tokens_max, line.answers_per_s, line.p95_ms
        );
    }
    if !report.is_met {
        _ = writeln!(
            text,
            "\n{}",
            terminal.paint(terminal.note(), "No setting is fast enough; this is the fastest one.")
        );
    }
    _ = writeln!(text, "\noptimal batch sizes, {}\n", report.adapter.as_deref().unwrap_or("all cores"));
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), "tokens  batch  ms a batch   turns/s"));
    for Optimal { tokens, batch_size, batch_ms, throughput_per_s } in &report.optimal_batch_sizes {
        _ = writeln!(text, "{tokens:>6}  {batch_size:>5}  {batch_ms:>10.2}  {throughput_per_s:>8.1}");
    }
    if !args.dry_run {
        _ = writeln!(text, "\nwritten into [serve] of {}", args.config.display());
    }
    text
}
