//! Statistics of a list of times.

use serde::{Deserialize, Serialize};

/// Statistics of times in milliseconds. Percentiles use the nearest rank, so they are measured times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Statistics {
    pub(crate) mean_ms: f64,
    pub(crate) std_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) min_ms: f64,
    pub(crate) max_ms: f64,
}

impl Statistics {
    /// Statistics of the times; all zeros without times.
    pub(crate) fn of(times_ms: &[f64]) -> Statistics {
        let mut sorted = times_ms.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len().max(1) as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let variance = sorted.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
        Statistics {
            mean_ms: rounded(mean),
            std_ms: rounded(variance.sqrt()),
            p50_ms: percentile(&sorted, 50.0),
            p95_ms: percentile(&sorted, 95.0),
            p99_ms: percentile(&sorted, 99.0),
            min_ms: rounded(sorted.first().copied().unwrap_or(0.0)),
            max_ms: rounded(sorted.last().copied().unwrap_or(0.0)),
        }
    }
}

fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    rounded(sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0))
}

/// Number of decimals for a column of milliseconds, so that the smallest time is still readable.
pub(crate) fn digits_for(times_ms: impl Iterator<Item = f64>) -> usize {
    if times_ms.fold(f64::INFINITY, f64::min) < 1.0 { 3 } else { 2 }
}

/// Rounds to microseconds; smaller parts are noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = Statistics::of(&times);
        assert_eq!((found.p50_ms, found.p95_ms, found.p99_ms), (50.0, 95.0, 99.0));
        assert_eq!((found.min_ms, found.max_ms, found.mean_ms), (1.0, 100.0, 50.5));
        assert_eq!(found.std_ms, 28.866);
        let one = Statistics::of(&[2.0]);
        assert_eq!((one.p50_ms, one.p99_ms, one.std_ms), (2.0, 2.0, 0.0));
        assert_eq!(Statistics::of(&[]).max_ms, 0.0);
    }
}
