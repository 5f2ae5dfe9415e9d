//! Compares the answers of a quantized model with its source: decisions and probabilities.

use crate::{Error, Result};
use serde::Serialize;

/// How logits become decisions, for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name of the label.
    pub name: String,
    /// probability = sigmoid(logit / temperature).
    pub temperature: f32,
    /// yes when probability > threshold.
    pub threshold: f32,
}

/// Rows to measure a model with.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Token ids of each row, special tokens included.
    pub ids: Vec<Vec<u32>>,
    /// Labels, row by row and column by column; `None` if unlabelled.
    pub labels: Option<Vec<Vec<bool>>>,
}

/// Logits, row by row and column by column.
pub type Answers = Vec<Vec<f32>>;

/// The comparison of a quantized model with its source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The value to compare with the floor: with labels, macro F1 after divided by macro F1 before; without labels, the
    /// smallest agreement of a column.
    pub kept: f64,
    /// Macro F1 of the source, over the columns that occur among the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1_before: Option<f64>,
    /// Macro F1 of the quantized model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1_after: Option<f64>,
    /// Share of rows with the same decision, for each column, in order.
    pub agreement: Vec<(String, f64)>,
    /// Mean Kullback-Leibler divergence of the probabilities, in nats, over rows and columns.
    pub mean_kl: f64,
    /// Largest difference of a logit.
    pub logit_error_max: f64,
}

/// Compares answers to the same rows.
///
/// # Errors
/// [`Error::Judge`] for answers that do not fit the rows and columns, or a source with answers that are not finite.
pub fn compare(columns: &[Column], rows: &Rows, before: &Answers, after: &Answers) -> Result<Score> {
    check_answers("the fp32 model", columns, rows, before)?;
    check_shape("the quantized model", columns, rows, after)?;
    let finite = after.iter().flatten().all(|logit| logit.is_finite());
    let decide = |answers: &Answers| -> Vec<Vec<bool>> { answers.iter().map(|row| decisions(columns, row)).collect() };
    let (was, is) = (decide(before), decide(after));
    let agreement: Vec<(String, f64)> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let same = was.iter().zip(&is).filter(|(was, is)| was[place] == is[place]).count();
            (column.name.clone(), same as f64 / was.len() as f64)
        })
        .collect();
    let labels = rows.labels.as_ref();
    let macro_f1_before = labels.and_then(|labels| macro_f1(labels, &was, columns.len()));
    let macro_f1_after = labels.and_then(|labels| macro_f1(labels, &is, columns.len()));
    let kept = match (macro_f1_before, macro_f1_after) {
        // A source that finds no violations cannot lose any; then use the agreement.
        (Some(before), Some(after)) if before > 0.0 => after / before,
        _ => agreement.iter().map(|(_, share)| *share).fold(1.0, f64::min),
    };
    let pairs = || before.iter().zip(after).flat_map(|(before, after)| before.iter().zip(after).enumerate());
    let kl: f64 = pairs().map(|(place, (&before, &after))| divergence(&columns[place], before, after)).sum();
    let logit_error_max = pairs().map(|(_, (before, after))| f64::from((before - after).abs())).fold(0.0, f64::max);
    Ok(Score {
        // A model that returns NaN has lost everything, regardless of comparisons.
        kept: if finite { kept } else { 0.0 },
        macro_f1_before,
        macro_f1_after,
        agreement,
        mean_kl: kl / (before.len() * columns.len()) as f64,
        logit_error_max,
    })
}

/// Mean squared difference of the logits; infinite if one is NaN.
pub(crate) fn logit_noise(before: &Answers, after: &Answers) -> f64 {
    let pairs = before.iter().flatten().zip(after.iter().flatten());
    let (sum, count) = pairs.fold((0.0, 0usize), |(sum, count), (before, after)| {
        (sum + (f64::from(*before) - f64::from(*after)).powi(2), count + 1)
    });
    let mean = sum / count.max(1) as f64;
    if mean.is_finite() { mean } else { f64::INFINITY }
}

/// Checks that a model's answers can be compared.
///
/// # Errors
/// [`Error::Judge`].
pub(crate) fn check_answers(whose: &str, columns: &[Column], rows: &Rows, answers: &Answers) -> Result<()> {
    check_shape(whose, columns, rows, answers)?;
    match answers.iter().position(|row| row.iter().any(|logit| !logit.is_finite())) {
        Some(row) => {
            Err(Error::Judge(format!("{whose} returns a logit for row {} that is not a finite number", row + 1)))
        }
        None => Ok(()),
    }
}

fn check_shape(whose: &str, columns: &[Column], rows: &Rows, answers: &Answers) -> Result<()> {
    let problem = |text: String| Err(Error::Judge(text));
    if rows.ids.is_empty() {
        return problem("there are no rows".to_owned());
    }
    if answers.len() != rows.ids.len() {
        return problem(format!("{whose} returned {} answers to {} rows", answers.len(), rows.ids.len()));
    }
    if let Some(row) = answers.iter().find(|row| row.len() != columns.len()) {
        return problem(format!("{whose} returns {} logits, but {} columns are expected", row.len(), columns.len()));
    }
    let labels_fit = rows
        .labels
        .as_ref()
        .is_none_or(|labels| labels.len() == rows.ids.len() && labels.iter().all(|row| row.len() == columns.len()));
    if labels_fit { Ok(()) } else { problem("the labels do not fit the rows".to_owned()) }
}

fn decisions(columns: &[Column], logits: &[f32]) -> Vec<bool> {
    columns
        .iter()
        .zip(logits)
        .map(|(column, &logit)| probability(column, logit) > f64::from(column.threshold))
        .collect()
}

fn probability(column: &Column, logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit) / f64::from(column.temperature)).exp())
}

/// KL(before ‖ after) of a yes-or-no probability, in nats.
fn divergence(column: &Column, before: f32, after: f32) -> f64 {
    // ln of the sigmoid, so that probabilities near 0 and 1 keep their digits.
    let log_yes = |logit: f64| if logit > 0.0 { -(-logit).exp().ln_1p() } else { logit - logit.exp().ln_1p() };
    let (was, is) =
        (f64::from(before) / f64::from(column.temperature), f64::from(after) / f64::from(column.temperature));
    let p = probability(column, before);
    (p * (log_yes(was) - log_yes(is)) + (1.0 - p) * (log_yes(-was) - log_yes(-is))).max(0.0)
}

/// The mean of 2TP / (2TP + FP + FN) over the columns with a positive label; `None` if there is none.
fn macro_f1(labels: &[Vec<bool>], decided: &[Vec<bool>], columns: usize) -> Option<f64> {
    let f1 = |place: usize| {
        let pairs = || labels.iter().zip(decided).map(|(label, decided)| (label[place], decided[place]));
        let count = |wanted: (bool, bool)| pairs().filter(|&pair| pair == wanted).count() as f64;
        let (hits, misses, alarms) = (count((true, true)), count((true, false)), count((false, true)));
        (hits + misses > 0.0).then(|| 2.0 * hits / (2.0 * hits + misses + alarms))
    };
    let scores: Vec<f64> = (0..columns).filter_map(f1).collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn columns(count: usize) -> Vec<Column> {
        (0..count).map(|place| Column { name: format!("c{place}"), temperature: 0.5, threshold: 0.6 }).collect()
    }

    fn rows(count: usize, labels: Option<Vec<Vec<bool>>>) -> Rows {
        Rows { ids: vec![vec![1]; count], labels }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn equal_answers_are_perfect() {
        let answers = vec![vec![0.5, -3.0], vec![60.0, -60.0]];
        let score = compare(&columns(2), &rows(2, None), &answers, &answers).unwrap();
        assert_eq!((score.kept, score.mean_kl, score.logit_error_max), (1.0, 0.0, 0.0));
    }

    #[test]
    fn agreement_is_that_of_the_worst_column() {
        // sigmoid(x / 0.5) > 0.6 from x = 0.2027 on.
        let before = vec![vec![0.2, 1.0], vec![0.3, 1.0], vec![-1.0, 1.0], vec![-1.0, -1.0]];
        let after = vec![vec![0.21, 1.0], vec![0.3, 1.0], vec![-1.0, 2.0], vec![-1.0, -1.0]];
        let score = compare(&columns(2), &rows(4, None), &before, &after).unwrap();
        close(score.kept, 0.75);
        assert_eq!(score.agreement, [("c0".to_owned(), 0.75), ("c1".to_owned(), 1.0)]);
        close(score.logit_error_max, 1.0);
    }

    #[test]
    fn labels_turn_it_into_f1() {
        let labels = vec![vec![true, false], vec![true, false], vec![false, false]];
        let before = vec![vec![1.0, 0.0], vec![1.0, 0.0], vec![1.0, 0.0]];
        let after = vec![vec![1.0, 0.0], vec![-1.0, 0.0], vec![-1.0, 0.0]];
        let score = compare(&columns(2), &rows(3, Some(labels)), &before, &after).unwrap();
        // Two hits and a false alarm; then a hit and a miss. The second column has no label and does not count.
        close(score.macro_f1_before.unwrap(), 0.8);
        close(score.macro_f1_after.unwrap(), 2.0 / 3.0);
        close(score.kept, 2.0 / 3.0 / 0.8);
    }

    #[test]
    fn a_source_that_finds_nothing_is_judged_by_agreement() {
        let labels = Some(vec![vec![true], vec![false]]);
        let score = compare(&columns(1), &rows(2, labels), &vec![vec![-1.0]; 2], &vec![vec![-1.0], vec![1.0]]).unwrap();
        close(score.kept, 0.5);
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        let column = Column { name: String::new(), temperature: 2.0, threshold: 0.5 };
        let (p, q): (f64, f64) = (1.0 / (1.0 + (-0.5f64).exp()), 1.0 / (1.0 + 1.0f64.exp()));
        close(divergence(&column, 1.0, -2.0), p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln());
        assert!(divergence(&column, 300.0, -300.0).is_finite());
    }

    #[test]
    fn not_a_number_loses_everything() {
        let score = compare(&columns(1), &rows(1, None), &vec![vec![-1.0]], &vec![vec![f32::NAN]]).unwrap();
        assert_eq!(score.kept, 0.0);
        let told = compare(&columns(1), &rows(1, None), &vec![vec![f32::NAN]], &vec![vec![0.0]]).unwrap_err();
        assert!(told.to_string().contains("row 1"), "{told}");
    }

    #[test]
    fn answers_that_do_not_fit_are_refused() {
        let check = |rows: Rows, answers: Answers, words: &str| {
            let told = compare(&columns(2), &rows, &answers, &answers).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        };
        check(rows(0, None), vec![], "no rows");
        check(rows(2, None), vec![vec![0.0, 0.0]], "1 answers to 2 rows");
        check(rows(1, None), vec![vec![0.0]], "1 logits, but 2");
        check(rows(1, Some(vec![vec![true]])), vec![vec![0.0, 0.0]], "labels");
    }
}
