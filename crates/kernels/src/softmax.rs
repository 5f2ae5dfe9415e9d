//! Softmax over the last axis.

use crate::pool::{Parts, share};
use crate::vector::{Operation, Simd, dispatch, softmax_row};
use crate::{Kernels, ShapeError};

/// Numbers that make a task worth handing to another thread.
const NUMBERS_PER_TASK: usize = 4096;

impl Kernels {
    /// Replaces each row of `x` `[rows, columns]` by its softmax, `e^x / Σ e^x`: ONNX Softmax over the last axis. The largest of a row is
    /// subtracted first, so nothing overflows. A row with a NaN or an infinity above all becomes NaN.
    ///
    /// # Errors
    /// `x` has another length.
    pub fn softmax(&self, x: &mut [f32], rows: usize, columns: usize) -> Result<(), ShapeError> {
        let total = ShapeError::product("rows · columns", rows, columns)?;
        ShapeError::check_length("x [rows, columns]", x, total)?;
        if total == 0 {
            return Ok(());
        }
        let tasks = total.div_ceil(NUMBERS_PER_TASK).min(rows);
        let parts = Parts::new(x);
        self.pool().run(tasks, &|task| {
            let share = share(rows, tasks, task);
            // SAFETY: the tasks' shares of the rows do not overlap.
            let rows = unsafe { parts.part(share.start * columns, share.len() * columns) };
            dispatch(self.isa(), Softmax { rows, columns });
        });
        Ok(())
    }
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    columns: usize,
}

impl Operation for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.chunks_exact_mut(self.columns) {
            softmax_row(s, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, reference};
    use proptest::prelude::*;

    /// Every instruction set and some numbers of threads, against the reference; all of them the same bits.
    fn check(x: &[f32], columns: usize) {
        let expected = reference::softmax(x, columns);
        let mut bits = None;
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let mut got = x.to_vec();
                Kernels::with_isa(isa, threads).softmax(&mut got, x.len() / columns, columns).unwrap();
                for (got, expected) in got.iter().zip(&expected) {
                    // 3e-7 by `exp`; a sum of 2000 terms, one by one, is off by some 1e-6 and at most 1e-4 of itself.
                    let met = (got - expected).abs() <= 1e-5 * expected.max(1e-4);
                    assert!(met, "{}: {got}, not {expected}", isa.name());
                }
                assert_eq!(bits.get_or_insert_with(|| got.clone()), &got, "{}: {threads} threads", isa.name());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn meets_the_reference(
            (columns, x) in (1usize..90, 1usize..30)
                .prop_flat_map(|(columns, rows)| (Just(columns), prop::collection::vec(-30f32..30.0, rows * columns))),
        ) {
            check(&x, columns);
        }
    }

    #[test]
    fn meets_the_reference_on_long_rows_and_large_numbers() {
        let x: Vec<f32> = (0..3 * 2000).map(|i| (i * 37 % 101) as f32 * 0.1).collect();
        check(&x, 2000);
        check(&[1e30, 1e30, -1e30, 0.0], 4);
        check(&[f32::NEG_INFINITY, 0.0, 1.0, f32::NEG_INFINITY], 4);
        check(&[-1e38], 1);
    }

    #[test]
    fn what_is_not_a_number_spreads_over_its_row_only() {
        for isa in Isa::available() {
            for odd in [f32::NAN, f32::INFINITY] {
                for at in 0..20 {
                    let mut x = vec![0.5; 40];
                    x[at] = odd;
                    Kernels::with_isa(isa, 1).softmax(&mut x, 2, 20).unwrap();
                    assert!(x[..20].iter().any(|x| x.is_nan()), "{}: {odd} at {at}", isa.name());
                    assert!(x[20..].iter().all(|x| (x - 0.05).abs() < 1e-7), "{}: {odd} at {at}", isa.name());
                }
            }
        }
    }

    #[test]
    fn refuses_another_length() {
        let kernels = Kernels::new(1);
        assert!(kernels.softmax(&mut [0.0; 5], 2, 3).is_err());
        assert!(kernels.softmax(&mut [0.0; 4], usize::MAX, 2).is_err());
        assert!(kernels.softmax(&mut [], 0, 3).is_ok());
    }
}
