//! The twin of `Kernels::nearest_rows`.

use crate::{ByteRows, Near};

/// The `count` rows with the largest inner products, the largest first and of equal ones the first row.
pub fn nearest_rows(query: (&[i8], f32), table: ByteRows<'_>, count: usize, minimum: Option<f32>) -> Vec<Near> {
    let rows = table.values.chunks_exact(table.columns).zip(table.scales).enumerate();
    let mut all: Vec<Near> = rows
        .map(|(row, (values, &scale))| {
            let sum: f64 = query.0.iter().zip(values).map(|(&q, &x)| f64::from(q) * f64::from(x)).sum();
            Near { row, similarity: (f64::from(query.1) * f64::from(scale) * sum) as f32 }
        })
        .filter(|near| !near.similarity.is_nan() && minimum.is_none_or(|minimum| near.similarity >= minimum))
        .collect();
    // A stable sort keeps the order of equal ones.
    all.sort_by(|a, b| b.similarity.partial_cmp(&a.similarity).unwrap_or(std::cmp::Ordering::Equal));
    all.truncate(count);
    all
}
