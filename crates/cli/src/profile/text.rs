//! `profile text`: times and memory of a model that writes texts.

use super::memory::books;
use super::statistics::{Statistics, rounded};
use super::texting::{TextRun, Texting};
use crate::args::{Common, ProfileText, Shape};
use crate::error::Result;
use crate::model::{quietly, threads};
use crate::output::{check_writable, json, write_file, write_stdout};
use crate::terminal::Terminal;
use crate::workers::{Workers, counted};
use grice_core::{Memory, Writer};
use serde::Serialize;
use std::fmt::Write;
use std::time::Instant;

/// All measurements, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    model: String,
    family: String,
    /// Its name: models that write may have one that no manifest has.
    precision: &'static str,
    #[serde(flatten)]
    workers: Workers,
    load_ms: f64,
    /// Resident memory of the process; `None` where the system does not tell.
    memory: Option<Loaded>,
    /// Keys and values of one token of one text.
    kv_token_bytes: usize,
    runs: usize,
    results: Vec<Measured>,
}

#[derive(Serialize)]
struct Loaded {
    baseline_bytes: u64,
    load_peak_bytes: u64,
    loaded_bytes: u64,
}

/// One shape.
#[derive(Serialize)]
struct Measured {
    /// Texts at the same time.
    texts: usize,
    prompt_tokens: usize,
    new_tokens: usize,
    /// From the start to the first token of each text.
    first_token: Statistics,
    /// Between two tokens of a text.
    between_tokens: Statistics,
    /// Tokens of prompts a second, until the last text has its first token.
    prompt_tokens_per_s: f64,
    /// New tokens a second of all texts, after that.
    new_tokens_per_s: f64,
    /// Memory for keys and values at the end of the texts.
    kv_bytes: usize,
}

pub(super) fn run(args: &ProfileText, common: &Common) -> Result<()> {
    args.output.as_deref().map_or(Ok(()), check_writable)?;
    let before = books().ok();
    let start = Instant::now();
    let (name, writer) = open_writer(common)?;
    let load_ms = rounded(start.elapsed().as_secs_f64() * 1e3);
    let memory = before.zip(books().ok()).map(|(before, after)| Loaded {
        baseline_bytes: before.resident,
        load_peak_bytes: after.peak,
        loaded_bytes: after.resident,
    });
    let measure = |shape: &Shape| measure(&writer, *shape, args, threads(common));
    let results = args.shapes.iter().map(measure).collect::<Result<Vec<Measured>>>()?;
    let report = Report {
        model: name,
        family: writer.family().to_owned(),
        precision: writer.precision().name(),
        workers: Workers::new(threads(common), None),
        load_ms,
        memory,
        kv_token_bytes: writer.token_bytes(),
        runs: args.runs.get(),
        results,
    };
    let written = json(&report, serde_json::to_string_pretty)? + "\n";
    if let Some(path) = &args.output {
        write_file(path, written.as_bytes())?;
    }
    let text = if args.json { written } else { show(&report, Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())
}

/// The model of `--model` with its path, or the built-in one.
///
/// # Errors
/// Errors of the model.
pub(crate) fn open_writer(common: &Common) -> Result<(String, Writer)> {
    match &common.model {
        Some(path) => Ok((path.display().to_string(), quietly(|| Writer::open(path, common.precision))??)),
        None => crate::model::open_embedded_writer().map(|writer| ("repair-mini".to_owned(), writer)),
    }
}

fn measure(writer: &Writer, shape: Shape, args: &ProfileText, threads: usize) -> Result<Measured> {
    let (rows, new_tokens) = (shape.rows, args.new_tokens.get());
    let texting = Texting { prompt_tokens: shape.tokens, new_tokens };
    let (mut engine, mut courses) = writer.engine(threads, Memory::Tokens(texting.memory_tokens(rows)))?;
    let mut all = TextRun::default();
    for run in 0..args.warmup + args.runs.get() {
        let times = texting.run(writer, &mut engine, &mut courses, rows)?;
        if run >= args.warmup {
            all.first.extend(times.first);
            all.between.extend(times.between);
            all.prompts += times.prompts;
            all.texts += times.texts;
        }
    }
    let count = rows as f64 * args.runs.get() as f64;
    let per_second = |tokens: usize, seconds: f64| rounded(count * tokens as f64 / seconds.max(1e-9));
    Ok(Measured {
        texts: rows,
        prompt_tokens: shape.tokens,
        new_tokens,
        first_token: Statistics::of(&all.first),
        between_tokens: Statistics::of(&all.between),
        prompt_tokens_per_s: per_second(shape.tokens, all.prompts),
        new_tokens_per_s: per_second(new_tokens - 1, all.texts),
        kv_bytes: rows * (shape.tokens + new_tokens) * writer.token_bytes(),
    })
}

fn show(report: &Report, terminal: Terminal) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = format!(
        "{} ({}, {}), {}, {}, loaded in {:.0} ms\n",
        report.model,
        report.family,
        report.precision,
        report.workers.phrase(),
        counted(report.runs, "run"),
        report.load_ms
    );
    if let Some(Loaded { baseline_bytes, load_peak_bytes, loaded_bytes }) = report.memory {
        let (before, peak) = (mebibytes(baseline_bytes), mebibytes(load_peak_bytes));
        let loaded = mebibytes(loaded_bytes);
        _ = writeln!(text, "memory: {before:.1} MiB before loading, peak {peak:.1} MiB, {loaded:.1} MiB after it");
    }
    _ = writeln!(text, "keys and values: {:.1} KiB a token\n", report.kv_token_bytes as f64 / 1024.0);
    let columns =
        "texts × prompt + new   first P50      P95   between P50      P95   prompt tokens/s   new tokens/s   KV MiB";
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), columns));
    for result in &report.results {
        let shape = format!("{}×{}+{}", result.texts, result.prompt_tokens, result.new_tokens);
        let (first, between) = (&result.first_token, &result.between_tokens);
        _ = writeln!(
            text,
            "{shape:<20} {:>11.2} {:>8.2} {:>13.2} {:>8.2} {:>17.0} {:>14.1} {:>8.1}",
            first.p50_ms,
            first.p95_ms,
            between.p50_ms,
            between.p95_ms,
            result.prompt_tokens_per_s,
            result.new_tokens_per_s,
            mebibytes(result.kv_bytes as u64)
        );
    }
    text += "Times in milliseconds.\n";
    text
}
