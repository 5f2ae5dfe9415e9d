//! One vector for each sequence.

/// The mean of the rows of each sequence.
pub fn mean_rows(x: &[f32], cu_seqlens: &[u32], columns: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for ends in cu_seqlens.windows(2) {
        let tokens = ends[0] as usize..ends[1] as usize;
        let count = tokens.len() as f64;
        for column in 0..columns {
            let sum: f64 = tokens.clone().map(|token| f64::from(x[token * columns + column])).sum();
            out.push((sum / count) as f32);
        }
    }
    out
}

/// Each row divided by its length, or by 1e-12 if it is shorter.
pub fn unit_rows(x: &[f32], columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(columns.max(1)) {
        let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt().max(1e-12);
        out.extend(row.iter().map(|x| (f64::from(*x) / length) as f32));
    }
    out
}
