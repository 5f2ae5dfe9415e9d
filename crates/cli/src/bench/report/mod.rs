//! `report.html`: one page that needs no other file and no network.

mod bars;
mod figures;
mod plot;
mod scale;
mod table;

use super::compare::{Change, Comparison, Verdict};
use super::results::{ModelResult, Results};
use bars::Bar;
use figures::{FIGURES, card, legend_item};
use scale::short;
use table::{Row, Table, escape};

/// Steps that take less are not in the table.
const LEAST_SHARE: f64 = 0.01;
const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(results: &Results, comparison: Option<&Comparison>) -> String {
    let cards: String = results.models.iter().enumerate().map(|(style, model)| card(style, model)).collect();
    let figures: String = FIGURES.iter().filter_map(|figure| figure.section(results)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>grice benchmark, {date}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>grice benchmark</h1>\n\
         <p>{machine}. grice {version}, {date}.</p>\n<p class=\"faint\"><code>{command}</code></p>\n</header>\n<main>\n\
         <ul class=\"cards\">\n{cards}</ul>\n{compared}{figures}{steps}{all}{method}</main>\n</body>\n</html>\n",
        date = escape(&results.date),
        machine = escape(&results.machine.name()),
        version = escape(&results.version),
        command = escape(&results.command),
        compared = comparison.map_or_else(String::new, compared),
        steps = steps(results),
        all = all(results),
        method = method(results),
    )
}

fn section(id: &str, title: &str, content: &str) -> String {
    format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>\n{content}</section>\n")
}

/// What changed, the worst first.
fn compared(comparison: &Comparison) -> String {
    let mut changed: Vec<&Change> =
        comparison.changes.iter().filter(|change| change.verdict != Verdict::Same).collect();
    changed.sort_by(|a, b| b.percent.total_cmp(&a.percent));
    let row = |change: &&Change| {
        let (word, class) = if change.verdict == Verdict::Worse { ("worse", "worse") } else { ("better", "better") };
        let batch = change.batch_size.map_or_else(|| "–".to_owned(), |size| size.to_string());
        let figure = format!("{}, {}", change.figure, change.unit);
        let verdict = format!("{word} by {:.1} %", change.percent.abs());
        let cells = [change.model.clone(), batch, figure, short(change.old), short(change.new), verdict];
        Row { cells: cells.into(), class }
    };
    let columns = ["model", "batch", "figure", "then", "now", "change"].map(str::to_owned).into();
    let table = Table { caption: "changes beyond noise", columns, rows: changed.iter().map(row).collect() };
    let notes: String = comparison.notes.iter().map(|note| format!("<p>{}.</p>\n", escape(note))).collect();
    let same = comparison.count(Verdict::Same);
    let lead = format!(
        "<p class=\"faint\">Against {} (grice {}, {}). {} figures changed beyond noise, {same} did not. Noise is up to {:.1} %; the yardstick took {:.2} times as long.</p>\n",
        escape(&comparison.against),
        escape(&comparison.version),
        escape(&comparison.date),
        changed.len(),
        comparison.noise_percent,
        comparison.yardstick_ratio
    );
    let table = if changed.is_empty() { String::new() } else { table.html() };
    section("compared", "Compared", &(lead + &notes + &table))
}

/// Bars of the smallest batch.
fn steps(results: &Results) -> String {
    let measured = results.models.iter().filter_map(|model| Some((model, model.results.first()?)));
    let measured: Vec<_> = measured.filter(|(_, point)| !point.steps.is_empty()).collect();
    if measured.is_empty() {
        return String::new();
    }
    let bars: Vec<Bar<'_>> = measured
        .iter()
        .map(|(model, point)| Bar {
            name: format!("{}, batch {}", model.title(), point.batch_size),
            steps: &point.steps,
        })
        .collect();
    let kinds = bars::kinds(&bars);
    let title = "Time per step";
    let names = kinds.iter().map(String::as_str).chain(["others"]);
    let legend: String = names.enumerate().map(|(style, name)| legend_item(style, name)).collect();
    let row = |(model, step): (&ModelResult, &crate::profile::OpCost)| {
        let rate = step.gflop_per_s.map_or_else(|| "–".to_owned(), short);
        let share = format!("{:.0} %", step.share * 100.0);
        let cells = [model.title(), step.op.clone(), step.calls.to_string(), short(step.total_ms), share, rate];
        Row::plain(cells.into())
    };
    let rows = measured
        .iter()
        .flat_map(|(model, point)| {
            point.steps.iter().filter(|step| step.share >= LEAST_SHARE).map(|step| row((model, step)))
        })
        .collect();
    let columns = ["model", "step", "calls", "ms", "share", "GFLOP/s"].map(str::to_owned).into();
    let table = Table { caption: "time of each kind of step, from 1 % on", columns, rows };
    let content = format!(
        "<p class=\"faint\">Of a batch; of models that write, one token of each text; of a pipeline, the way of a turn.</p>\n\
         <div class=\"figure\"><div>{}<ul class=\"legend\">{legend}</ul></div>\n{}</div>",
        bars::svg("steps-plot", title, &bars, &kinds),
        table.html()
    );
    section("steps", title, &content)
}

/// Every measured percentile.
fn all(results: &Results) -> String {
    let columns = ["model", "batch", "median", "interval", "mean", "P50", "P95", "P99", "least", "most", "per second"];
    let rows = results.models.iter().flat_map(|model| {
        model.results.iter().map(|point| {
            let (times, all) = (&point.latency, &point.latency.all);
            let interval = format!("{} – {}", short(times.low_ms), short(times.high_ms));
            let numbers = [all.mean_ms, all.p50_ms, all.p95_ms, all.p99_ms, all.min_ms, all.max_ms].map(short);
            let head = [model.title(), point.batch_size.to_string(), short(times.median_ms), interval];
            let tail = [short(point.throughput_per_s)];
            Row::plain(head.into_iter().chain(numbers).chain(tail).collect())
        })
    });
    let columns = columns.map(str::to_owned).into();
    let table =
        Table { caption: "latency of a batch in milliseconds, and answers per second", columns, rows: rows.collect() };
    section("all", "All times", &table.html())
}

fn method(results: &Results) -> String {
    let rounds = results.yardstick_ms.len();
    let yardstick: Vec<String> = results.yardstick_ms.iter().map(|ms| short(*ms)).collect();
    let content = format!(
        "<p>Each model has a process of its own. {rounds} rounds took turns over all models and batch sizes, so that other load on the machine \
         affects all of them. A figure is the median of the medians of its rounds; the interval holds the true median with a probability of at least 0.9 \
         (with fewer than five rounds it is their range). Percentiles are over all runs. The yardstick, a fixed piece of work on all cores, took {} ms in these rounds.</p>\n",
        yardstick.join(", ")
    );
    section("method", "How it was measured", &content)
}
