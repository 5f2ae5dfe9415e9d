//! The small inputs that pieces of the graph are run on.

/// Rows and tokens of the smallest.
pub(super) const ROWS: usize = 2;
pub(super) const TOKENS: usize = 5;
/// Lengths below the longest at which pieces are compared: around the edges of windows, buckets and tiles.
const STEPS: [usize; 10] = [1, 2, 7, 33, 65, 130, 257, 513, 1025, 2049];
/// Sequences with more tokens are tried one at a time.
const LONG: usize = 1024;
/// How much larger the values of one sample are than the others', for what is cut off far out.
pub(super) const LARGE: f32 = 8.0;

/// The form of a small input: sequences, the second of which is masked from some token on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// [`ROWS`], or one where scores of two would fill the memory.
    pub(super) rows: usize,
    pub(super) tokens: usize,
    /// Tokens of the second row that are not masked.
    pub(super) kept: usize,
    /// What queries are multiplied by.
    pub(super) factor: f32,
}

impl Sample {
    /// What tells pieces apart: no token masked.
    pub(super) const SMALL: Sample = Sample { rows: ROWS, tokens: TOKENS, kept: TOKENS, factor: 1.0 };

    /// What hidden states are multiplied by: they reach farther than scores.
    pub(super) fn spread(&self) -> f32 {
        self.factor.powi(3)
    }

    /// 1 for a token, 0 for padding.
    pub(super) fn mask(&self) -> Vec<i64> {
        let mut mask = vec![1; self.rows * self.tokens];
        mask.iter_mut().skip(self.tokens + self.kept).for_each(|mask| *mask = 0);
        mask
    }

    /// The rows of tokens that are not masked, one sequence after the other, of values with `tokens` of them in each sequence.
    pub(super) fn unmasked<'v>(&self, values: &'v [f32], tokens: usize, columns: usize) -> Vec<&'v [f32]> {
        let kept = if tokens == 1 { 1 } else { self.kept };
        let rows = values.chunks(columns.max(1)).enumerate();
        rows.filter(|(row, _)| *row < tokens + kept).map(|(_, values)| values).collect()
    }
}

/// Every step below the longest sequence, and that one; the second row masked from the second token on, from a third, or not at all.
pub(super) fn samples(up_to: usize) -> impl Iterator<Item = Sample> {
    let steps = STEPS.into_iter().filter(move |tokens| *tokens < up_to).chain([up_to.max(1)]);
    steps.enumerate().map(move |(step, tokens)| {
        let kept = match step % 3 {
            0 if tokens != up_to => tokens,
            1 if tokens != up_to => 1,
            _ => tokens.div_ceil(3),
        };
        let factor = if tokens == STEPS[2] { LARGE } else { 1.0 };
        Sample { rows: if tokens > LONG { 1 } else { ROWS }, tokens, kept, factor }
    })
}
