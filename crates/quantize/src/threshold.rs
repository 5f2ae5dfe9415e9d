//! Statistics of an activation → its range for uint8.

use crate::histogram::Histogram;
use crate::numbers::Range;
use serde::Serialize;

/// The method of choosing a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All values fit.
    MinMax,
    /// Cuts values off where the distribution of the rest, in 128 steps, has the smallest Kullback-Leibler divergence from the
    /// whole (S. Migacz, *8-bit Inference with TensorRT*, 2017).
    Entropy,
    /// 99.99 % of the values fit; half of the others is cut off at each end.
    Percentile,
}

/// [`Method::Percentile`] may cut one value in this number at each end.
const VALUES_PER_OUTLIER: u64 = 20_000;
/// Steps of a signed byte on each side of zero.
const STEPS: usize = 128;

/// The range of a value by a method.
pub fn choose_range(histogram: &Histogram, method: Method) -> Range {
    let seen = Range::new(histogram.low(), histogram.high());
    match method {
        Method::MinMax => seen,
        Method::Percentile => {
            let allowed = histogram.count() / VALUES_PER_OUTLIER;
            let width = histogram.bin_width();
            let low = -edge_leaving(histogram.negative(), allowed) * width;
            let high = edge_leaving(histogram.positive(), allowed) * width;
            Range::new(seen.low.max(low as f32), seen.high.min(high as f32))
        }
        Method::Entropy => {
            // All on one side of zero: that side gets all 256 steps.
            let steps = if seen.low == 0.0 || seen.high == 0.0 { 2 * STEPS } else { STEPS };
            let reach = (bins_to_keep(&histogram.absolute(), steps) as f64 * histogram.bin_width()) as f32;
            Range::new(seen.low.max(-reach), seen.high.min(reach))
        }
    }
}

/// The number of bins, from zero outwards, with at most `allowed` values beyond them.
fn edge_leaving(counts: &[u64], allowed: u64) -> f64 {
    let mut beyond = 0;
    for (bin, &count) in counts.iter().enumerate().rev() {
        beyond += count;
        if beyond > allowed {
            return (bin + 1) as f64;
        }
    }
    0.0
}

/// The number of bins of absolute values, from zero outwards, for `steps` steps.
pub(crate) fn bins_to_keep(counts: &[u64], steps: usize) -> usize {
    let used = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    if used <= steps {
        return used;
    }
    let mut best = (f64::INFINITY, used);
    for bins in steps..=used {
        let divergence = divergence(&counts[..used], bins, steps);
        // Among equals the widest, because it cuts off the least.
        if divergence <= best.0 {
            best = (divergence, bins);
        }
    }
    best.1
}

/// KL(P ‖ Q) in nats: P is the whole, with the counts beyond `bins` moved to the last bin; Q is the first `bins`
/// after rounding to `steps` levels, with each level's count spread evenly over its non-empty bins.
fn divergence(counts: &[u64], bins: usize, steps: usize) -> f64 {
    let total: u64 = counts.iter().sum();
    let inside: u64 = counts[..bins].iter().sum();
    let outside = total - inside;
    if inside == 0 {
        return f64::INFINITY;
    }
    // An empty level cannot represent the last bin with the moved counts: count it as one value in a million.
    const NOTHING: f64 = 1e-6;
    let mut divergence = 0.0;
    for level in 0..steps {
        let span = level * bins / steps..(level + 1) * bins / steps;
        let held: u64 = counts[span.clone()].iter().sum();
        let filled = counts[span.clone()].iter().filter(|&&count| count > 0).count().max(1);
        let even = held as f64 / filled as f64 / inside as f64;
        for bin in span {
            let here = counts[bin] + if bin + 1 == bins { outside } else { 0 };
            if here > 0 {
                let p = here as f64 / total as f64;
                let q = if counts[bin] > 0 { even } else { NOTHING };
                divergence += p * (p / q).ln();
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(values: impl IntoIterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(&values.into_iter().collect::<Vec<f32>>());
        histogram
    }

    /// Quantiles of the normal distribution, by summing its density.
    fn normal(count: usize) -> Vec<f32> {
        let density = |x: f64| (-x * x / 2.0).exp();
        let steps = 200_000;
        let total: f64 = (0..steps).map(|step| density(step as f64 / steps as f64 * 12.0 - 6.0)).sum();
        let (mut values, mut below) = (Vec::new(), 0.0);
        for step in 0..steps {
            let x = step as f64 / steps as f64 * 12.0 - 6.0;
            below += density(x) / total;
            while values.len() < count && (values.len() as f64 + 0.5) / count as f64 <= below {
                values.push(x as f32);
            }
        }
        values
    }

    #[test]
    fn min_max_keeps_all() {
        assert_eq!(choose_range(&histogram([-3.0, 0.5, 7.0]), Method::MinMax), Range { low: -3.0, high: 7.0 });
        assert_eq!(choose_range(&histogram([2.0, 7.0]), Method::MinMax), Range { low: 0.0, high: 7.0 });
    }

    #[test]
    fn percentile_cuts_off_the_tails() {
        // Of 100,000 values it may cut five at each end.
        let inner = (0..99_990).map(|step| (step as f32 / 99_990.0) * 2.0 - 1.0);
        let outliers = [50.0, 60.0, 70.0, 80.0, 90.0, -100.0, -100.0, -100.0, -100.0, -100.0];
        let range = choose_range(&histogram(inner.clone().chain(outliers)), Method::Percentile);
        let width = 128.0 / 2048.0;
        assert!((range.high - 1.0).abs() <= width && (range.low + 1.0).abs() <= width, "{range:?}");
        // A sixth is not an outlier.
        let range = choose_range(&histogram(inner.skip(1).chain(outliers).chain([55.0])), Method::Percentile);
        assert!((range.high - 50.0).abs() <= width, "{range:?}");
    }

    #[test]
    fn percentile_of_few_values_is_min_max() {
        let values = [-0.3, 0.1, 5.0];
        assert_eq!(
            choose_range(&histogram(values), Method::Percentile),
            choose_range(&histogram(values), Method::MinMax)
        );
    }

    #[test]
    fn entropy_keeps_an_even_distribution_whole() {
        let even = histogram((0..200_000).map(|step| step as f32 / 100_000.0 - 1.0));
        let range = choose_range(&even, Method::Entropy);
        assert!(range.high > 0.99 && range.low < -0.99, "{range:?}");
    }

    #[test]
    fn entropy_gives_up_a_lone_outlier() {
        let mut values = normal(200_000);
        let whole = choose_range(&histogram(values.iter().copied()), Method::Entropy);
        assert!(whole.high > 2.5 && whole.high < 5.0, "{whole:?}");
        values.push(60.0);
        let range = choose_range(&histogram(values), Method::Entropy);
        assert!(range.high > 2.5 && range.high < 12.0, "{range:?}");
    }

    #[test]
    fn entropy_of_few_bins_keeps_them_all() {
        assert_eq!(bins_to_keep(&[0; 2048], 128), 0);
        let mut counts = vec![0; 2048];
        counts[100] = 5;
        assert_eq!(bins_to_keep(&counts, 128), 101);
    }

    #[test]
    fn one_sided_values_get_all_the_steps() {
        let positive = histogram((0..100_000).map(|step| step as f32 / 100_000.0));
        let range = choose_range(&positive, Method::Entropy);
        assert!(range.low == 0.0 && range.high > 0.99, "{range:?}");
    }

    proptest! {
        #[test]
        fn no_method_goes_beyond_what_occurred(values in prop::collection::vec(-1e3f32..1e3, 1..300)) {
            let seen = histogram(values);
            let all = choose_range(&seen, Method::MinMax);
            for method in [Method::Percentile, Method::Entropy] {
                let range = choose_range(&seen, method);
                prop_assert!(range.low >= all.low && range.high <= all.high && range.low <= 0.0 && range.high >= 0.0);
            }
        }
    }
}
