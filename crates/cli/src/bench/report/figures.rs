//! The figures of the report: what is plotted, and the table beside each plot.

use super::plot::{Dot, Plot, Series, mark};
use super::scale::short;
use super::table::{Row, Table, escape};
use crate::bench::results::{ModelResult, Point, Results, Times};

/// A figure over the batch size.
pub(super) struct Figure {
    id: &'static str,
    title: &'static str,
    /// What it tells, in a sentence.
    lead: &'static str,
    /// The figure and its unit.
    axis: &'static str,
    is_log: bool,
    value: fn(&Point) -> Option<Dot>,
}

/// All of them; those without a value are left out of a page.
pub(super) const FIGURES: [Figure; 7] = [
    Figure {
        id: "latency",
        title: "Latency",
        lead: "From the start of a batch to its last answer. Lines through the marks are the intervals of the medians.",
        axis: "milliseconds a batch",
        is_log: true,
        value: |point| Some(of_times(point, &point.latency)),
    },
    Figure {
        id: "throughput",
        title: "Throughput",
        lead: "Answers per second. Where the curve is flat, larger batches only make each answer wait longer.",
        axis: "answers per second",
        is_log: true,
        value: |point| {
            let per_second = |ms: f64| point.batch_size as f64 / ms.max(1e-6) * 1e3;
            let (low, high) = (per_second(point.latency.high_ms), per_second(point.latency.low_ms));
            Some(Dot { batch: point.batch_size, value: point.throughput_per_s, low, high })
        },
    },
    Figure {
        id: "memory",
        title: "Memory",
        lead: "The most memory of the process while a batch runs, as the system reports it; each model has a process of its own.",
        axis: "MiB",
        is_log: false,
        value: |point| point.peak_bytes.map(|bytes| exactly(point, bytes as f64 / f64::from(1 << 20))),
    },
    Figure {
        id: "first",
        title: "Time to the first token",
        lead: "From the start of a batch of texts to the first token of each text: all prompts are read in this time.",
        axis: "milliseconds",
        is_log: true,
        value: |point| point.texts.as_ref().map(|texts| of_times(point, &texts.first_token)),
    },
    Figure {
        id: "between",
        title: "Time between tokens",
        lead: "Between two tokens of the same text, while all texts of the batch are written.",
        axis: "milliseconds",
        is_log: true,
        value: |point| point.texts.as_ref().map(|texts| of_times(point, &texts.between_tokens)),
    },
    Figure {
        id: "prefill",
        title: "Prefill",
        lead: "Tokens of prompts per second, until the last text of the batch has its first token.",
        axis: "tokens per second",
        is_log: true,
        value: |point| point.texts.as_ref().map(|texts| exactly(point, texts.prefill_tokens_per_s)),
    },
    Figure {
        id: "decode",
        title: "Decoding",
        lead: "New tokens of all texts per second, after that.",
        axis: "tokens per second",
        is_log: true,
        value: |point| point.texts.as_ref().map(|texts| exactly(point, texts.decode_tokens_per_s)),
    },
];

fn of_times(point: &Point, times: &Times) -> Dot {
    Dot { batch: point.batch_size, value: times.median_ms, low: times.low_ms, high: times.high_ms }
}

fn exactly(point: &Point, value: f64) -> Dot {
    Dot { batch: point.batch_size, value, low: value, high: value }
}

impl Figure {
    /// The section of the page; `None` if no model has the figure.
    pub(super) fn section(&self, results: &Results) -> Option<String> {
        let series = results.models.iter().enumerate().map(|(style, model)| Series {
            name: model.title(),
            style,
            points: model.results.iter().filter_map(self.value).collect(),
        });
        let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
        if series.is_empty() {
            return None;
        }
        let table = self.table(&series);
        let legend: String = series.iter().map(|series| legend_item(series.style, &series.name)).collect();
        let plot = Plot { id: self.id, title: self.title, axis: self.axis, is_log: self.is_log, series };
        Some(format!(
            "<section aria-labelledby=\"{0}\"><h2 id=\"{0}\">{1}</h2><p class=\"faint\">{2}</p>\n\
             <div class=\"figure\"><div>{3}<ul class=\"legend\">{legend}</ul></div>\n{4}</div></section>\n",
            self.id,
            self.title,
            self.lead,
            plot.svg(),
            table.html()
        ))
    }

    fn table(&self, series: &[Series]) -> Table<'_> {
        let mut batches: Vec<usize> =
            series.iter().flat_map(|series| series.points.iter().map(|dot| dot.batch)).collect();
        batches.sort_unstable();
        batches.dedup();
        let head = std::iter::once("model".to_owned()).chain(batches.iter().map(|batch| format!("batch {batch}")));
        let row = |series: &Series| {
            let cell = |batch: &usize| {
                let dot = series.points.iter().find(|dot| dot.batch == *batch);
                dot.map_or_else(String::new, |dot| short(dot.value))
            };
            Row::plain(std::iter::once(series.name.clone()).chain(batches.iter().map(cell)).collect())
        };
        Table { caption: self.axis, columns: head.collect(), rows: series.iter().map(row).collect() }
    }
}

/// A mark and a name.
pub(super) fn legend_item(style: usize, name: &str) -> String {
    format!(
        "<li class=\"s{}\"><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>{}</li>",
        style % 6,
        mark(style, 7.0, 7.0),
        escape(name)
    )
}

/// The card of a model at the head of the page.
pub(super) fn card(style: usize, model: &ModelResult) -> String {
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, fact: String| facts.push((name.to_owned(), fact));
    if let Some(point) = model.results.first() {
        add(&format!("batch of {}", point.batch_size), format!("{} ms", short(point.latency.median_ms)));
    }
    let best = model.results.iter().map(|point| point.throughput_per_s).fold(0.0, f64::max);
    add("answers/s", short(best));
    add("optimal batch", model.optimal_batch_size.to_string());
    if let Some(memory) = model.memory {
        add("memory", format!("{} MiB", short(memory.loaded_bytes as f64 / f64::from(1 << 20))));
    }
    add("kernels", model.kernels.clone());
    add("on", model.workers().to_string());
    let facts: String = facts.iter().map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>", escape(fact))).collect();
    format!("<li class=\"s{}\"><b>{}</b><dl>{facts}</dl></li>\n", style % 6, escape(&model.title()))
}
