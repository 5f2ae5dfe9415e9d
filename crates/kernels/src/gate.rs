//! The gate of a feed-forward network: one half of the columns lets the other through.

use crate::pool::{Parts, share};
use crate::{Activation, Kernels, ShapeError, activation};

/// Numbers that make a task worth handing to another thread.
const NUMBERS_PER_TASK: usize = 4096;

impl Kernels {
    /// `out = activation(gate) · up` for `x` `[rows, 2 · columns]`, in each row first the gate, then up; `out` is `[rows, columns]`
    /// (Shazeer, "GLU Variants Improve Transformer", 2020). The same bits on every instruction set.
    ///
    /// # Errors
    /// A slice of another length than that.
    pub fn gate(
        &self,
        x: &[f32],
        rows: usize,
        columns: usize,
        activation: Activation,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let total = ShapeError::product("rows · columns", rows, columns)?;
        ShapeError::check_length("x [rows, 2 · columns]", x, ShapeError::product("rows · 2 · columns", total, 2)?)?;
        ShapeError::check_length("out [rows, columns]", out, total)?;
        if total == 0 {
            return Ok(());
        }
        let tasks = total.div_ceil(NUMBERS_PER_TASK).min(rows);
        let parts = Parts::new(out);
        self.pool().run(tasks, &|task| {
            let share = share(rows, tasks, task);
            // SAFETY: the tasks' shares of the rows do not overlap.
            let out = unsafe { parts.part(share.start * columns, share.len() * columns) };
            let x = x[share.start * 2 * columns..share.end * 2 * columns].chunks_exact(2 * columns);
            for (out, x) in out.chunks_exact_mut(columns).zip(x) {
                let (gate, up) = x.split_at(columns);
                out.copy_from_slice(gate);
                activation::apply(self.isa(), activation, out);
                for (out, up) in out.iter_mut().zip(up) {
                    *out *= up;
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, reference};

    /// The activations' own error, 2e-6 of numbers up to 4, times `up`.
    const TOLERANCE: f32 = 4e-5;

    fn check(rows: usize, columns: usize, activation: Activation) {
        let x: Vec<f32> = (0..rows * 2 * columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 12.5).collect();
        let expected = reference::gate(&x, columns, activation);
        let mut bits = None;
        for isa in Isa::available() {
            for threads in [1, 3] {
                let mut out = vec![f32::NAN; rows * columns];
                Kernels::with_isa(isa, threads).gate(&x, rows, columns, activation, &mut out).unwrap();
                for (got, expected) in out.iter().zip(&expected) {
                    assert!((got - expected).abs() <= TOLERANCE, "{}: {got}, not {expected}", isa.name());
                }
                let own: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                assert_eq!(bits.get_or_insert_with(|| own.clone()), &own, "{}", isa.name());
            }
        }
    }

    #[test]
    fn meets_the_reference() {
        let activations =
            [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu];
        for activation in activations {
            for (rows, columns) in [(1, 1), (3, 7), (2, 16), (5, 33), (40, 300)] {
                check(rows, columns, activation);
            }
        }
    }

    #[test]
    fn refuses_slices_of_other_lengths() {
        let gate = |x: usize, rows: usize, columns: usize, out: usize| {
            Kernels::new(1).gate(&vec![1.0; x], rows, columns, Activation::Gelu, &mut vec![0.0; out]).is_ok()
        };
        assert!(gate(12, 2, 3, 6) && gate(0, 0, 3, 0) && gate(0, 2, 0, 0));
        assert!(!gate(11, 2, 3, 6) && !gate(12, 2, 3, 5) && !gate(6, 2, 3, 6) && !gate(0, usize::MAX, 3, 0));
    }
}
