//! Rows with people's answer to one question: whether one maxim, or any, is violated. Measures the model's agreement per question.

use crate::eval::labels::Question;
use crate::eval::metrics::{Outcome, area_under_roc, mean, share};
use crate::terminal::Terminal;
use grice_core::{Maxim, PerMaxim, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Number of bootstrap samples for an interval.
const DRAWS: usize = 200;

/// Agreement of probabilities with the answers to one question.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct QuestionReport {
    name: String,
    /// `None` if the question is about any violation.
    maxim: Option<Maxim>,
    rows: usize,
    violated: usize,
    /// Area under the ROC curve; `None` unless both answers occur.
    auc: Option<f64>,
    /// Its 95 % interval, from resampling groups.
    auc_95: Option<[f64; 2]>,
    /// Share of the violating responses that are flagged.
    recall: Option<f64>,
    /// Share of the others that are flagged.
    false_alarms: Option<f64>,
}

/// People's answer and the model's probability.
type Answered<'a> = (&'a Question, Outcome);

/// All questions, and the means per maxim.
#[derive(Debug, Serialize)]
pub(crate) struct QuestionsReport {
    pub(crate) rows: usize,
    questions: Vec<QuestionReport>,
    mean_auc: PerMaxim<Option<f64>>,
}

/// Scores answers, question by question; `None` without any.
pub(crate) fn report_questions<'a>(
    answers: impl Iterator<Item = (&'a Question, &'a Verdict)>,
) -> Option<QuestionsReport> {
    let mut by_question: BTreeMap<(Option<&str>, &str), Vec<Answered<'_>>> = BTreeMap::new();
    let mut rows = 0;
    for (question, verdict) in answers {
        let key = (question.maxim.map(Maxim::name), question.name.as_str());
        by_question.entry(key).or_default().push((question, outcome(question, verdict)));
        rows += 1;
    }
    let questions: Vec<QuestionReport> = by_question.values().map(|answers| report_question(answers)).collect();
    let mean_auc = PerMaxim::from_fn(|maxim| {
        let of_maxim = questions.iter().filter(|question| question.maxim == Some(maxim));
        mean(&of_maxim.filter_map(|question| question.auc).collect::<Vec<_>>())
    });
    (rows > 0).then_some(QuestionsReport { rows, questions, mean_auc })
}

fn outcome(question: &Question, verdict: &Verdict) -> Outcome {
    let (probability, predicted) = match question.maxim {
        Some(maxim) => (*verdict.probabilities.get(maxim), *verdict.violations.get(maxim)),
        None => {
            let highest = verdict.probabilities.iter().map(|(_, probability)| *probability).fold(0.0, f32::max);
            (highest, !verdict.cooperative)
        }
    };
    Outcome { label: question.violated, probability: f64::from(probability), predicted }
}

fn report_question(answers: &[Answered<'_>]) -> QuestionReport {
    let outcomes: Vec<Outcome> = answers.iter().map(|(_, outcome)| *outcome).collect();
    let flagged = |label: bool| {
        let among: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.label == label).collect();
        share(among.iter().filter(|outcome| outcome.predicted).count(), among.len())
    };
    let question = answers[0].0;
    QuestionReport {
        name: question.name.clone(),
        maxim: question.maxim,
        rows: outcomes.len(),
        violated: outcomes.iter().filter(|outcome| outcome.label).count(),
        auc: area_under_roc(&outcomes),
        auc_95: interval(answers),
        recall: flagged(true),
        false_alarms: flagged(false),
    }
}

/// The 2.5th and 97.5th percentile of the area over bootstrap samples of groups, the same samples in every run. A row
/// without a group is its own group.
fn interval(answers: &[Answered<'_>]) -> Option<[f64; 2]> {
    let mut groups: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for (place, (question, outcome)) in answers.iter().enumerate() {
        let group = question.group.as_ref().map_or_else(|| format!("row {place}"), |group| format!("group {group}"));
        groups.entry(group).or_default().push(*outcome);
    }
    let groups: Vec<Vec<Outcome>> = groups.into_values().collect();
    let mut random = Random(0);
    let mut areas: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let drawn: Vec<Outcome> =
                (0..groups.len()).flat_map(|_| groups[random.below(groups.len())].iter().copied()).collect();
            area_under_roc(&drawn)
        })
        .collect();
    areas.sort_by(f64::total_cmp);
    let at = |share: f64| areas.get((share * areas.len() as f64) as usize).copied();
    Some([at(0.025)?, at(0.975)?])
}

/// SplitMix64 (Steele et al., 2014), for samples that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % count as u64) as usize
    }
}

/// A table of the questions and a line of means.
pub(crate) fn show_questions(text: &mut String, report: &QuestionsReport, terminal: Terminal) {
    let width = report.questions.iter().map(|question| question.name.chars().count()).max().unwrap_or(0).max(8);
    let columns =
        format!("maxim     {:<width$}   rows  violated    AUC  95 %            recall  false alarms", "question");
    _ = writeln!(text, "{}", terminal.paint(terminal.strong(), &columns));
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    for question in &report.questions {
        let interval = question.auc_95.map_or_else(|| "-".to_owned(), |[low, high]| format!("{low:.3} to {high:.3}"));
        _ = writeln!(
            text,
            "{:<8}  {:<width$}  {:>5}  {:>8}  {:>5}  {interval:<14}  {:>6}  {:>12}",
            question.maxim.map_or("any", Maxim::name),
            question.name,
            question.rows,
            question.violated,
            number(question.auc),
            number(question.recall),
            number(question.false_alarms),
        );
    }
    let means = report.mean_auc.iter().filter_map(|(maxim, mean)| Some(format!("{maxim} {:.3}", (*mean)?)));
    let means: Vec<String> = means.collect();
    if !means.is_empty() {
        _ = writeln!(text, "\nmean AUC over the questions of a maxim: {}", means.join(", "));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn question(group: Option<&str>) -> Question {
        Question { name: "q".to_owned(), maxim: Some(Maxim::Manner), violated: true, group: group.map(str::to_owned) }
    }

    fn outcomes(of: &[(bool, f64)]) -> Vec<Outcome> {
        of.iter().map(|&(label, probability)| Outcome { label, probability, predicted: probability > 0.5 }).collect()
    }

    #[test]
    fn one_group_leaves_nothing_to_chance() {
        let question = question(Some("g"));
        let outcomes = outcomes(&[(true, 0.9), (false, 0.7), (true, 0.6), (false, 0.1)]);
        let answers: Vec<(&Question, Outcome)> = outcomes.iter().map(|outcome| (&question, *outcome)).collect();
        let report = report_question(&answers);
        assert_eq!((report.auc, report.auc_95), (Some(0.75), Some([0.75, 0.75])));
        assert_eq!((report.recall, report.false_alarms), (Some(1.0), Some(0.5)));
    }

    #[test]
    fn intervals_narrow_with_more_rows_and_hold_the_area() {
        let question = question(None);
        let wide = |count: usize| {
            let outcomes: Vec<(bool, f64)> =
                (0..count).map(|row| (row % 2 == 0, f64::from((row * 37 % 101) as u32) / 101.0)).collect();
            let outcomes = self::outcomes(&outcomes);
            let answers: Vec<(&Question, Outcome)> = outcomes.iter().map(|outcome| (&question, *outcome)).collect();
            let report = report_question(&answers);
            let [low, high] = report.auc_95.unwrap();
            assert!(low <= report.auc.unwrap() && report.auc.unwrap() <= high, "{report:?}");
            high - low
        };
        let (few, many) = (wide(40), wide(1000));
        assert!(many < few / 3.0 && many > 0.0, "{few} and {many}");
    }

    #[test]
    fn one_kind_of_answer_has_no_area() {
        let question = question(None);
        let outcomes = outcomes(&[(true, 0.9), (true, 0.2)]);
        let answers: Vec<(&Question, Outcome)> = outcomes.iter().map(|outcome| (&question, *outcome)).collect();
        let report = report_question(&answers);
        assert_eq!((report.auc, report.auc_95, report.false_alarms), (None, None, None));
    }
}
