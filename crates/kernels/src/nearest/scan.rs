//! The scan: tasks that share out the rows, and the best of what they find.

use super::best::{Best, Near, merge};
use super::dots::Dots;
use crate::pool::{Parts, share};
use crate::{Kernels, ShapeError};

/// The most columns of a table: more could overflow a sum of 32 bits.
pub(super) const COLUMNS_MAX: usize = 1 << 16;
/// The largest absolute value of a rounded number. −128 is not used, so that a vector and its negative round alike.
const STEPS: f32 = 127.0;
/// Bytes that make a task worth handing to another thread.
const BYTES_PER_TASK: usize = 128 << 10;
/// More tasks than threads, so that a late thread leaves its share to others.
const TASKS_PER_THREAD: usize = 4;
/// Rows whose sums are computed before they are compared.
const ROWS_AT_ONCE: usize = 64;

/// A table of vectors in 8 bits: element `[row, column]` is `values[row · columns + column] · scales[row]`.
#[derive(Clone, Copy, Debug)]
pub struct ByteRows<'a> {
    /// `[rows, columns]`.
    pub values: &'a [i8],
    /// `[rows]`, finite and not below 0.
    pub scales: &'a [f32],
    /// Numbers of a vector.
    pub columns: usize,
}

/// Rounds a vector to bytes and returns their scale: the largest absolute value is 127 steps. `out` is as long as `x`. Without a scale (0)
/// all bytes are 0: for a vector of zeros, or of numbers so small that no scale stands for them.
///
/// `None` if a number is infinite or NaN, or if the lengths differ.
pub fn round_to_bytes(x: &[f32], out: &mut [i8]) -> Option<f32> {
    if x.len() != out.len() || !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / STEPS;
    if scale < f32::MIN_POSITIVE {
        out.fill(0);
        return Some(0.0);
    }
    for (out, x) in out.iter_mut().zip(x) {
        *out = (x / scale).round_ties_even().clamp(-STEPS, STEPS) as i8;
    }
    Some(scale)
}

impl Kernels {
    /// The `count` rows of a table with the largest inner product with a query, `[columns]` and its scale; the largest first, and of equal
    /// ones the first row. Fewer if there are fewer, or if the others are below `minimum`. An inner product that is no number is never found.
    ///
    /// The inner product is `query scale · row scale · Σ query · row`: the sum exact, the rest in double precision, then rounded to single.
    ///
    /// # Errors
    /// Slices of other lengths than these, no columns, or more than 65,536.
    pub fn nearest_rows(
        &self,
        query: (&[i8], f32),
        table: ByteRows<'_>,
        count: usize,
        minimum: Option<f32>,
    ) -> Result<Vec<Near>, ShapeError> {
        let (query, query_scale) = query;
        let ByteRows { values, scales, columns } = table;
        if !(1..=COLUMNS_MAX).contains(&columns) {
            return Err(ShapeError::Malformed { what: "columns", rule: "must be from 1 to 65,536" });
        }
        ShapeError::check_length("query [columns]", query, columns)?;
        let total = ShapeError::product("rows · columns", scales.len(), columns)?;
        ShapeError::check_length("values [rows, columns]", values, total)?;
        let count = count.min(scales.len());
        if count == 0 {
            return Ok(Vec::new());
        }
        let tasks = values.len().div_ceil(BYTES_PER_TASK).min(self.threads() * TASKS_PER_THREAD).min(scales.len());
        let dots = Dots::new(self.isa(), query);
        let mut found: Vec<Vec<Near>> = vec![Vec::new(); tasks];
        let parts = Parts::new(&mut found);
        self.pool().run(tasks, &|task| {
            let share = share(scales.len(), tasks, task);
            let mut best = Best::new(count.min(share.len()), minimum);
            let scale = f64::from(query_scale);
            scan(&dots, table, share, |row, sum, row_scale| {
                best.offer(row, (scale * f64::from(row_scale) * f64::from(sum)) as f32);
            });
            // SAFETY: each task writes its own element.
            let found = unsafe { parts.part(task, 1) };
            found[0] = best.into_rows();
        });
        Ok(merge(found, count))
    }
}

/// Calls `take` with each row of a share, its sum of products and its scale, in order.
fn scan(dots: &Dots<'_>, table: ByteRows<'_>, share: std::ops::Range<usize>, mut take: impl FnMut(usize, i32, f32)) {
    let mut sums = [0i32; ROWS_AT_ONCE];
    let mut start = share.start;
    while start < share.end {
        let end = share.end.min(start + ROWS_AT_ONCE);
        let sums = &mut sums[..end - start];
        dots.of_rows(&table.values[start * table.columns..end * table.columns], sums);
        for (row, (&sum, &scale)) in (start..end).zip(sums.iter().zip(&table.scales[start..end])) {
            take(row, sum, scale);
        }
        start = end;
    }
}
