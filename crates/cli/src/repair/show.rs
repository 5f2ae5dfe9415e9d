//! An outcome as text for people, or as JSON.

use super::aim::Aim;
use crate::present::headline;
use crate::terminal::Terminal;
use grice_core::task::{Outcome, StepKind, TraceStep};
use grice_core::{PerMaxim, Turn};
use serde::Serialize;
use std::fmt::Write;

/// grice's fields of a row.
#[derive(Serialize)]
struct Tail<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    generated: Option<&'o str>,
    repaired: &'o str,
    is_fallback: bool,
    before: PerMaxim<f64>,
    after: PerMaxim<f64>,
    rounds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'o [TraceStep]>,
}

/// An outcome as one JSON object, without a line end.
pub(super) fn line(aim: Aim, outcome: &Outcome, with_trace: bool) -> String {
    let tail = Tail {
        generated: outcome.generated.as_deref().filter(|_| aim == Aim::Answer),
        repaired: &outcome.response,
        is_fallback: outcome.is_fallback,
        before: rounded(&outcome.before.probabilities),
        after: rounded(&outcome.after.probabilities),
        rounds: outcome.rounds,
        trace: with_trace.then_some(&outcome.trace),
    };
    // Texts and numbers always have a JSON form.
    serde_json::to_string(&tail).unwrap_or_else(|_| "{}".to_owned())
}

/// The first of grice's fields in a row.
pub(super) fn first_field(aim: Aim) -> &'static str {
    match aim {
        Aim::Answer => "\"generated\":",
        Aim::Repair => "\"repaired\":",
    }
}

/// An outcome for people: the response, and on a terminal each step before it. Alone in a pipe, the response is all.
pub(super) fn text(aim: Aim, turn: &Turn, outcome: &Outcome, terminal: Terminal) -> String {
    let mut text = String::new();
    if terminal.pretty || aim == Aim::Answer {
        for step in &outcome.trace {
            _ = writeln!(text, "{}", step_line(step, terminal));
        }
        text.push('\n');
    }
    if terminal.pretty {
        let (mark, style) =
            if outcome.after.cooperative { ("✓ ", terminal.good()) } else { ("✗ ", terminal.bad()) };
        let mark = if terminal.unicode { mark } else { "" };
        let headline = terminal.paint(style, &format!("{mark}{}", headline(&outcome.after)));
        _ = writeln!(text, "{headline}{}", note(aim, turn, outcome));
    }
    text + &outcome.response + "\n"
}

fn note(aim: Aim, turn: &Turn, outcome: &Outcome) -> &'static str {
    match (outcome.is_fallback, aim) {
        (false, Aim::Repair) if outcome.response == turn.response => "; nothing to repair",
        _ => "",
    }
}

/// `detect   12.3 ms  quantity 91 %  I liked it.`
fn step_line(step: &TraceStep, terminal: Terminal) -> String {
    let ms = format!("{:>7.1} ms", step.took.as_secs_f64() * 1e3);
    let name = match (step.step, step.maxim) {
        (StepKind::Repair | StepKind::Retrieve, Some(maxim)) => format!("{} {maxim}", step.step.name()),
        (kind, _) => kind.name().to_owned(),
    };
    let worst = step.probabilities.as_ref().map(|probabilities| {
        let worst = probabilities.iter().max_by(|a, b| a.1.total_cmp(b.1));
        worst.map_or(String::new(), |(maxim, probability)| format!("{maxim} {:.0} %  ", probability * 100.0))
    });
    let refused = step.reason.as_ref().filter(|_| step.taken == Some(false));
    let reason = refused.map(|reason| terminal.paint(terminal.note(), &format!("  (not used: {reason})")));
    let name = terminal.paint(terminal.strong(), &format!("{name:<16}"));
    let ms = terminal.paint(terminal.faint(), &ms);
    format!("{name} {ms}  {}{}{}", worst.unwrap_or_default(), step.text, reason.unwrap_or_default())
}

/// The probabilities of an outcome, rounded as in verdicts.
fn rounded(probabilities: &PerMaxim<f32>) -> PerMaxim<f64> {
    PerMaxim::from_fn(|maxim| (f64::from(*probabilities.get(maxim)) * 1e6).round() / 1e6)
}
