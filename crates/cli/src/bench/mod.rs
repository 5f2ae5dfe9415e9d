//! `bench`: models × batch sizes, as results.json and a report with plots; and two results compared.
//!
//! ```text
//! --models ─► named ─► child (a process for each model) ─► rounds ─► results ─► report
//!                        └► measure                            └──► compare
//! ```

mod child;
mod compare;
mod date;
mod interval;
mod machine;
mod measure;
mod named;
mod protocol;
mod report;
mod results;
mod rounds;

pub(crate) use measure::run as measure_model;
pub(crate) use named::{Kind, Named};
pub(crate) use results::{ModelResult, Results, read as read_results};

use crate::args::{Bench, Common};
use crate::error::{CliError, Result};
use crate::output::{check_writable, json, write_file, write_stdout};
use crate::profile::digits_for;
use crate::serve::config_file::ConfigFile;
use crate::terminal::Terminal;
use child::ModelProcess;
use compare::{Comparison, Verdict, compare};
use machine::Machine;
use named::wanted;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

const FILES: [&str; 2] = ["results.json", "report.html"];

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'p> {
    #[serde(flatten)]
    results: &'p Results,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'p Comparison>,
}

/// Measures every model at every batch size, or reads results, and compares them if asked to.
///
/// # Errors
/// Errors of a model; a folder that cannot be written; results that cannot be read; [`CliError::Regressions`].
pub(crate) fn run(args: &Bench, common: &Common) -> Result<()> {
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .map_err(|source| CliError::Write { place: folder.display().to_string(), source })?;
        FILES.iter().try_for_each(|file| check_writable(&folder.join(file)))?;
    }
    let old = args.against.as_deref().map(results::read).transpose()?;
    let results = match &args.results {
        Some(path) => results::read(path)?,
        None => measure(args, common)?,
    };
    let compared = args.against.as_deref().zip(old.as_ref());
    let comparison = compared.map(|(path, old)| compare(&results, old, path, args.tolerance)).transpose()?;
    if let Some(folder) = &args.output {
        let results_json = json(&results, serde_json::to_string_pretty)? + "\n";
        for (file, text) in FILES.into_iter().zip([results_json, report::page(&results, comparison.as_ref())]) {
            write_file(&folder.join(file), text.as_bytes())?;
        }
    }
    let text = match args.json {
        true => {
            let printed = Printed { results: &results, comparison: comparison.as_ref() };
            json(&printed, serde_json::to_string_pretty)? + "\n"
        }
        false => {
            show(&results, Terminal::of_stdout(common.color))
                + &comparison.as_ref().map_or_else(String::new, Comparison::show)
        }
    };
    write_stdout(text.as_bytes())?;
    match comparison.map(|comparison| (comparison.count(Verdict::Worse), comparison.changes.len())) {
        Some((worse @ 1.., all)) if args.fail_on_regression => Err(CliError::Regressions(worse, all)),
        _ => Ok(()),
    }
}

fn measure(args: &Bench, common: &Common) -> Result<Results> {
    let wanted = wanted(&args.models, common.model.as_deref())?;
    // Read and checked before the measurements, written after them.
    let config = args.write_config.as_deref().map(|path| ConfigFile::open_for(path, wanted.len())).transpose()?;
    let shows = std::io::stderr().is_terminal() && !common.quiet;
    let tell = |text: &str| {
        if shows {
            // If stderr is closed, the progress cannot be shown.
            _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let start = wanted.iter().map(|wanted| {
        tell(&format!("{}: loading", wanted.kind.name()));
        ModelProcess::start(wanted, args, common)
    });
    let mut processes = start.collect::<Result<Vec<ModelProcess>>>()?;
    let (models, yardstick_ms) = rounds::measure(&mut processes, args, tell)?;
    if let (Some(config), [model]) = (config, models.as_slice()) {
        config.write_batch_size(model.optimal_batch_size)?;
    }
    Ok(Results {
        format: results::FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: date::now(),
        command: command(),
        machine: Machine::this(),
        yardstick_ms,
        models,
    })
}

/// The command line, without the program's folder.
fn command() -> String {
    let arguments = std::env::args().skip(1).map(|argument| match argument.contains(char::is_whitespace) {
        true => format!("'{argument}'"),
        false => argument,
    });
    std::iter::once("grice".to_owned()).chain(arguments).collect::<Vec<String>>().join(" ")
}

fn show(results: &Results, terminal: Terminal) -> String {
    let mut text = String::new();
    for (number, model) in results.models.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        let ModelResult { kernels, load_ms, .. } = model;
        let workers = model.workers().phrase();
        _ = writeln!(text, "{gap}{}, {kernels} {workers}, loaded in {load_ms} ms\n", model.title());
        show_points(&mut text, model, terminal);
    }
    text
}

fn show_points(text: &mut String, model: &ModelResult, terminal: Terminal) {
    let columns = format!("batch  tokens    P50 ms    P95 ms    P99 ms  {:>11}", format!("{}/s", model.kind.unit()));
    let of_texts = "  first ms  between ms  prefill t/s  decode t/s";
    let writes = model.results.iter().any(|point| point.texts.is_some());
    let columns = if writes { columns + of_texts } else { columns };
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), &columns));
    let digits = digits_for(model.results.iter().map(|point| point.latency.all.min_ms));
    for point in &model.results {
        let all = &point.latency.all;
        let tokens = point.sequence_length.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
        let (batch, rate) = (point.batch_size, point.throughput_per_s);
        let (p50, p95, p99) = (all.p50_ms, all.p95_ms, all.p99_ms);
        _ = write!(text, "{batch:>5}  {tokens:>6}  {p50:>8.digits$}  {p95:>8.digits$}  {p99:>8.digits$}  {rate:>11.1}");
        if let Some(texts) = &point.texts {
            let (first, between) = (texts.first_token.median_ms, texts.between_tokens.median_ms);
            let (prefill, decode) = (texts.prefill_tokens_per_s, texts.decode_tokens_per_s);
            _ = write!(text, "  {first:>8.2}  {between:>10.2}  {prefill:>11.0}  {decode:>10.1}");
        }
        let busy = point.gpu_busy.map_or_else(String::new, |busy| format!("  GPU busy {:.0} %", busy * 100.0));
        let mark = if batch == model.optimal_batch_size { "  optimal" } else { "" };
        _ = writeln!(text, "{busy}{mark}");
    }
}
