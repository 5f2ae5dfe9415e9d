//! The arithmetic of quantization.
//!
//! Weights: symmetric, one scale per output channel or table row, `w ≈ scale · q` with q in −127..=127, rounded to
//! the nearest, ties to even. Activations: one scale and zero point for the whole value, `x ≈ scale · (q − zero)` with q
//! in 0..=255; the range always contains 0, which is then exact (ONNX `QuantizeLinear`).

/// int8 values with one scale per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Channels {
    /// In the order of the original values.
    pub values: Vec<i8>,
    /// One for each channel, above 0.
    pub scales: Vec<f32>,
}

/// Quantizes the columns of a row-major `[rows, columns]` matrix, each with its own scale. Values must be finite.
pub fn quantize_columns(values: &[f32], columns: usize) -> Int8Channels {
    let mut peaks = vec![0.0f32; columns];
    for row in values.chunks_exact(columns.max(1)) {
        for (peak, value) in peaks.iter_mut().zip(row) {
            *peak = peak.max(value.abs());
        }
    }
    let scales: Vec<f32> = peaks.into_iter().map(scale_of_peak).collect();
    let rows = values.chunks_exact(columns.max(1));
    let values =
        rows.flat_map(|row| row.iter().zip(&scales).map(|(&value, &scale)| round_int8(value, scale))).collect();
    Int8Channels { values, scales }
}

/// Quantizes the rows of a row-major `[rows, columns]` matrix, each with its own scale. Values must be finite.
pub fn quantize_rows(values: &[f32], columns: usize) -> Int8Channels {
    let mut quantized = Vec::with_capacity(values.len());
    let mut scales = Vec::new();
    for row in values.chunks_exact(columns.max(1)) {
        let scale = scale_of_peak(row.iter().fold(0.0, |peak: f32, value| peak.max(value.abs())));
        quantized.extend(row.iter().map(|&value| round_int8(value, scale)));
        scales.push(scale);
    }
    Int8Channels { values: quantized, scales }
}

/// A channel of zeros has the scale 1, so that no engine divides by 0; a channel of tiny values has the smallest normal scale.
fn scale_of_peak(peak: f32) -> f32 {
    if peak == 0.0 { 1.0 } else { (peak / 127.0).max(f32::MIN_POSITIVE) }
}

fn round_int8(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// The range of an activation that uint8 covers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Range {
    /// Lowest value, at most 0.
    pub low: f32,
    /// Highest value, at least 0.
    pub high: f32,
}

impl Range {
    /// The smallest range that contains both and 0.
    pub fn new(low: f32, high: f32) -> Range {
        Range { low: low.min(0.0), high: high.max(0.0) }
    }

    /// Scale and zero point of uint8 (ONNX `QuantizeLinear`, as `DynamicQuantizeLinear` computes them).
    pub fn scale_and_zero(self) -> (f32, u8) {
        // In f64, because the width of a range may exceed f32.
        let scale = ((f64::from(self.high) - f64::from(self.low)) / 255.0) as f32;
        if scale < f32::MIN_POSITIVE {
            return (1.0, 0);
        }
        let zero = (-f64::from(self.low) / f64::from(scale)).round_ties_even().clamp(0.0, 255.0);
        (scale, zero as u8)
    }
}

/// Transposes a row-major `[rows, columns]` matrix.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights() -> impl Strategy<Value = (Vec<f32>, usize)> {
        (1usize..9, 1usize..9).prop_flat_map(|(rows, columns)| {
            let value = prop_oneof![-4.0f32..4.0, Just(0.0), -1e-30f32..1e-30, -3e38f32..3e38];
            (prop::collection::vec(value, rows * columns), Just(columns))
        })
    }

    /// Half a step, and the rounding of the two f32 operations.
    fn assert_near(found: f32, expected: f32, scale: f32) -> Result<(), TestCaseError> {
        let error = (f64::from(found) - f64::from(expected)).abs();
        prop_assert!(error <= f64::from(scale) * 0.5001, "{expected} became {found} with the scale {scale}");
        Ok(())
    }

    proptest! {
        #[test]
        fn columns_come_back_within_half_a_step((values, columns) in weights()) {
            let quantized = quantize_columns(&values, columns);
            prop_assert_eq!(quantized.scales.len(), columns);
            for (place, (&value, &int8)) in values.iter().zip(&quantized.values).enumerate() {
                let scale = quantized.scales[place % columns];
                prop_assert!(int8 != i8::MIN && scale > 0.0 && scale.is_finite());
                assert_near(f32::from(int8) * scale, value, scale)?;
            }
        }

        #[test]
        fn rows_are_the_columns_of_the_transposed((values, columns) in weights()) {
            let rows = values.len() / columns;
            let by_rows = quantize_rows(&values, columns);
            let by_columns = quantize_columns(&transpose(&values, rows, columns), rows);
            prop_assert_eq!(&by_rows.scales, &by_columns.scales);
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(by_rows.values[row * columns + column], by_columns.values[column * rows + row]);
                }
            }
        }

        #[test]
        fn activations_come_back_within_half_a_step(low in -1e3f32..1e3, high in -1e3f32..1e3, share in 0.0f32..=1.0) {
            let range = Range::new(low.min(high), low.max(high));
            let (scale, zero) = range.scale_and_zero();
            let value = range.low + share * (range.high - range.low);
            let quantized = ((value / scale).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0);
            let found = scale * (quantized - f32::from(zero));
            // The zero point is rounded too, so the ends of the range may be up to a whole step outside.
            prop_assert!((found - value).abs() <= scale * 1.001);
            if value > range.low + scale && value < range.high - scale {
                assert_near(found, value, scale * 1.001)?;
            }
        }
    }

    #[test]
    fn a_column_of_zeros_has_the_scale_1() {
        let quantized = quantize_columns(&[0.0, 2.0, 0.0, -1.0], 2);
        assert_eq!(quantized, Int8Channels { values: vec![0, 127, 0, -64], scales: vec![1.0, 2.0 / 127.0] });
    }

    #[test]
    fn ranges_hold_zero_and_have_a_scale() {
        #[track_caller]
        fn check(low: f32, high: f32, expected: (f32, u8)) {
            assert_eq!(Range::new(low, high).scale_and_zero(), expected);
        }
        check(0.0, 0.0, (1.0, 0));
        check(-128.0, 127.0, (1.0, 128));
        check(3.0, 255.0, (1.0, 0));
        check(-255.0, -3.0, (1.0, 255));
        check(0.0, 1e-42, (1.0, 0));
        check(-f32::MAX, f32::MAX, ((f64::from(f32::MAX) / 127.5) as f32, 128));
    }
}
