//! Two results: what got better, what got worse, and what is noise.
//!
//! A figure changed if the intervals of its two medians do not overlap, and the medians differ by more than the noise: the tolerance, or the
//! change of the yardstick if that is more. So a machine that was slower or busier than the other time does not count as a regression.

use super::interval::{Interval, median_of};
use super::results::{ModelResult, Point, Results, Times};
use crate::error::{CliError, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Memory that a process may need more or less by chance.
const MEMORY_NOISE_MIB: f64 = 2.0;

/// All figures that two results have in common.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// The older results.
    pub(super) against: String,
    pub(super) date: String,
    pub(super) version: String,
    /// Time of the yardstick, relative to the older one.
    pub(super) yardstick_ratio: f64,
    /// Changes up to this many percent are noise.
    pub(super) noise_percent: f64,
    /// What makes the comparison doubtful, or was not compared.
    pub(super) notes: Vec<String>,
    pub(super) changes: Vec<Change>,
}

/// One figure in both; less is better.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Change {
    pub(super) model: String,
    /// `None` for a figure of the whole model.
    pub(super) batch_size: Option<usize>,
    pub(super) figure: &'static str,
    pub(super) unit: &'static str,
    pub(super) old: f64,
    pub(super) new: f64,
    pub(super) percent: f64,
    pub(super) verdict: Verdict,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Worse,
    Better,
    Same,
}

impl Comparison {
    /// How many figures have a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.changes.iter().filter(|change| change.verdict == verdict).count()
    }

    /// For people: what changed, and how much did not.
    pub(super) fn show(&self) -> String {
        let mut text = format!(
            "\nagainst {} (grice {}, {}); noise is up to {:.1} %, the yardstick took {:.2} times as long\n",
            self.against, self.version, self.date, self.noise_percent, self.yardstick_ratio
        );
        self.notes.iter().for_each(|note| _ = writeln!(text, "note: {note}"));
        for verdict in [Verdict::Worse, Verdict::Better] {
            for change in self.changes.iter().filter(|change| change.verdict == verdict) {
                _ = writeln!(text, "{}", change.line());
            }
        }
        let [worse, better, same] = [Verdict::Worse, Verdict::Better, Verdict::Same].map(|of| self.count(of));
        _ = writeln!(text, "{worse} worse, {better} better, {same} as before");
        text
    }
}

impl Change {
    fn line(&self) -> String {
        let Change { model, figure, unit, old, new, percent, .. } = self;
        let word = if self.verdict == Verdict::Worse { "worse " } else { "better" };
        let batch = self.batch_size.map_or_else(String::new, |size| format!(", batch {size}"));
        format!("{word}  {model}{batch}: {figure} {old:.2} → {new:.2} {unit} ({percent:+.1} %)")
    }
}

/// The most that the yardstick may differ, in percent. With more, noise would hide everything.
const DRIFT_MOST: f64 = 200.0;

/// Compares new results with older ones, read from `path`.
///
/// # Errors
/// [`CliError::Results`] if they have nothing in common, or the yardsticks differ too much.
pub(super) fn compare(new: &Results, old: &Results, path: &Path, tolerance: f64) -> Result<Comparison> {
    let yardstick = median_of(&new.yardstick_ms) / median_of(&old.yardstick_ms);
    let yardstick_ratio = if yardstick.is_finite() && yardstick > 0.0 { yardstick } else { 1.0 };
    let drift = (yardstick_ratio.max(1.0 / yardstick_ratio) - 1.0) * 100.0;
    let noise_percent = tolerance.max(drift);
    let mut notes = Vec::new();
    if new.machine != old.machine {
        notes.push(format!("another machine: then {}, now {}", old.machine.name(), new.machine.name()));
    }
    let mut changes = Vec::new();
    for model in &new.models {
        match old.models.iter().find(|old| old.title() == model.title()) {
            None => notes.push(format!("{}: not measured then", model.title())),
            Some(old) if old.workers() != model.workers() => {
                let (then, now) = (old.workers(), model.workers());
                notes.push(format!("{}: not compared, because it ran on {then} then, and on {now} now", model.title()));
            }
            Some(old) => compare_model(model, old, noise_percent, &mut changes, &mut notes),
        }
    }
    let is_gone = |old: &&ModelResult| new.models.iter().all(|model| model.title() != old.title());
    notes.extend(old.models.iter().filter(is_gone).map(|old| format!("{}: measured then, and not now", old.title())));
    if drift > DRIFT_MOST {
        let cause = format!(
            "the yardstick took {yardstick_ratio:.2} times as long as when it was written, so no figure can be compared; measure both on equally \
             fast and idle machines"
        );
        return Err(CliError::Results { place: path.display().to_string(), cause });
    }
    if changes.is_empty() {
        let mut cause = "it has no model and batch size in common with the new results".to_owned();
        notes.iter().for_each(|note| _ = write!(cause, "; {note}"));
        return Err(CliError::Results { place: path.display().to_string(), cause });
    }
    let against = path.display().to_string();
    let (date, version) = (old.date.clone(), old.version.clone());
    Ok(Comparison { against, date, version, yardstick_ratio, noise_percent, notes, changes })
}

fn compare_model(new: &ModelResult, old: &ModelResult, noise: f64, changes: &mut Vec<Change>, notes: &mut Vec<String>) {
    let title = new.title();
    if let (Some(now), Some(then)) = (new.memory, old.memory) {
        let [then, now] = [then.loaded_bytes, now.loaded_bytes].map(exactly);
        changes.push(change(&title, None, ("loaded", "MiB"), [then, now], noise));
    }
    let is_gone = |old: &&Point| new.results.iter().all(|point| point.batch_size != old.batch_size);
    let gone = old.results.iter().filter(is_gone);
    notes.extend(gone.map(|old| format!("{title}, batch {}: measured then, and not now", old.batch_size)));
    for point in &new.results {
        let Some(before) = old.results.iter().find(|old| old.batch_size == point.batch_size) else { continue };
        let new_tokens = |point: &Point| point.texts.as_ref().map(|texts| texts.new_tokens);
        if point.sequence_length != before.sequence_length || new_tokens(point) != new_tokens(before) {
            notes.push(format!(
                "{title}, batch {}: not compared, because its texts had other lengths",
                point.batch_size
            ));
            continue;
        }
        for (figure, [then, now]) in figures(before, point) {
            changes.push(change(&title, Some(point.batch_size), figure, [then, now], noise));
        }
    }
}

type Figure = (&'static str, &'static str);

/// The figures that both points have: the older one first.
fn figures(old: &Point, new: &Point) -> Vec<(Figure, [Interval; 2])> {
    let of = |times: [&Times; 2]| times.map(Times::interval);
    let mut figures = vec![(("latency", "ms"), of([&old.latency, &new.latency]))];
    if let (Some(old), Some(new)) = (&old.texts, &new.texts) {
        figures.push((("first token", "ms"), of([&old.first_token, &new.first_token])));
        figures.push((("between tokens", "ms"), of([&old.between_tokens, &new.between_tokens])));
    }
    if let (Some(old), Some(new)) = (old.peak_bytes, new.peak_bytes) {
        figures.push((("peak memory", "MiB"), [old, new].map(exactly)));
    }
    figures
}

fn exactly(bytes: u64) -> Interval {
    let median = bytes as f64 / f64::from(1 << 20);
    Interval { median, low: median, high: median }
}

fn change(
    model: &str,
    batch_size: Option<usize>,
    (figure, unit): Figure,
    [old, new]: [Interval; 2],
    noise: f64,
) -> Change {
    let percent = (new.median / old.median.max(1e-9) - 1.0) * 100.0;
    // Half as long is as large a change as twice as long.
    let factor = (new.median / old.median.max(1e-9)).max(old.median / new.median.max(1e-9));
    let is_small = unit == "MiB" && (new.median - old.median).abs() <= MEMORY_NOISE_MIB;
    let verdict = match () {
        () if is_small || (factor - 1.0) * 100.0 <= noise => Verdict::Same,
        () if new.low > old.high => Verdict::Worse,
        () if new.high < old.low => Verdict::Better,
        () => Verdict::Same,
    };
    let model = model.to_owned();
    Change { model, batch_size, figure, unit, old: old.median, new: new.median, percent, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: &'static str, old: (f64, f64, f64), new: (f64, f64, f64), noise: f64, verdict: Verdict) {
        let interval = |(low, median, high)| Interval { low, median, high };
        let found = change("m", Some(1), ("f", unit), [interval(old), interval(new)], noise);
        assert_eq!(found.verdict, verdict, "{found:?}");
    }

    #[test]
    fn a_change_is_larger_than_the_noise_and_its_intervals_are_apart() {
        check("ms", (9.0, 10.0, 11.0), (11.5, 12.0, 13.0), 5.0, Verdict::Worse);
        check("ms", (11.5, 12.0, 13.0), (9.0, 10.0, 11.0), 5.0, Verdict::Better);
        check("ms", (9.0, 10.0, 11.5), (11.4, 12.0, 13.0), 5.0, Verdict::Same);
        check("ms", (9.99, 10.0, 10.01), (10.3, 10.4, 10.5), 5.0, Verdict::Same);
        check("ms", (9.0, 10.0, 11.0), (11.5, 12.0, 13.0), 25.0, Verdict::Same);
        check("MiB", (10.0, 10.0, 10.0), (11.9, 11.9, 11.9), 5.0, Verdict::Same);
        check("MiB", (10.0, 10.0, 10.0), (20.0, 20.0, 20.0), 5.0, Verdict::Worse);
        check("ms", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 5.0, Verdict::Same);
    }
}
