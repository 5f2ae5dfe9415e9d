//! `hardware`: a page with one line for each machine that was measured.

use crate::args::Hardware;
use crate::bench::{Kind, ModelResult, Results, read_results};
use crate::error::{CliError, Result};
use crate::output::{replace_file, write_stdout};
use std::fmt::Write;

const HEAD: &str = "\
# Hardware

What machines achieve with grice, one line for each that ran `grice bench`. `grice hardware RESULTS… --output docs/hardware.md` writes this page
from the files in `docs/results`; nothing in it is written by hand, and what was not measured on a machine is empty.

Each cell has the median time of the smallest batch, the most answers per second at any batch size, and the memory of the process with the loaded
model. Models that write read prompts and write new tokens of the lengths in the second table.
";

/// Writes the page.
///
/// # Errors
/// Files that are no results; prices that do not fit the files.
pub(crate) fn run(args: &Hardware) -> Result<()> {
    let (files, prices) = (args.results.len(), args.euros_per_hour.len());
    if prices > 1 && prices != files {
        return Err(CliError::Prices { prices, files });
    }
    let results = args.results.iter().map(|path| read_results(path)).collect::<Result<Vec<Results>>>()?;
    let price = |file: usize| args.euros_per_hour.get(file).or(args.euros_per_hour.first()).copied();
    let prices: Vec<Option<f64>> =
        (0..files).map(|file| if prices == files || prices == 1 { price(file) } else { None }).collect();
    let page = page(&results, &prices);
    match &args.output {
        Some(path) => replace_file(path, page.as_bytes()),
        None => write_stdout(page.as_bytes()),
    }
}

fn page(results: &[Results], prices: &[Option<f64>]) -> String {
    let titles = titles(results);
    let mut text = HEAD.to_owned();
    if results.is_empty() {
        text += "\nNo machine has been measured yet.\n";
        return text;
    }
    let head = ["machine", "cores", "memory", "kernels", "GPU"].map(str::to_owned);
    let price = if prices.iter().any(Option::is_some) { vec!["€/h".to_owned()] } else { Vec::new() };
    let columns: Vec<String> =
        head.into_iter().chain(price.clone()).chain(titles.iter().map(|title| cell(title))).collect();
    _ = writeln!(text, "\n{}\n{}", row(&columns), row(&vec!["---".to_owned(); columns.len()]));
    for (results, euros) in results.iter().zip(prices) {
        let mut cells = machine(results);
        if !price.is_empty() {
            cells.push(euros.map_or_else(String::new, |euros| format!("{euros:.2}")));
        }
        let of_title = |title: &String| results.models.iter().find(|model| model.title() == *title);
        cells.extend(
            titles.iter().map(|title| of_title(title).map_or_else(String::new, |model| figures(model, *euros))),
        );
        _ = writeln!(text, "{}", row(&cells));
    }
    text += "\n| machine | grice | date | tokens | new tokens | command |\n|---|---|---|---|---|---|\n";
    results.iter().for_each(|results| _ = writeln!(text, "{}", row(&origin(results))));
    text
}

/// The models of all files: the columns.
fn titles(results: &[Results]) -> Vec<String> {
    let mut titles: Vec<(Kind, String)> = Vec::new();
    for model in results.iter().flat_map(|results| &results.models) {
        let own = (model.kind, model.title());
        if !titles.contains(&own) {
            titles.push(own);
        }
    }
    titles.sort();
    titles.into_iter().map(|(_, title)| title).collect()
}

fn machine(results: &Results) -> Vec<String> {
    let machine = &results.machine;
    let all = |of: fn(&ModelResult) -> Option<&str>| {
        let mut names: Vec<&str> = results.models.iter().filter_map(of).collect();
        names.sort_unstable();
        names.dedup();
        cell(&names.join(", "))
    };
    let memory = machine.memory_bytes.map_or_else(String::new, |bytes| format!("{} GiB", bytes.div_ceil(1 << 30)));
    let kernels = all(|model| Some(model.kernels.as_str()));
    let gpu = all(|model| model.adapter.as_deref());
    vec![cell(machine.cpu.as_deref().unwrap_or(&machine.arch)), machine.cores.to_string(), memory, kernels, gpu]
}

fn figures(model: &ModelResult, euros: Option<f64>) -> String {
    let Some(first) = model.results.iter().min_by_key(|point| point.batch_size) else { return String::new() };
    let most = model.results.iter().map(|point| point.throughput_per_s).fold(0.0, f64::max);
    let mut text = format!("{} ms, {}/s", digits(first.latency.median_ms), digits(most));
    if let Some(memory) = model.memory {
        _ = write!(text, ", {:.0} MiB", memory.loaded_bytes as f64 / f64::from(1 << 20));
    }
    let counts_turns = [Kind::Detector, Kind::Pipeline].contains(&model.kind);
    if let Some(euros) = euros.filter(|_| counts_turns) {
        _ = write!(text, ", {} turns/€", amount(most * 3600.0 / euros));
    }
    text
}

fn origin(results: &Results) -> Vec<String> {
    let points = || results.models.iter().flat_map(|model| &model.results);
    let all = |mut numbers: Vec<usize>| {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().map(usize::to_string).collect::<Vec<String>>().join(", ")
    };
    let tokens = all(points().filter_map(|point| point.sequence_length).collect());
    let new_tokens = all(points().filter_map(|point| point.texts.as_ref().map(|texts| texts.new_tokens)).collect());
    let date = results.date.split('T').next().unwrap_or_default();
    let command = format!("`{}`", results.command.replace('`', "'"));
    [&results.machine.name(), &results.version, date, &tokens, &new_tokens, &command].map(cell).into()
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Three digits.
fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Thousands and millions.
fn amount(value: f64) -> String {
    match value {
        ..1e4 => format!("{value:.0}"),
        ..1e6 => format!("{:.0} k", value / 1e3),
        _ => format!("{:.1} M", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_cells_stay_cells() {
        for (value, text) in [(950.0, "950"), (12_345.0, "12 k"), (18_200_000.0, "18.2 M")] {
            assert_eq!(amount(value), text);
        }
        assert_eq!((digits(1.234), digits(12.34), digits(123.4)), ("1.23".into(), "12.3".into(), "123".into()));
        assert_eq!(row(&[cell("a|b\nc"), String::new()]), "| a\\|b c |  |");
    }
}
