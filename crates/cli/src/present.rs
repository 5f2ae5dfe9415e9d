//! A readable verdict: bars on a terminal, a plain table otherwise.

use crate::terminal::Terminal;
use grice_core::{Manifest, Maxim, PerMaxim, Verdict};
use std::fmt::Write;

const BAR_CELLS: usize = 32;

/// The whole text, with line ends.
pub(crate) fn show_verdict(
    verdict: &Verdict,
    thresholds: &PerMaxim<f32>,
    manifest: &Manifest,
    terminal: Terminal,
) -> String {
    if terminal.pretty { show_bars(verdict, thresholds, manifest, terminal) } else { show_table(verdict, thresholds) }
}

/// `violates quantity and manner`, or `cooperative`.
pub(crate) fn headline(verdict: &Verdict) -> String {
    let violated: Vec<&str> = violated(verdict).map(Maxim::name).collect();
    match violated.as_slice() {
        [] => "cooperative".to_owned(),
        [one] => format!("violates {one}"),
        [first @ .., last] => format!("violates {} and {last}", first.join(", ")),
    }
}

fn violated(verdict: &Verdict) -> impl Iterator<Item = Maxim> {
    verdict.violations.iter().filter(|(_, violated)| **violated).map(|(maxim, _)| maxim)
}

/// The meaning of a violation of a maxim.
fn reason(maxim: Maxim) -> &'static str {
    match maxim {
        Maxim::Quantity => "says more or less than was asked for",
        Maxim::Quality => "is not supported by the evidence or the dialogue",
        Maxim::Relation => "is off topic",
        Maxim::Manner => "is unclear, long-winded or out of order",
    }
}

fn show_table(verdict: &Verdict, thresholds: &PerMaxim<f32>) -> String {
    let mut text = format!("verdict: {}\n", headline(verdict));
    text += "maxim     probability  threshold  violated\n";
    for (maxim, probability) in verdict.probabilities.iter() {
        let violated = if *verdict.violations.get(maxim) { "yes" } else { "no" };
        _ = writeln!(text, "{maxim:<8}  {probability:>11.4}  {:>9.4}  {violated}", thresholds.get(maxim));
    }
    _ = writeln!(text, "truncated: {}", if verdict.truncated { "yes" } else { "no" });
    if verdict.unknown_share > 0.0 {
        _ = writeln!(text, "unknown text: {:.1} %", verdict.unknown_share * 100.0);
    }
    text
}

fn show_bars(verdict: &Verdict, thresholds: &PerMaxim<f32>, manifest: &Manifest, terminal: Terminal) -> String {
    let (cross, tick) = if terminal.unicode { ("✗ ", "✓ ") } else { ("", "") };
    let (mark, style) = if verdict.cooperative { (tick, terminal.good()) } else { (cross, terminal.bad()) };
    let mut text = format!("{}\n\n", terminal.paint(style, &format!("{mark}{}", headline(verdict))));
    for (maxim, &probability) in verdict.probabilities.iter() {
        let violated = *verdict.violations.get(maxim);
        let threshold = *thresholds.get(maxim);
        let name = format!("{maxim:<8}");
        let percent = format!("{:>6.1} %", probability * 100.0);
        let (name, percent) = if violated {
            (terminal.paint(terminal.bad(), &name), terminal.paint(terminal.bad(), &percent))
        } else {
            (name, percent)
        };
        let bar = show_bar(probability, threshold, violated, terminal);
        let limit = terminal.paint(terminal.faint(), &format!("violated above {:.0} %", threshold * 100.0));
        _ = writeln!(text, "  {name}  {bar} {percent}  {limit}");
    }
    if !verdict.cooperative {
        text.push('\n');
    }
    for maxim in violated(verdict) {
        _ = writeln!(text, "  {} {}", terminal.paint(terminal.strong(), &format!("{maxim}:")), reason(maxim));
    }
    if verdict.truncated {
        let note = format!(
            "note: longer than the {} tokens that the model reads; the oldest part of the context was cut first",
            manifest.max_tokens
        );
        _ = writeln!(text, "\n  {}", terminal.paint(terminal.note(), &note));
    }
    if verdict.unknown_share > 0.0 && !verdict.is_mostly_unknown() {
        let note = format!("note: the model's tokenizer does not know {}", unknown_part(verdict));
        _ = writeln!(text, "\n  {}", terminal.paint(terminal.note(), &note));
    }
    text
}

/// Why a verdict means little, if it does.
pub(crate) fn unknown_warning(verdict: &Verdict) -> Option<String> {
    let told = || {
        let part = unknown_part(verdict);
        format!("the model's tokenizer does not know {part} (another script?), so the verdict means little")
    };
    verdict.is_mostly_unknown().then(told)
}

fn unknown_part(verdict: &Verdict) -> String {
    format!("{:.1} % of the response", verdict.unknown_share * 100.0)
}

/// Full cells up to the probability, a mark at the threshold, and faint cells for the rest.
fn show_bar(probability: f32, threshold: f32, violated: bool, terminal: Terminal) -> String {
    let (full, empty, mark) = if terminal.unicode { ("━", "─", "┃") } else { ("#", ".", "|") };
    let cells = |share: f32| (share.clamp(0.0, 1.0) * BAR_CELLS as f32).round() as usize;
    let filled = cells(probability);
    let limit = cells(threshold).min(BAR_CELLS - 1);
    let colour = if violated { terminal.bad() } else { terminal.good() };
    // Paint runs of the same kind together: one style per cell would triple the text.
    let run = |from: usize, to: usize| {
        let until = filled.clamp(from, to);
        let mut part = String::new();
        if until > from {
            part += &terminal.paint(colour, &full.repeat(until - from));
        }
        if to > until {
            part += &terminal.paint(terminal.faint(), &empty.repeat(to - until));
        }
        part
    };
    format!("{}{mark}{}", run(0, limit), run(limit + 1, BAR_CELLS))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::args::Color;

    fn check_headline(maxims: &[Maxim], expected: &str) {
        let violations = PerMaxim::from_fn(|maxim| maxims.contains(&maxim));
        let verdict = Verdict {
            probabilities: PerMaxim::default(),
            violations,
            cooperative: maxims.is_empty(),
            truncated: false,
            unknown_share: 0.0,
        };
        assert_eq!(headline(&verdict), expected);
    }

    #[test]
    fn the_headline_names_what_is_violated() {
        check_headline(&[], "cooperative");
        check_headline(&[Maxim::Quantity], "violates quantity");
        check_headline(&[Maxim::Manner, Maxim::Quality], "violates quality and manner");
        check_headline(&Maxim::ALL, "violates quantity, quality, relation and manner");
    }

    #[test]
    fn a_bar_is_as_wide_as_any_other() {
        let mut terminal = Terminal::of_stdout(Color::Never);
        terminal.unicode = false;
        for probability in [0.0, 0.001, 0.49, 0.5, 0.51, 0.999, 1.0] {
            for threshold in [0.001, 0.5, 0.999] {
                assert_eq!(show_bar(probability, threshold, false, terminal).len(), BAR_CELLS);
            }
        }
        assert_eq!(
            show_bar(0.75, 0.5, false, terminal),
            format!("{}|{}{}", "#".repeat(16), "#".repeat(7), ".".repeat(8))
        );
    }
}
