//! The results of one model on one file.

use crate::detect::judge_rows;
use crate::error::Result;
use crate::eval::labels::{Known, Labels, read_known};
use crate::eval::metrics::{BinaryScores, Outcome, mean, score_binary, share};
use crate::eval::questions::{QuestionsReport, report_questions, show_questions};
use crate::progress::Progress;
use crate::rows::RowReader;
use crate::terminal::Terminal;
use grice_core::{Detector, Maxim, PerMaxim, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The result of one row.
pub(crate) struct Compared {
    known: Known,
    verdict: Verdict,
}

/// A row with all four labels.
struct Labelled<'a> {
    labels: &'a Labels,
    verdict: &'a Verdict,
}

/// The results, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) model: String,
    precision: &'static str,
    pub(crate) rows: usize,
    bad_rows: usize,
    maxims: PerMaxim<MaximReport>,
    /// Mean over the maxims that occur among the labels.
    pub(crate) macro_f1: Option<f64>,
    left_out_of_macro_f1: Vec<Maxim>,
    /// Share of rows with all four right.
    exact_match: Option<f64>,
    cooperative_accuracy: Option<f64>,
    violation_types: BTreeMap<String, TypeReport>,
    /// Results of the rows that answer one question.
    #[serde(skip_serializing_if = "Option::is_none")]
    judgements: Option<QuestionsReport>,
}

#[derive(Debug, Serialize)]
struct MaximReport {
    #[serde(flatten)]
    scores: BinaryScores,
    threshold: f32,
}

/// Results of the rows of one `violation_type`.
#[derive(Debug, PartialEq, Serialize)]
struct TypeReport {
    rows: usize,
    /// Share of the labelled violations that were found.
    recall: Option<f64>,
    /// Share of wrong violations among the maxims that are not violated.
    false_alarms: Option<f64>,
}

/// Judges all labelled rows; the second value is the number of rows that could not be judged.
pub(crate) fn compare_rows(
    reader: &mut RowReader,
    detector: &mut Detector,
    batch_size: usize,
    quiet: bool,
) -> Result<(Vec<Compared>, usize)> {
    let mut progress = Progress::new(reader.bytes_total(), quiet);
    let mut compared = Vec::new();
    let mut bad = 0;
    loop {
        let mut rows = Vec::new();
        while rows.len() < batch_size
            && let Some(raw) = reader.next()?
        {
            rows.push(reader.parse(raw));
        }
        if rows.is_empty() {
            return Ok((compared, bad));
        }
        let count = rows.len();
        for judged in judge_rows(detector, rows, false)? {
            match judged.verdict.and_then(|verdict| Ok(Compared { known: read_known(&judged.fields)?, verdict })) {
                Ok(row) => compared.push(row),
                Err(error) => {
                    bad += 1;
                    if !quiet {
                        progress.report(&format!("{}:{}: {error}", reader.place(), judged.line));
                    }
                }
            }
        }
        progress.advance(count, reader.bytes_read());
    }
}

pub(crate) fn build_report(compared: &[Compared], bad_rows: usize, detector: &Detector) -> Report {
    let judgements = report_questions(compared.iter().filter_map(|row| match &row.known {
        Known::Question(question) => Some((question, &row.verdict)),
        Known::Labels(_) => None,
    }));
    let labelled = compared.iter().filter_map(|row| match &row.known {
        Known::Labels(labels) => Some(Labelled { labels, verdict: &row.verdict }),
        Known::Question(_) => None,
    });
    let compared: Vec<Labelled<'_>> = labelled.collect();
    let maxims = PerMaxim::from_fn(|maxim| {
        let outcomes: Vec<Outcome> = compared.iter().map(|row| row.outcome(maxim)).collect();
        MaximReport { scores: score_binary(&outcomes), threshold: *detector.thresholds().get(maxim) }
    });
    let f1s: Vec<f64> = maxims.iter().filter_map(|(_, report)| report.scores.f1).collect();
    let left_out = maxims.iter().filter(|(_, report)| report.scores.f1.is_none()).map(|(maxim, _)| maxim).collect();
    let rows_where =
        |right: fn(&Labelled<'_>) -> bool| share(compared.iter().filter(|row| right(row)).count(), compared.len());
    Report {
        model: format!("{} {}", detector.manifest().name, detector.manifest().version).trim_end().to_owned(),
        precision: detector.engine_info().precision.name(),
        rows: compared.len(),
        bad_rows,
        macro_f1: mean(&f1s),
        left_out_of_macro_f1: left_out,
        exact_match: rows_where(|row| row.labels.violated == row.verdict.violations),
        cooperative_accuracy: rows_where(|row| {
            row.verdict.cooperative == row.labels.violated.iter().all(|(_, violated)| !violated)
        }),
        violation_types: build_type_reports(&compared),
        judgements,
        maxims,
    }
}

fn build_type_reports(compared: &[Labelled<'_>]) -> BTreeMap<String, TypeReport> {
    let mut groups: BTreeMap<&str, Vec<&Labelled<'_>>> = BTreeMap::new();
    for row in compared {
        if let Some(name) = &row.labels.violation_type {
            groups.entry(name).or_default().push(row);
        }
    }
    let reports = groups.into_iter().map(|(name, rows)| {
        let outcomes: Vec<Outcome> =
            rows.iter().flat_map(|row| Maxim::ALL.into_iter().map(|maxim| row.outcome(maxim))).collect();
        let predicted_among = |label: bool| {
            let among = outcomes.iter().filter(|outcome| outcome.label == label);
            share(among.clone().filter(|outcome| outcome.predicted).count(), among.count())
        };
        let report =
            TypeReport { rows: rows.len(), recall: predicted_among(true), false_alarms: predicted_among(false) };
        (name.to_owned(), report)
    });
    reports.collect()
}

impl Labelled<'_> {
    fn outcome(&self, maxim: Maxim) -> Outcome {
        Outcome {
            label: *self.labels.violated.get(maxim),
            probability: f64::from(*self.verdict.probabilities.get(maxim)),
            predicted: *self.verdict.violations.get(maxim),
        }
    }
}

pub(crate) fn show_report(report: &Report, terminal: Terminal) -> String {
    let heading = |text: &str| terminal.paint(terminal.strong(), text);
    let judged = report.judgements.as_ref().map_or(0, |judgements| judgements.rows);
    let mut text = format!("{} ({}), {} rows\n\n", report.model, report.precision, report.rows + judged);
    if let Some(judgements) = &report.judgements {
        show_questions(&mut text, judgements, terminal);
        if report.rows == 0 {
            return text;
        }
        text.push('\n');
    }
    let columns = "maxim     precision  recall      F1     AUC     ECE  support  threshold";
    _ = writeln!(text, "{}", heading(columns));
    for (maxim, MaximReport { scores, threshold }) in report.maxims.iter() {
        _ = writeln!(
            text,
            "{maxim:<8}  {:>9}  {:>6}  {:>6}  {:>6}  {:>6}  {:>7}  {threshold:>9.3}",
            number(scores.precision),
            number(scores.recall),
            number(scores.f1),
            number(scores.auc),
            number(scores.ece),
            scores.support,
        );
    }
    let left_out = match report.left_out_of_macro_f1.as_slice() {
        [] => String::new(),
        names => {
            let names: Vec<&str> = names.iter().map(|maxim| maxim.name()).collect();
            format!("  (without {}: no row is labelled with it)", names.join(", "))
        }
    };
    _ = writeln!(text, "\nmacro F1              {:>6}{left_out}", number(report.macro_f1));
    _ = writeln!(text, "all four right        {:>6}", number(report.exact_match));
    _ = writeln!(text, "cooperative or not    {:>6}", number(report.cooperative_accuracy));
    if !report.violation_types.is_empty() {
        show_types(&mut text, &report.violation_types, terminal);
    }
    text
}

fn show_types(text: &mut String, types: &BTreeMap<String, TypeReport>, terminal: Terminal) {
    let width = types.keys().map(|name| name.chars().count()).max().unwrap_or(0).max("violation type".len());
    let columns = format!("{:<width$}  recall  false alarms   rows", "violation type");
    _ = writeln!(text, "\n{}", terminal.paint(terminal.strong(), &columns));
    for (name, report) in types {
        let (recall, false_alarms) = (number(report.recall), number(report.false_alarms));
        _ = writeln!(text, "{name:<width$}  {recall:>6}  {false_alarms:>12}  {:>5}", report.rows);
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}
