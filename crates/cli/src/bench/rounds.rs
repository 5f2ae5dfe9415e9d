//! Rounds over all models and batch sizes, and what they amount to.

use super::child::ModelProcess;
use super::interval::{Interval, median_of};
use super::machine::yardstick_ms;
use super::named::Kind;
use super::protocol::{Ask, Runs, Sample, TextTimes};
use super::results::{ModelResult, Point, TextPoint, Times, optimal_batch_size};
use crate::args::Bench;
use crate::error::Result;
use crate::profile::{Statistics, rounded};

/// Time of a batch size in a round.
const ROUND_MS: u64 = 200;

/// Everything that one model told.
struct Samples {
    /// For each batch size: the first run, with memory and steps, which is not timed.
    first: Vec<Sample>,
    /// For each batch size: each round.
    rounds: Vec<Vec<Sample>>,
}

/// What the rounds amount to: a result for each model, and the yardstick of each round. `tell` gets the progress.
///
/// # Errors
/// [`crate::error::CliError::BenchModel`] with the error of the model.
pub(super) fn measure(
    models: &mut [ModelProcess],
    args: &Bench,
    tell: impl Fn(&str),
) -> Result<(Vec<ModelResult>, Vec<f64>)> {
    let sizes: Vec<usize> = args.batch_sizes.iter().map(|size| size.get()).collect();
    let mut all = Vec::new();
    for model in models.iter_mut() {
        tell(&format!("{}: first runs", model.ready.name));
        let mut first = Vec::new();
        for &rows in &sizes {
            first.push(model.measure(Ask { rows, runs: Runs::Exactly(1), steps: true })?);
        }
        all.push(Samples { first, rounds: vec![Vec::new(); sizes.len()] });
    }
    let runs = args.runs.map_or(Runs::Within(ROUND_MS), |runs| Runs::Exactly(runs.get()));
    let mut yardstick = Vec::new();
    for round in 1..=args.rounds.get() {
        tell(&format!("round {round} of {}", args.rounds));
        yardstick.push(rounded(yardstick_ms()));
        for (model, samples) in models.iter_mut().zip(&mut all) {
            for (&rows, rounds) in sizes.iter().zip(&mut samples.rounds) {
                rounds.push(model.measure(Ask { rows, runs, steps: false })?);
            }
        }
    }
    let results = models.iter().zip(all).map(|(model, samples)| result(model, samples, &sizes, args));
    Ok((results.collect(), yardstick))
}

fn result(model: &ModelProcess, samples: Samples, sizes: &[usize], args: &Bench) -> ModelResult {
    let ready = &model.ready;
    let points = sizes.iter().zip(samples.first).zip(samples.rounds);
    let results: Vec<Point> = points
        .map(|((&rows, first), rounds)| point(model.kind, rows, first, &rounds, args, ready.kv_token_bytes))
        .collect();
    ModelResult {
        model: ready.name.clone(),
        kind: model.kind,
        precision: ready.precision.clone(),
        kernels: ready.kernels.clone(),
        threads: ready.workers.threads,
        adapter: ready.workers.adapter.clone(),
        load_ms: ready.load_ms,
        memory: ready.memory,
        kv_token_bytes: ready.kv_token_bytes,
        optimal_batch_size: optimal_batch_size(&results),
        results,
    }
}

fn point(kind: Kind, rows: usize, first: Sample, rounds: &[Sample], args: &Bench, kv_token: Option<usize>) -> Point {
    let latency = times(rounds.iter().map(|sample| sample.latency_ms.as_slice()));
    let texts: Vec<&TextTimes> = rounds.iter().filter_map(|sample| sample.texts.as_ref()).collect();
    Point {
        batch_size: rows,
        sequence_length: (kind != Kind::Pipeline).then_some(args.tokens.get()),
        throughput_per_s: rounded(rows as f64 / latency.median_ms.max(1e-6) * 1e3),
        latency,
        texts: (!texts.is_empty()).then(|| text_point(rows, &texts, args, kv_token.unwrap_or(0))),
        gpu_busy: first.gpu_busy,
        resident_bytes: first.resident_bytes,
        peak_bytes: first.peak_bytes,
        steps: first.steps,
    }
}

fn text_point(rows: usize, texts: &[&TextTimes], args: &Bench, kv_token: usize) -> TextPoint {
    let (prompt, new) = (args.tokens.get(), args.new_tokens.get());
    let seconds = |pick: fn(&TextTimes) -> &Vec<f64>| {
        let medians: Vec<f64> = texts.iter().map(|texts| median_of(pick(texts))).collect();
        median_of(&medians).max(1e-9)
    };
    TextPoint {
        new_tokens: new,
        first_token: times(texts.iter().map(|texts| texts.first_ms.as_slice())),
        between_tokens: times(texts.iter().map(|texts| texts.between_ms.as_slice())),
        prefill_tokens_per_s: rounded((rows * prompt) as f64 / seconds(|texts| &texts.prompts_s)),
        decode_tokens_per_s: rounded((rows * (new - 1)) as f64 / seconds(|texts| &texts.rest_s)),
        kv_bytes: rows * (prompt + new) * kv_token,
    }
}

/// The median of the medians of the rounds, and statistics of all runs.
fn times<'s>(rounds: impl Iterator<Item = &'s [f64]>) -> Times {
    let rounds: Vec<&[f64]> = rounds.filter(|round| !round.is_empty()).collect();
    let medians: Vec<f64> = rounds.iter().map(|round| median_of(round)).collect();
    let Interval { median, low, high } =
        Interval::of(&medians).unwrap_or(Interval { median: 0.0, low: 0.0, high: 0.0 });
    Times {
        median_ms: rounded(median),
        low_ms: rounded(low),
        high_ms: rounded(high),
        rounds: rounds.len(),
        all: Statistics::of(&rounds.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_counts_once_however_often_it_ran() {
        let rounds: [&[f64]; 3] = [&[1.0, 1.0, 1.0, 9.0], &[2.0], &[4.0, 3.0]];
        let found = times(rounds.into_iter());
        assert_eq!((found.median_ms, found.low_ms, found.high_ms, found.rounds), (2.0, 1.0, 3.5, 3));
        assert_eq!((found.all.max_ms, found.all.p50_ms), (9.0, 2.0));
        assert_eq!(times(std::iter::empty()).rounds, 0);
    }
}
