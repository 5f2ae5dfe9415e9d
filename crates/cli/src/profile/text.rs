//! `profile text`: times and memory of a model that writes texts.

use super::memory::books;
use super::statistics::{Statistics, rounded};
use super::subject::synthetic_tokens;
use crate::args::{Common, ProfileText, Shape};
use crate::error::{CliError, Result};
use crate::model::{quietly, threads};
use crate::output::{check_writable, write_file, write_stdout};
use crate::terminal::Terminal;
use crate::workers::{Workers, counted};
use grice_core::generate::{CourseId, Courses, DecodeOptions, Event};
use grice_core::{CpuGenerator, Memory, Precision, Writer};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

/// All measurements, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    model: String,
    family: String,
    precision: Precision,
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
    let (name, writer) = open(common)?;
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
        precision: writer.precision(),
        workers: Workers::new(threads(common), None),
        load_ms,
        memory,
        kv_token_bytes: writer.token_bytes(),
        runs: args.runs.get(),
        results,
    };
    let json = serde_json::to_string_pretty(&report).unwrap_or_default() + "\n";
    if let Some(path) = &args.output {
        write_file(path, json.as_bytes())?;
    }
    let text = if args.json { json } else { show(&report, Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())
}

fn open(common: &Common) -> Result<(String, Writer)> {
    match &common.model {
        Some(path) => Ok((path.display().to_string(), quietly(|| Writer::open(path, common.precision))??)),
        None => crate::model::open_embedded_writer().map(|writer| ("repair-mini".to_owned(), writer)),
    }
}

/// The times of one run.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    between: Vec<f64>,
    /// Seconds until each text has its first token, and from then to the end.
    prompts: f64,
    texts: f64,
}

fn measure(writer: &Writer, shape: Shape, args: &ProfileText, threads: usize) -> Result<Measured> {
    let new_tokens = args.new_tokens.get();
    // A page for each piece of a text, and the source of a model with an encoder.
    let tokens = shape.rows * (2 * shape.tokens + new_tokens + 128);
    let (mut engine, mut courses) = writer.engine(threads, Memory::Tokens(tokens))?;
    let mut all = Times::default();
    for run in 0..args.warmup + args.runs.get() {
        let times = run_once(writer, &mut engine, &mut courses, shape, new_tokens)?;
        if run >= args.warmup {
            all.first.extend(times.first);
            all.between.extend(times.between);
            all.prompts += times.prompts;
            all.texts += times.texts;
        }
    }
    let (rows, runs) = (shape.rows as f64, args.runs.get() as f64);
    let per_second = |tokens: f64, seconds: f64| rounded(tokens / seconds.max(1e-9));
    Ok(Measured {
        texts: shape.rows,
        prompt_tokens: shape.tokens,
        new_tokens,
        first_token: Statistics::of(&all.first),
        between_tokens: Statistics::of(&all.between),
        prompt_tokens_per_s: per_second(rows * runs * shape.tokens as f64, all.prompts),
        new_tokens_per_s: per_second(rows * runs * (new_tokens - 1) as f64, all.texts),
        kv_bytes: shape.rows * (shape.tokens + new_tokens) * writer.token_bytes(),
    })
}

/// Writes all texts of a shape to their full length.
fn run_once(
    writer: &Writer,
    engine: &mut CpuGenerator,
    courses: &mut Courses,
    shape: Shape,
    new_tokens: usize,
) -> Result<Times> {
    let options =
        Arc::new(DecodeOptions { max_new_tokens: new_tokens, min_new_tokens: new_tokens, ..DecodeOptions::default() });
    let mut tokens = synthetic_tokens(writer.vocabulary());
    for _ in 0..shape.rows {
        let start = writer.start_from(tokens.by_ref().take(shape.tokens).collect())?;
        let added = courses.add(Arc::clone(&options), start, None);
        added.map_err(|refused| CliError::Generate(refused.to_string()))?;
    }
    let start = Instant::now();
    let (mut times, mut last): (Times, HashMap<CourseId, f64>) = Default::default();
    let mut failure = None;
    while !courses.is_empty() {
        writer.pass(engine, courses, |event| match event {
            Event::Tokens(id, new) => {
                let now = start.elapsed().as_secs_f64() * 1e3;
                match last.insert(id, now) {
                    None => times.first.push(now),
                    Some(before) => times.between.push((now - before) / new.len().max(1) as f64),
                }
            }
            Event::Done(..) => {}
            Event::Failed(_, error) => failure = Some(error.to_string()),
        })?;
    }
    if let Some(error) = failure {
        return Err(CliError::Generate(error));
    }
    times.prompts = times.first.iter().copied().fold(0.0, f64::max) / 1e3;
    times.texts = start.elapsed().as_secs_f64() - times.prompts;
    Ok(times)
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
