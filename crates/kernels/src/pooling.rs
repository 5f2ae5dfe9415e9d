//! One vector for each sequence: the mean of its tokens, and vectors of length 1.
//!
//! The sums have a fixed order, so the bits are the same on every instruction set. A pass spends a thousandth of its time here, so plain
//! loops, which compilers vectorise, are enough.

use crate::{Kernels, ShapeError};

/// Sums that run side by side.
const LANES: usize = 16;
/// Shorter vectors are divided by this, as PyTorch's `normalize` does.
const LENGTH_MIN: f32 = 1e-12;

impl Kernels {
    /// The mean of the rows of each sequence: `x` is `[tokens, columns]`, `out` `[sequences, columns]`, and sequence s has the rows
    /// `cu_seqlens[s]..cu_seqlens[s + 1]`. Rows are added in their order.
    ///
    /// # Errors
    /// A slice of another length than that, `cu_seqlens` that does not rise from 0.
    pub fn mean_rows(&self, x: &[f32], cu_seqlens: &[u32], columns: usize, out: &mut [f32]) -> Result<(), ShapeError> {
        if cu_seqlens.first() != Some(&0) || cu_seqlens.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(ShapeError::Malformed { what: "cu_seqlens", rule: "must begin with 0 and rise" });
        }
        let tokens = cu_seqlens.last().map_or(0, |&end| end as usize);
        let sequences = cu_seqlens.len() - 1;
        ShapeError::check_length("x [tokens, columns]", x, ShapeError::product("tokens · columns", tokens, columns)?)?;
        let total = ShapeError::product("sequences · columns", sequences, columns)?;
        ShapeError::check_length("out [sequences, columns]", out, total)?;
        if columns == 0 {
            return Ok(());
        }
        for (mean, ends) in out.chunks_exact_mut(columns).zip(cu_seqlens.windows(2)) {
            let rows = &x[ends[0] as usize * columns..ends[1] as usize * columns];
            mean.fill(0.0);
            for row in rows.chunks_exact(columns) {
                mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            let count = (ends[1] - ends[0]) as f32;
            mean.iter_mut().for_each(|sum| *sum /= count);
        }
        Ok(())
    }

    /// Each row of `x` divided by its length, √Σx²; `x` and `out` are `[rows, columns]`.
    ///
    /// # Errors
    /// Slices of different lengths, or no whole rows.
    pub fn unit_rows(&self, x: &[f32], columns: usize, out: &mut [f32]) -> Result<(), ShapeError> {
        ShapeError::check_length("out [rows, columns]", out, x.len())?;
        if columns == 0 || !x.len().is_multiple_of(columns) {
            return Err(ShapeError::Malformed { what: "x [rows, columns]", rule: "must hold whole rows" });
        }
        for (out, x) in out.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
            let length = length_of(x);
            // A length that is no number stays one.
            let length = if length < LENGTH_MIN { LENGTH_MIN } else { length };
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x / length);
        }
        Ok(())
    }
}

/// √Σx². The largest number is divided out first where squares would leave the range of single precision.
fn length_of(x: &[f32]) -> f32 {
    let squares = sum_of_squares(x, 1.0);
    if (1e-30..1e30).contains(&squares) {
        return squares.sqrt();
    }
    let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() { largest } else { largest * sum_of_squares(x, largest).sqrt() }
}

fn sum_of_squares(x: &[f32], unit: f32) -> f32 {
    let mut sums = [0f32; LANES];
    for lane in x.chunks(LANES) {
        for (sum, x) in sums.iter_mut().zip(lane) {
            let x = x / unit;
            *sum += x * x;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, reference};

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 12.5).collect()
    }

    /// `count` numbers up to 4 are added in single precision.
    fn check_close(what: &str, found: &[f32], expected: &[f32], count: usize) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 4.0 * 6e-8 * count as f32, "{what}: {found}, not {expected}");
        }
    }

    #[test]
    fn means_meet_the_reference() {
        for (lengths, columns) in
            [(vec![1], 1), (vec![2, 1, 5], 7), (vec![33, 3], 16), (vec![1, 1, 300, 12], 33), (vec![], 4)]
        {
            let mut cu_seqlens = vec![0];
            lengths.iter().for_each(|length| cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + length));
            let x = numbers(cu_seqlens[lengths.len()] as usize * columns);
            let expected = reference::mean_rows(&x, &cu_seqlens, columns);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; lengths.len() * columns];
                Kernels::with_isa(isa, 2).mean_rows(&x, &cu_seqlens, columns, &mut out).unwrap();
                check_close(isa.name(), &out, &expected, 300);
            }
        }
    }

    #[test]
    fn lengths_meet_the_reference() {
        for (rows, columns) in [(1, 1), (3, 7), (2, 16), (5, 33), (0, 4)] {
            for size in [1.0, 1e-25, 3e18, 1e30] {
                let x: Vec<f32> = numbers(rows * columns).iter().map(|x| x * size).collect();
                let expected = reference::unit_rows(&x, columns);
                let mut out = vec![f32::NAN; x.len()];
                Kernels::new(1).unit_rows(&x, columns, &mut out).unwrap();
                check_close("unit", &out, &expected, 8);
            }
        }
        let mut out = [f32::NAN; 3];
        Kernels::new(1).unit_rows(&[0.0; 3], 3, &mut out).unwrap();
        assert_eq!(out, [0.0; 3]);
        Kernels::new(1).unit_rows(&[f32::NAN, 1.0, 2.0], 3, &mut out).unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (columns, x) = (5, numbers(9 * 5));
        let mut all = [0.0; 15];
        Kernels::new(1).mean_rows(&x, &[0, 2, 6, 9], columns, &mut all).unwrap();
        let mut one = [0.0; 5];
        Kernels::new(1).mean_rows(&x[10..30], &[0, 4], columns, &mut one).unwrap();
        assert_eq!(one, all[5..10]);
    }

    #[test]
    fn refuses_slices_of_other_lengths() {
        let mean = |x: usize, cu_seqlens: &[u32], columns: usize, out: usize| {
            Kernels::new(1).mean_rows(&vec![1.0; x], cu_seqlens, columns, &mut vec![0.0; out]).is_ok()
        };
        assert!(mean(6, &[0, 2], 3, 3) && mean(0, &[0], 3, 0) && mean(0, &[0, 2], 0, 0));
        assert!(!mean(5, &[0, 2], 3, 3) && !mean(6, &[0, 2], 3, 4) && !mean(6, &[1, 2], 3, 3) && !mean(0, &[], 3, 0));
        assert!(!mean(6, &[0, 1, 1, 2], 3, 9) && !mean(6, &[0, 2, 1], 3, 6));
        let unit = |x: usize, columns: usize, out: usize| {
            Kernels::new(1).unit_rows(&vec![1.0; x], columns, &mut vec![0.0; out]).is_ok()
        };
        assert!(unit(6, 3, 6) && unit(0, 3, 0) && !unit(6, 4, 6) && !unit(6, 3, 5) && !unit(6, 0, 6));
    }
}
