//! What an engine answers: one row of logits for each sequence.

/// Row-major `[rows, columns]`, unscaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    columns: usize,
}

impl Logits {
    /// All zeros, to be filled row by row.
    pub fn zeros(rows: usize, columns: usize) -> Logits {
        Logits { values: vec![0.0; rows * columns], columns }
    }

    /// How many sequences.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The logits of one sequence, in the order of the manifest's labels. Panics if `row` is not below [`Logits::rows`].
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// The logits of one sequence, to fill them. Panics if `row` is not below [`Logits::rows`].
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }
}
