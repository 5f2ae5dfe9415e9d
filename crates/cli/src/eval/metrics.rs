//! Metrics from labels and predictions. Undefined values are `None`, never NaN.

use serde::Serialize;

const CALIBRATION_BINS: usize = 15;

/// One yes-or-no prediction and its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The label.
    pub(crate) label: bool,
    /// Probability of yes, from 0 to 1.
    pub(crate) probability: f64,
    /// The prediction.
    pub(crate) predicted: bool,
}

/// Metrics of yes-or-no predictions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BinaryScores {
    /// Outcomes labelled yes.
    pub(crate) support: usize,
    /// Share of correct ones among those predicted yes; `None` if none is predicted yes.
    pub(crate) precision: Option<f64>,
    /// Share of those labelled yes that are predicted; `None` if none is labelled yes.
    pub(crate) recall: Option<f64>,
    /// Harmonic mean of precision and recall, 2TP / (2TP + FP + FN); `None` if none is labelled yes.
    pub(crate) f1: Option<f64>,
    /// Area under the ROC curve; `None` unless both labels occur.
    pub(crate) auc: Option<f64>,
    /// Expected calibration error over 15 bins of equal width; `None` without outcomes.
    pub(crate) ece: Option<f64>,
}

/// Scores outcomes.
pub(crate) fn score_binary(outcomes: &[Outcome]) -> BinaryScores {
    let count = |label: bool, predicted: bool| {
        outcomes.iter().filter(|outcome| outcome.label == label && outcome.predicted == predicted).count()
    };
    let (hits, misses, false_alarms) = (count(true, true), count(true, false), count(false, true));
    let support = hits + misses;
    BinaryScores {
        support,
        precision: share(hits, hits + false_alarms),
        recall: share(hits, support),
        f1: if support == 0 { None } else { share(2 * hits, 2 * hits + false_alarms + misses) },
        auc: area_under_roc(outcomes),
        ece: calibration_error(outcomes),
    }
}

/// `part / whole`; `None` if `whole` is 0.
pub(crate) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The mean; `None` without values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The chance that an outcome labelled yes has the higher probability than one labelled no, ties counted half: the Mann-Whitney
/// statistic, from ranks with ties sharing their mean rank.
pub(crate) fn area_under_roc(outcomes: &[Outcome]) -> Option<f64> {
    let mut sorted: Vec<(f64, bool)> = outcomes.iter().map(|outcome| (outcome.probability, outcome.label)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let yes = sorted.iter().filter(|(_, label)| *label).count();
    let no = sorted.len() - yes;
    if yes == 0 || no == 0 {
        return None;
    }
    let mut rank_sum = 0.0;
    let mut before = 0;
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        // Ranks before + 1 ..= before + n have this mean.
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        rank_sum += rank * tied.iter().filter(|(_, label)| *label).count() as f64;
        before += tied.len();
    }
    let (yes, no) = (yes as f64, no as f64);
    Some((rank_sum - yes * (yes + 1.0) / 2.0) / (yes * no))
}

/// The average distance between a probability and the share of yes among outcomes of similar probability.
fn calibration_error(outcomes: &[Outcome]) -> Option<f64> {
    let mut bins = [(0_usize, 0.0_f64, 0_usize); CALIBRATION_BINS];
    for outcome in outcomes {
        let place = (outcome.probability * CALIBRATION_BINS as f64) as usize;
        let bin = &mut bins[place.min(CALIBRATION_BINS - 1)];
        bin.0 += 1;
        bin.1 += outcome.probability;
        bin.2 += usize::from(outcome.label);
    }
    let gaps: f64 = bins.iter().map(|&(_, probabilities, labels)| (probabilities - labels as f64).abs()).sum();
    (!outcomes.is_empty()).then(|| gaps / outcomes.len() as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn outcomes(of: &[(u8, f64)]) -> Vec<Outcome> {
        let outcome = |&(label, probability): &(u8, f64)| Outcome {
            label: label == 1,
            probability,
            predicted: probability > 0.5,
        };
        of.iter().map(outcome).collect()
    }

    #[track_caller]
    fn check(value: Option<f64>, expected: f64) {
        assert!((value.unwrap() - expected).abs() < 1e-12, "{value:?}, not {expected}");
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        // Yes at 0.9, 0.6 and 0.2, no at 0.7, 0.3 and 0.1: two hits, one miss, one false alarm.
        let scores = score_binary(&outcomes(&[(1, 0.9), (0, 0.7), (1, 0.6), (0, 0.3), (1, 0.2), (0, 0.1)]));
        assert_eq!(scores.support, 3);
        check(scores.precision, 2.0 / 3.0);
        check(scores.recall, 2.0 / 3.0);
        check(scores.f1, 2.0 / 3.0);
        // Of nine pairs, 0.9 wins three, 0.6 two, 0.2 one.
        check(scores.auc, 6.0 / 9.0);
        // Each in a bin of its own, but 0.2 (bin 3) and 0.3 (bin 4) too: |p - label| on average.
        check(scores.ece, (0.1 + 0.7 + 0.4 + 0.3 + 0.8 + 0.1) / 6.0);
    }

    #[test]
    fn ties_count_half() {
        check(score_binary(&outcomes(&[(1, 0.5), (0, 0.5), (1, 0.5), (0, 0.5)])).auc, 0.5);
        // Pairs: 0.8 beats both (2), the tied 0.4 beats 0.1 and ties with 0.4 (1.5).
        check(score_binary(&outcomes(&[(1, 0.8), (1, 0.4), (0, 0.4), (0, 0.1)])).auc, 3.5 / 4.0);
        check(score_binary(&outcomes(&[(1, 0.1), (0, 0.9)])).auc, 0.0);
    }

    #[test]
    fn bins_take_the_mean_of_what_is_in_them() {
        // All four between 9/15 and 10/15: mean probability 0.64, half of them yes.
        check(score_binary(&outcomes(&[(1, 0.61), (0, 0.63), (1, 0.65), (0, 0.66)])).ece, 0.637_5 - 0.5);
        check(score_binary(&outcomes(&[(1, 1.0), (0, 0.0)])).ece, 0.0);
    }

    #[test]
    fn what_is_not_defined_is_none() {
        let scores = score_binary(&outcomes(&[(0, 0.2), (0, 0.1)]));
        assert_eq!(scores, BinaryScores { ece: scores.ece, ..score_binary(&[]) });
        assert_eq!((scores.precision, scores.recall, scores.f1, scores.auc), (None, None, None, None));
        let scores = score_binary(&outcomes(&[(0, 0.9)]));
        assert_eq!((scores.precision, scores.recall, scores.f1), (Some(0.0), None, None));
        let scores = score_binary(&outcomes(&[(1, 0.1)]));
        assert_eq!((scores.precision, scores.recall, scores.f1, scores.auc), (None, Some(0.0), Some(0.0), None));
        assert_eq!(score_binary(&[]).ece, None);
        assert_eq!((share(0, 0), mean(&[])), (None, None));
    }
}
