//! Layer and RMS normalisation over the last axis.

use crate::pool::{Parts, share};
use crate::vector::{Operation, Simd, add_to, dispatch, squared_distances_of, sums_of};
use crate::{Isa, Kernels, ShapeError};

/// The parameters of a layer normalisation: `(x - mean) / sqrt(variance + epsilon) · gamma + beta` over a row, as in ONNX
/// LayerNormalization. Not centred it is an RMS norm (Zhang and Sennrich, 2019): the mean counts as 0, and the variance is the mean of
/// squares.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// One factor a column.
    pub gamma: Vec<f32>,
    /// One summand a column.
    pub beta: Vec<f32>,
    /// Added to the variance, so that a constant row does not divide by zero.
    pub epsilon: f32,
    /// Whether the mean is subtracted; if not, it is an RMS norm.
    pub centred: bool,
}

/// Rows that make a task worth handing to another thread.
const ROWS_PER_TASK: usize = 16;

impl Kernels {
    /// Writes to `out` `[rows, columns]` the normalised rows of `x`, or of `x + residual`, both of the same shape. Columns are those of
    /// `norm.gamma`.
    ///
    /// # Errors
    /// A slice of another length than that.
    pub fn layer_norm(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        rows: usize,
        norm: &LayerNorm,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let columns = norm.gamma.len();
        let total = ShapeError::product("rows · columns", rows, columns)?;
        ShapeError::check_length("x [rows, columns]", x, total)?;
        ShapeError::check_length("residual [rows, columns]", residual.unwrap_or(x), total)?;
        ShapeError::check_length("out [rows, columns]", out, total)?;
        ShapeError::check_length("beta [columns]", &norm.beta, columns)?;
        if total == 0 {
            return Ok(());
        }
        let tasks = rows.div_ceil(ROWS_PER_TASK);
        let parts = Parts::new(out);
        self.pool().run(tasks, &|task| {
            let share = share(rows, tasks, task);
            let range = share.start * columns..share.end * columns;
            // SAFETY: the tasks' shares of the rows do not overlap.
            let out = unsafe { parts.part(range.start, range.len()) };
            let residual = residual.map(|residual| &residual[range.clone()]);
            dispatch(self.isa(), Normalization { sources: Some((&x[range], residual)), norm, rows: out });
        });
        Ok(())
    }

    /// Normalises the rows of `x` `[rows, columns]` in place.
    ///
    /// # Errors
    /// A slice of another length than that.
    pub fn layer_norm_in_place(&self, x: &mut [f32], rows: usize, norm: &LayerNorm) -> Result<(), ShapeError> {
        let columns = norm.gamma.len();
        ShapeError::check_length("x [rows, columns]", x, ShapeError::product("rows · columns", rows, columns)?)?;
        ShapeError::check_length("beta [columns]", &norm.beta, columns)?;
        let tasks = rows.div_ceil(ROWS_PER_TASK);
        let parts = Parts::new(x);
        self.pool().run(tasks, &|task| {
            let share = share(rows, tasks, task);
            // SAFETY: the tasks' shares of the rows do not overlap.
            normalize(self.isa(), norm, unsafe { parts.part(share.start * columns, share.len() * columns) });
        });
        Ok(())
    }
}

/// Normalises rows in place; `rows` is whole rows of as many columns as `norm` has, or is cut to that.
pub(crate) fn normalize(isa: Isa, norm: &LayerNorm, rows: &mut [f32]) {
    dispatch(isa, Normalization { sources: None, norm, rows });
}

struct Normalization<'a> {
    /// What to take the rows from, if not from themselves; and what to add to that.
    sources: Option<(&'a [f32], Option<&'a [f32]>)>,
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
}

impl Operation for Normalization<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.norm.gamma.len().min(self.norm.beta.len());
        if columns == 0 {
            return;
        }
        if let Some((x, residual)) = self.sources {
            self.rows.copy_from_slice(x);
            if let Some(residual) = residual {
                add_to(s, self.rows, residual);
            }
        }
        let mut pairs = self.rows.chunks_exact_mut(2 * columns);
        for pair in pairs.by_ref() {
            let (first, second) = pair.split_at_mut(columns);
            normalize_rows(s, [first, second], self.norm);
        }
        for row in pairs.into_remainder().chunks_exact_mut(columns) {
            normalize_rows(s, [row], self.norm);
        }
    }
}

/// The variance is summed over differences from the mean, in a second pass: a row is in the nearest cache by then, and the difference of
/// two large sums would lose what a mean far from 0 leaves of the digits. To the bit it is [`crate::reference::layer_norm_stepwise`].
#[inline(always)]
fn normalize_rows<S: Simd, const ROWS: usize>(s: S, mut rows: [&mut [f32]; ROWS], norm: &LayerNorm) {
    let columns = rows[0].len();
    let mut means = [0.0; ROWS];
    if norm.centred {
        means = sums_of(s, rows.each_ref().map(|row| &**row));
        for mean in &mut means {
            *mean /= columns as f32;
        }
    }
    let squares = squared_distances_of(s, rows.each_ref().map(|row| &**row), means);
    let mut inverses = [0.0; ROWS];
    for (inverse, squares) in inverses.iter_mut().zip(squares) {
        *inverse = 1.0 / (squares / columns as f32 + norm.epsilon).sqrt();
    }
    let vectors = columns / S::LANES * S::LANES;
    for at in (0..vectors).step_by(S::LANES) {
        // SAFETY: `LANES` elements from `at` on are within the rows, and `gamma` and `beta` are as long.
        unsafe {
            let (gamma, beta) = (s.load(norm.gamma.as_ptr().add(at)), s.load(norm.beta.as_ptr().add(at)));
            for ((row, mean), inverse) in rows.iter_mut().zip(means).zip(inverses) {
                let to = row.as_mut_ptr().add(at);
                let x = s.mul(s.sub(s.load(to), s.splat(mean)), s.splat(inverse));
                s.store(to, s.mul_add(x, gamma, beta));
            }
        }
    }
    let parameters = norm.gamma[vectors..].iter().zip(&norm.beta[vectors..]);
    for (row, (mean, inverse)) in rows.iter_mut().zip(means.into_iter().zip(inverses)) {
        for (x, (gamma, beta)) in row[vectors..].iter_mut().zip(parameters.clone()) {
            *x = (*x - mean) * inverse * gamma + beta;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use proptest::prelude::*;

    fn norm_of(columns: usize, epsilon: f32) -> LayerNorm {
        let gamma = (0..columns).map(|i| 0.5 + (i % 7) as f32 * 0.25).collect();
        let beta = (0..columns).map(|i| (i % 5) as f32 - 2.0).collect();
        LayerNorm { gamma, beta, epsilon, centred: true }
    }

    /// Every instruction set and some numbers of threads, against the reference and to the bit against its steps, with and without a residual,
    /// in place and not.
    fn check(x: &[f32], residual: &[f32], columns: usize, epsilon: f32) {
        let rows = x.len() / columns;
        for centred in [true, false] {
            check_norm(x, residual, rows, &LayerNorm { centred, ..norm_of(columns, epsilon) });
        }
    }

    fn check_norm(x: &[f32], residual: &[f32], rows: usize, norm: &LayerNorm) {
        let sum: Vec<f32> = x.iter().zip(residual).map(|(x, r)| x + r).collect();
        let [steps, steps_of_sum] = [x, &sum].map(|x| bits_of(&reference::layer_norm_stepwise(x, norm)));
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let kernels = Kernels::with_isa(isa, threads);
                let mut out = vec![0.0; x.len()];
                kernels.layer_norm(x, None, rows, norm, &mut out).unwrap();
                compare(isa, &out, &reference::layer_norm(x, norm));
                assert_eq!(bits_of(&out), steps, "{}", isa.name());
                kernels.layer_norm(x, Some(residual), rows, norm, &mut out).unwrap();
                compare(isa, &out, &reference::layer_norm(&sum, norm));
                assert_eq!(bits_of(&out), steps_of_sum, "{}: with a residual", isa.name());
                let mut in_place = sum.clone();
                kernels.layer_norm_in_place(&mut in_place, rows, norm).unwrap();
                assert_eq!(bits_of(&in_place), steps_of_sum, "{}: in place", isa.name());
            }
        }
    }

    fn bits_of(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|x| x.to_bits()).collect()
    }

    /// 2e-5 of the largest: f32 sums of at most 2000 numbers near 3, and the division by a deviation of about 1, in another order than
    /// the reference's f64.
    fn compare(isa: Isa, got: &[f32], expected: &[f32]) {
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() <= 2e-5 * expected.abs().max(1.0), "{}: {got}, not {expected}", isa.name());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn meets_the_reference(
            (columns, x, residual) in (1usize..70, 1usize..40).prop_flat_map(|(columns, rows)| {
                let values = || prop::collection::vec(-3f32..3.0, rows * columns);
                (Just(columns), values(), values())
            }),
        ) {
            check(&x, &residual, columns, 1e-3);
        }
    }

    #[test]
    fn meets_the_reference_at_model_widths() {
        for columns in [384, 768, 1000, 2000] {
            let x: Vec<f32> = (0..3 * columns).map(|i| ((i * 37 % 101) as f32 - 40.0) / 30.0).collect();
            let residual: Vec<f32> = (0..3 * columns).map(|i| ((i * 53 % 97) as f32 - 48.0) / 50.0).collect();
            check(&x, &residual, columns, 1e-7);
        }
    }

    /// A mean a thousand deviations from 0 costs three digits, not all of them.
    #[test]
    fn keeps_what_a_far_mean_leaves() {
        let x: Vec<f32> = (0..768).map(|i| 1000.0 + (i % 3) as f32).collect();
        let norm = LayerNorm { gamma: vec![1.0; 768], beta: vec![0.0; 768], epsilon: 1e-7, centred: true };
        for isa in Isa::available() {
            let mut out = x.clone();
            normalize(isa, &norm, &mut out);
            for (got, expected) in out.iter().zip(reference::layer_norm(&x, &norm)) {
                assert!((got - expected).abs() < 1e-3, "{}: {got}, not {expected}", isa.name());
            }
        }
    }

    /// 3 and 4 have the root mean square √12.5.
    #[test]
    fn rms_norm_of_two_numbers() {
        let norm = LayerNorm { gamma: vec![1.0, 2.0], beta: vec![0.0; 2], epsilon: 0.0, centred: false };
        for isa in Isa::available() {
            let mut row = [3.0, 4.0];
            normalize(isa, &norm, &mut row);
            compare(isa, &row, &[0.848_528_1, 2.262_741_7]);
        }
    }

    #[test]
    fn a_constant_row_is_beta_and_a_row_with_nan_is_nan() {
        let norm = norm_of(20, 1e-5);
        for isa in Isa::available() {
            let mut rows = [vec![2.5; 20], vec![f32::NAN; 1], vec![1.0; 19]].concat();
            normalize(isa, &norm, &mut rows);
            assert_eq!(rows[..20], norm.beta, "{}", isa.name());
            assert!(rows[20..].iter().all(|x| x.is_nan()), "{}: {:?}", isa.name(), &rows[20..]);
        }
    }

    #[test]
    fn refuses_slices_of_other_lengths() {
        let kernels = Kernels::new(1);
        let norm = norm_of(4, 1e-5);
        let refuse = |x: usize, residual: Option<usize>, beta: usize, out: usize| {
            let norm = LayerNorm { beta: vec![0.0; beta], ..norm.clone() };
            let residual = residual.map(|len| vec![0.0; len]);
            kernels.layer_norm(&vec![0.0; x], residual.as_deref(), 2, &norm, &mut vec![0.0; out]).is_err()
        };
        assert!(!refuse(8, Some(8), 4, 8));
        assert!(refuse(7, None, 4, 8) && refuse(8, Some(9), 4, 8) && refuse(8, None, 5, 8) && refuse(8, None, 4, 0));
        assert!(kernels.layer_norm(&[], None, 0, &norm, &mut []).is_ok());
        assert!(kernels.layer_norm_in_place(&mut [0.0; 7], 2, &norm).is_err());
        assert!(kernels.layer_norm_in_place(&mut [], 0, &norm).is_ok());
    }
}
