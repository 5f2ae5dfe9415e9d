//! `results.json`: what was measured, where and how.

use super::interval::Interval;
use super::machine::Machine;
use super::named::Kind;
use super::protocol::Loaded;
use crate::error::{CliError, Result};
use crate::profile::{OpCost, Statistics};
use crate::text_file::read_text;
use crate::workers::Workers;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The value of `format`; files of another one are refused.
pub(super) const FORMAT: &str = "grice-bench-2";
/// A smaller batch answers sooner, and the last percents of throughput are noise.
const OPTIMAL_SHARE: f64 = 0.97;

/// All measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) format: String,
    /// Of grice.
    pub(crate) version: String,
    /// In UTC.
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// Milliseconds of a fixed piece of work, once in each round.
    pub(crate) yardstick_ms: Vec<f64>,
    pub(crate) models: Vec<ModelResult>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelResult {
    pub(crate) model: String,
    pub(crate) kind: Kind,
    pub(crate) precision: String,
    pub(crate) kernels: String,
    pub(crate) threads: Option<usize>,
    pub(crate) adapter: Option<String>,
    pub(crate) load_ms: f64,
    pub(crate) memory: Option<Loaded>,
    /// Keys and values of one token of a text.
    pub(crate) kv_token_bytes: Option<usize>,
    pub(crate) results: Vec<Point>,
    /// The smallest batch size within 3 % of the highest throughput.
    pub(crate) optimal_batch_size: usize,
}

/// One batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) batch_size: usize,
    /// Tokens of a sequence or prompt; `None` for turns, whose texts are real.
    pub(crate) sequence_length: Option<usize>,
    /// Of a batch, from its start to its last answer.
    pub(crate) latency: Times,
    /// Sequences, texts or turns per second at the median time.
    pub(crate) throughput_per_s: f64,
    pub(crate) texts: Option<TextPoint>,
    /// The share of the time in which the GPU was busy.
    pub(crate) gpu_busy: Option<f64>,
    /// Resident after the batch.
    pub(crate) resident_bytes: Option<u64>,
    /// The most while it ran.
    pub(crate) peak_bytes: Option<u64>,
    /// Kinds of steps, the most expensive first: of a batch, of a token of all texts, or of a turn's way through a pipeline.
    pub(crate) steps: Vec<OpCost>,
}

/// What concerns texts only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TextPoint {
    pub(crate) new_tokens: usize,
    pub(crate) first_token: Times,
    pub(crate) between_tokens: Times,
    /// Tokens of prompts, until the last text has its first token.
    pub(crate) prefill_tokens_per_s: f64,
    /// New tokens of all texts, after that.
    pub(crate) decode_tokens_per_s: f64,
    /// Keys and values at the end of the texts.
    pub(crate) kv_bytes: usize,
}

/// Times, and how certain their median is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// The median of the medians of the rounds.
    pub(crate) median_ms: f64,
    /// Bounds of its interval.
    pub(crate) low_ms: f64,
    pub(crate) high_ms: f64,
    pub(crate) rounds: usize,
    /// Over all runs of all rounds.
    pub(crate) all: Statistics,
}

impl Times {
    /// The median and its interval.
    pub(super) fn interval(&self) -> Interval {
        Interval { median: self.median_ms, low: self.low_ms, high: self.high_ms }
    }
}

impl ModelResult {
    /// Its name, kind and precision; two results with the same one can be compared.
    pub(crate) fn title(&self) -> String {
        let kind = self.kind.name();
        match self.model == kind {
            true => format!("{kind} ({})", self.precision),
            false => format!("{kind}: {} ({})", self.model, self.precision),
        }
    }

    /// What runs it.
    pub(crate) fn workers(&self) -> Workers {
        Workers { threads: self.threads, adapter: self.adapter.clone() }
    }
}

/// The smallest batch size within 3 % of the highest throughput.
pub(super) fn optimal_batch_size(points: &[Point]) -> usize {
    let highest = points.iter().map(|point| point.throughput_per_s).fold(0.0, f64::max);
    let good = points.iter().filter(|point| point.throughput_per_s >= OPTIMAL_SHARE * highest);
    good.map(|point| point.batch_size).min().unwrap_or(1)
}

/// Reads results that `bench` wrote.
///
/// # Errors
/// [`CliError::Read`]; [`CliError::Results`] for a file that is broken, of another program or of another format.
pub(crate) fn read(path: &Path) -> Result<Results> {
    let broken = |cause: String| CliError::Results { place: path.display().to_string(), cause };
    let text = read_text(path)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| broken(format!("it is not JSON: {error}")))?;
    match value.get("format") {
        Some(format) if format == FORMAT => {}
        Some(other) => return Err(broken(format!("its format is {other}, and this version reads \"{FORMAT}\""))),
        None => {
            let cause = "it has no field `format`; `grice bench --output DIR` writes results with one".to_owned();
            return Err(broken(cause));
        }
    }
    let results: Results = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    check(&results).map_err(broken)?;
    Ok(results)
}

/// Less time than the yardstick takes anywhere.
const YARDSTICK_LEAST_MS: f64 = 0.01;

/// Checks what later code relies on.
fn check(results: &Results) -> Result<(), String> {
    if let Some(ms) = results.yardstick_ms.iter().find(|ms| !(YARDSTICK_LEAST_MS..=f64::MAX).contains(*ms)) {
        return Err(format!("yardstick_ms holds {ms:e}; each must be at least {YARDSTICK_LEAST_MS} milliseconds"));
    }
    for (number, model) in results.models.iter().enumerate() {
        let at = |what: String| format!("models[{number}] ({}): {what}", model.model);
        if results.models[..number].iter().any(|before| before.title() == model.title()) {
            return Err(at("it is there twice".to_owned()));
        }
        if model.results.is_empty() {
            return Err(at("results is empty; it must hold a batch size at least".to_owned()));
        }
        let mut sizes = Vec::new();
        for point in &model.results {
            if point.batch_size == 0 || sizes.contains(&point.batch_size) {
                return Err(at(format!("batch_size {} is 0 or there twice", point.batch_size)));
            }
            sizes.push(point.batch_size);
            check_point(point).map_err(|cause| at(format!("batch_size {}: {cause}", point.batch_size)))?;
        }
    }
    Ok(())
}

fn check_point(point: &Point) -> Result<(), String> {
    let texts = point.texts.iter();
    let times = std::iter::once(("latency", &point.latency)).chain(
        texts.flat_map(|texts| [("first_token", &texts.first_token), ("between_tokens", &texts.between_tokens)]),
    );
    for (name, Times { median_ms, low_ms, high_ms, .. }) in times {
        if !(0.0 <= *low_ms && low_ms <= median_ms && median_ms <= high_ms) {
            return Err(format!("{name}: low_ms, median_ms and high_ms must be in this order, and 0 or more"));
        }
    }
    match point.throughput_per_s >= 0.0 {
        true => Ok(()),
        false => Err("throughput_per_s is below 0".to_owned()),
    }
}
