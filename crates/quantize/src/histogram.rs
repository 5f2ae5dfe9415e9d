//! Histograms of values, in bounded memory and one pass.

/// Bins on each side of zero.
pub const BINS: usize = 2048;

/// Counts over `[-reach, reach)`, in 2 × [`BINS`] bins of equal width. The reach is a power of two and doubles for a larger
/// value: two bins then merge exactly, so that counts do not depend on the order of the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// `None` until the first value other than 0.
    reach: Option<f32>,
    /// From zero outwards.
    negative: Vec<u64>,
    positive: Vec<u64>,
    low: f32,
    high: f32,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { reach: None, negative: vec![0; BINS], positive: vec![0; BINS], low: 0.0, high: 0.0, count: 0 }
    }
}

impl Histogram {
    /// Counts values, except values that are not finite. Returns whether all were finite.
    pub fn add(&mut self, values: &[f32]) -> bool {
        let (mut low, mut high, mut finite) = (self.low, self.high, true);
        for &value in values {
            if value.is_finite() {
                low = low.min(value);
                high = high.max(value);
            } else {
                finite = false;
            }
        }
        self.low = low;
        self.high = high;
        self.reach_out(low.abs().max(high));
        let bins_per_unit = self.reach.map_or(0.0, |reach| BINS as f64 / f64::from(reach));
        for &value in values.iter().filter(|value| value.is_finite()) {
            let size = if value.abs() < f32::MIN_POSITIVE { 0.0 } else { f64::from(value.abs()) };
            let bin = ((size * bins_per_unit) as usize).min(BINS - 1);
            if value < 0.0 {
                self.negative[bin] += 1;
            } else {
                self.positive[bin] += 1;
            }
            self.count += 1;
        }
        finite
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        let mut other = other.clone();
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        let peak = self.low.abs().max(self.high);
        self.reach_out(peak);
        other.reach_out(peak);
        for (mine, theirs) in [(&mut self.negative, &other.negative), (&mut self.positive, &other.positive)] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.count += other.count;
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lowest value, or 0 if none is below.
    pub fn low(&self) -> f32 {
        self.low
    }

    /// The highest value, or 0 if none is above.
    pub fn high(&self) -> f32 {
        self.high
    }

    /// Width of a bin; 0 if all values were zero.
    pub fn bin_width(&self) -> f64 {
        self.reach.map_or(0.0, |reach| f64::from(reach) / BINS as f64)
    }

    /// Counts below zero, from zero outwards.
    pub fn negative(&self) -> &[u64] {
        &self.negative
    }

    /// Counts from zero on, outwards.
    pub fn positive(&self) -> &[u64] {
        &self.positive
    }

    /// Counts of absolute values, from zero outwards.
    pub fn absolute(&self) -> Vec<u64> {
        self.negative.iter().zip(&self.positive).map(|(negative, positive)| negative + positive).collect()
    }

    /// Extends the reach to values up to `peak`.
    fn reach_out(&mut self, peak: f32) {
        // Subnormal numbers are not distinguished; the reach itself must stay finite.
        let least = f32::MIN_POSITIVE;
        if peak < least && self.reach.is_none() {
            return;
        }
        let mut reach = self.reach.unwrap_or_else(|| power_of_two_above(peak));
        while reach <= peak && reach < f32::MAX / 2.0 {
            reach *= 2.0;
            if self.reach.is_some() {
                halve(&mut self.negative);
                halve(&mut self.positive);
            }
        }
        if self.reach.is_none() {
            // The zeros so far are in the first bin for any reach.
            reach = reach.max(least);
        }
        self.reach = Some(reach);
    }
}

/// The smallest power of two above a positive number, if there is one.
fn power_of_two_above(value: f32) -> f32 {
    f32::from_bits((value.to_bits() & 0x7f80_0000).min(0x7e80_0000)) * 2.0
}

/// Merges pairs of bins.
fn halve(counts: &mut [u64]) {
    for bin in 0..BINS / 2 {
        counts[bin] = counts[2 * bin] + counts[2 * bin + 1];
    }
    counts[BINS / 2..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        assert!(histogram.add(values));
        histogram
    }

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            -1.0f32..1.0,
            -1e6f32..1e6,
            Just(0.0),
            Just(-0.0),
            Just(2.0),
            Just(f32::MAX),
            Just(f32::MIN),
            Just(1e-45),
            -1e-38f32..1e-38
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_values_does_not_matter(values in prop::collection::vec(value(), 0..60), at in 0usize..60) {
            let all = histogram(&values);
            let mut reversed = Histogram::default();
            for value in values.iter().rev() {
                reversed.add(&[*value]);
            }
            prop_assert_eq!(&all, &reversed);
            let (left, right) = values.split_at(at.min(values.len()));
            let mut merged = histogram(left);
            merged.merge(&histogram(right));
            prop_assert_eq!(&all, &merged);
        }

        #[test]
        fn every_value_is_in_the_bin_of_its_size(values in prop::collection::vec(-1e4f32..1e4, 1..40)) {
            let all = histogram(&values);
            let width = all.bin_width();
            let mut expected = vec![0; BINS];
            values.iter().for_each(|value| expected[(f64::from(value.abs()) / width) as usize] += 1);
            prop_assert_eq!(all.absolute(), expected);
            prop_assert_eq!(all.count(), values.len() as u64);
            prop_assert_eq!(all.high(), values.iter().copied().fold(0.0, f32::max));
            // Not coarser than necessary.
            let peak = f64::from(all.high().max(-all.low()));
            prop_assert!(width * BINS as f64 > peak && width * BINS as f64 <= (2.0 * peak).max(f64::from(f32::MIN_POSITIVE)));
        }
    }

    #[test]
    fn zeros_need_no_width() {
        let zeros = histogram(&[0.0, -0.0, 0.0]);
        assert_eq!((zeros.count(), zeros.bin_width(), zeros.positive()[0]), (3, 0.0, 3));
    }

    #[test]
    fn what_is_not_finite_is_told_and_left_out() {
        let mut histogram = Histogram::default();
        assert!(!histogram.add(&[1.0, f32::NAN, f32::INFINITY, -2.0]));
        assert_eq!((histogram.count(), histogram.low(), histogram.high()), (2, -2.0, 1.0));
    }
}
