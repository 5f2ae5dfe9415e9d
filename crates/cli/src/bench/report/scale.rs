//! Axes: values to places, and round numbers for their marks.

/// A vertical axis from the bottom of a plot to its top.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Values with a line and a number.
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// An axis from 0, in equal steps.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Scale {
        let highest = values.fold(0.0, f64::max).max(1e-6);
        let step = round_up(highest / 4.0);
        let steps = (highest / step).ceil().max(1.0);
        let ticks = (0..=steps as usize).map(|tick| tick as f64 * step).collect();
        Scale { low: 0.0, high: steps * step, is_log: false, ticks }
    }

    /// An axis on which equal ratios are equally long.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Scale {
        let (lowest, highest) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let (lowest, highest) = if lowest <= highest { (lowest, highest) } else { (1.0, 10.0) };
        let (first, last) = ((lowest * 0.9).log10().floor() as i32, (highest * 1.1).log10().ceil() as i32);
        let wide = last - first > 2;
        let digits: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = (first..=last).flat_map(|power| digits.iter().map(move |digit| digit * 10.0_f64.powi(power)));
        let all: Vec<f64> = all.filter(|tick| *tick <= 10.0_f64.powi(last) * 1.001).collect();
        // From the mark below the lowest value to the one above the highest.
        let begin = all.iter().rposition(|tick| *tick <= lowest * 0.98).unwrap_or(0);
        let end = all.iter().position(|tick| *tick >= highest * 1.02).unwrap_or(all.len() - 1).max(begin + 1);
        let ticks = all[begin..=end.min(all.len() - 1)].to_vec();
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        Scale { low, high, is_log: true, ticks }
    }

    /// From 0 at the bottom to 1 at the top.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|digit| digit * power >= value * 0.999);
    digit.unwrap_or(10.0) * power
}

/// A number with about three digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.1 => format!("{value:.3}"),
        ..10.0 => trim(format!("{value:.2}")),
        ..100.0 => trim(format!("{value:.1}")),
        ..10_000.0 => format!("{value:.0}"),
        ..100_000.0 => trim(format!("{:.1}", value / 1000.0)) + " k",
        _ => format!("{:.0} k", value / 1000.0),
    }
}

fn trim(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_hold_all_values() {
        let linear = Scale::linear([3.0, 87.0].into_iter());
        assert_eq!(linear.ticks, [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!((linear.place(0.0), linear.place(50.0), linear.place(100.0)), (0.0, 0.5, 1.0));
        let log = Scale::log([1.5, 30.0].into_iter());
        assert_eq!(log.ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!((log.place(1.0), log.place(50.0)), (0.0, 1.0));
        assert!((log.place(10.0) - 10.0_f64.ln() / 50.0_f64.ln()).abs() < 1e-9);
    }

    /// Whatever is measured, nothing lies outside the plot.
    #[test]
    fn odd_values_have_axes_too() {
        for values in [vec![], vec![0.0], vec![1.0], vec![5.0, 5.0], vec![1e-3, 1e6], vec![9.99, 10.01], vec![1e9]] {
            for scale in [Scale::linear(values.iter().copied()), Scale::log(values.iter().copied())] {
                assert!(scale.ticks.len() >= 2 && scale.ticks.len() < 14, "{values:?}: {:?}", scale.ticks);
                assert!(scale.ticks.is_sorted_by(|a, b| a < b), "{values:?}");
                for value in &values {
                    assert!((0.0..=1.0).contains(&scale.place(*value)), "{values:?}");
                    assert!(*value <= scale.high, "{values:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.5, "0.5"),
            (2.0, "2"),
            (3.456, "3.46"),
            (42.55, "42.5"),
            (318.2, "318"),
            (9999.0, "9999"),
            (10_000.0, "10 k"),
            (15_249.0, "15.2 k"),
            (123_456.0, "123 k"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
