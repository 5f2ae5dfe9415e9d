//! Medians with intervals, from the rounds of a measurement.

/// The least probability that the interval holds the true median.
const COVERAGE: f64 = 0.9;

/// The median of some values, and bounds for the true median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Interval {
    /// Of the medians of rounds; `None` without any. The bounds are order statistics: the narrowest pair of equal rank from below and from
    /// above that holds the true median with a probability of 0.9, whatever the distribution; the smallest and largest value if there
    /// are fewer than five.
    pub(super) fn of(rounds: &[f64]) -> Option<Interval> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = rank(sorted.len());
        let (low, high) = (*sorted.get(rank)?, *sorted.get(sorted.len() - 1 - rank)?);
        Some(Interval { median: median(&sorted)?, low, high })
    }
}

/// The median of sorted values.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// The median of values in any order; 0 without any.
pub(super) fn median_of(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted).unwrap_or(0.0)
}

/// How many values can be left out on each side.
fn rank(count: usize) -> usize {
    // The probability that fewer than `k` of `count` values are below the median is a sum of binomials.
    let mut below = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut term = below;
    let mut rank = 0;
    while rank + 1 < count.div_ceil(2) {
        term *= (count - rank) as f64 / (rank + 1) as f64;
        below += term;
        if 1.0 - 2.0 * below < COVERAGE {
            break;
        }
        rank += 1;
    }
    rank
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median() {
        let check = |rounds: &[f64], expected: (f64, f64, f64)| {
            let Interval { median, low, high } = Interval::of(rounds).unwrap();
            assert_eq!((median, low, high), expected, "{rounds:?}");
        };
        check(&[3.0], (3.0, 3.0, 3.0));
        check(&[4.0, 2.0], (3.0, 2.0, 4.0));
        check(&[5.0, 1.0, 3.0, 2.0, 4.0], (3.0, 1.0, 5.0));
        // 1 − 2 · (1 + 8) / 256 = 0.93.
        check(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], (4.5, 2.0, 7.0));
        // 1 − 2 · (1 + 7) / 128 = 0.88 would be too few.
        check(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], (4.0, 1.0, 7.0));
        assert_eq!(Interval::of(&[]), None);
    }

    /// Of many intervals from random rounds, the promised share holds the true median.
    #[test]
    fn nine_in_ten_intervals_hold_it() {
        let mut state = 7_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for count in [5, 9, 20] {
            let holds = (0..4000).filter(|_| {
                // Skewed, as times are; the median of −ln u is ln 2.
                let rounds: Vec<f64> = (0..count).map(|_| -draw().ln()).collect();
                let Interval { low, high, .. } = Interval::of(&rounds).unwrap();
                (low..=high).contains(&2.0_f64.ln())
            });
            let share = holds.count() as f64 / 4000.0;
            assert!((0.885..0.97).contains(&share), "{count}: {share}");
        }
    }
}
