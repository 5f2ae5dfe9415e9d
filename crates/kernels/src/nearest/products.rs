//! What the instruction sets share: sums of what is left over, and rows taken four at a time.

/// The sum of the products of two slices of the same length.
pub(super) fn tail(query: &[i8], row: &[i8]) -> i32 {
    query.iter().zip(row).map(|(&q, &x)| i32::from(q) * i32::from(x)).sum()
}

/// Takes four rows at once, and the rest one by one: `$of::<ROWS>(query, rows)` returns the sums of so many rows.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_four {
    ($of:ident, $query:expr, $rows:expr, $sums:expr) => {{
        let (query, columns): (&[i8], usize) = ($query, $query.len());
        let (mut rows, mut sums) = ($rows.chunks_exact(4 * columns), $sums.chunks_exact_mut(4));
        for (rows, sums) in rows.by_ref().zip(sums.by_ref()) {
            sums.copy_from_slice(&$of::<4>(query, rows));
        }
        for (row, sum) in rows.remainder().chunks_exact(columns).zip(sums.into_remainder()) {
            *sum = $of::<1>(query, row)[0];
        }
    }};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use by_four;
