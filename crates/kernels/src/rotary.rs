//! Rotary positions: columns of queries and keys turned by angles that grow with the position (Su et al., "RoFormer", 2021).

use crate::pool::{Parts, share};
use crate::{Kernels, ShapeError};

/// Rows that make a task worth handing to another thread.
const ROWS_PER_TASK: usize = 32;

/// Which columns of a head turn, and how fast. Column `i` of the first half of the turning ones makes a pair with column `i` of the
/// second half, as in Hugging Face's LLaMA and ModernBERT. At position `p` the pair turns by `p · base^(-2i / columns)`; the power and the
/// angle are each rounded to f32, which is what PyTorch does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// The slowest pair's turn is about one over this.
    pub base: f32,
    /// How many columns of a head turn, the first ones; even.
    pub columns: usize,
    /// The longest sequence that there are angles for.
    pub positions: usize,
    /// How the pairs' frequencies are changed for longer sequences.
    pub scaling: RotaryScaling,
}

/// What models divide the frequencies by that were made to read longer sequences than they began with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RotaryScaling {
    /// Nothing.
    #[default]
    None,
    /// All by the same factor (Chen et al., 2023).
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Low frequencies by a factor, high ones by nothing, and those between by something between: LLaMA 3.1's.
    Llama3 {
        /// The factor of low frequencies.
        factor: f32,
        /// Frequencies are low that turn less often than this within `positions`.
        low: f32,
        /// Frequencies are high that turn more often than this within `positions`.
        high: f32,
        /// The longest sequence before.
        positions: f32,
    },
}

/// The cosines and sines of all angles.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryTable {
    rotary: Rotary,
    /// `[positions, 2, columns / 2]`: cosines, then sines.
    values: Vec<f32>,
}

impl Rotary {
    /// As most models have it: frequencies are as they are.
    pub fn plain(base: f32, columns: usize, positions: usize) -> Rotary {
        Rotary { base, columns, positions, scaling: RotaryScaling::None }
    }

    /// The angle of a pair at a position.
    pub fn angle(&self, position: usize, pair: usize) -> f32 {
        let power = -2.0 * pair as f64 / self.columns as f64;
        position as f32 * self.scaling.apply(f64::from(self.base).powf(power) as f32)
    }

    /// Its cosines and sines.
    ///
    /// # Errors
    /// An odd number of columns or none, no positions, a base that is not above 0, or more angles than memory has addresses.
    pub fn table(&self) -> Result<RotaryTable, ShapeError> {
        let malformed = |rule| Err(ShapeError::Malformed { what: "rotary positions", rule });
        if self.columns == 0 || !self.columns.is_multiple_of(2) {
            return malformed("must turn pairs of columns");
        }
        if self.positions == 0 || !(self.base.is_finite() && self.base > 0.0) {
            return malformed("must have positions, and a base above 0");
        }
        let total = ShapeError::product("positions · columns", self.positions, self.columns)?;
        let mut values = Vec::with_capacity(total);
        for position in 0..self.positions {
            let angles = || (0..self.columns / 2).map(|pair| f64::from(self.angle(position, pair)));
            values.extend(angles().map(|angle| angle.cos() as f32));
            values.extend(angles().map(|angle| angle.sin() as f32));
        }
        Ok(RotaryTable { rotary: *self, values })
    }
}

impl RotaryScaling {
    /// A frequency, changed.
    fn apply(self, frequency: f32) -> f32 {
        match self {
            RotaryScaling::None => frequency,
            RotaryScaling::Linear { factor } => frequency / factor,
            RotaryScaling::Llama3 { factor, low, high, positions } => {
                let turns = positions * frequency / std::f32::consts::TAU;
                if turns < low {
                    frequency / factor
                } else if turns > high {
                    frequency
                } else {
                    let share = (turns - low) / (high - low);
                    (1.0 - share) * frequency / factor + share * frequency
                }
            }
        }
    }
}

impl RotaryTable {
    /// `[positions, 2, columns / 2]`: of each position the cosines, then the sines.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Turns a head in place.
    fn turn(&self, position: usize, head: &mut [f32]) {
        let columns = self.rotary.columns;
        let (cosines, sines) = self.values[position * columns..][..columns].split_at(columns / 2);
        let (first, second) = head[..columns].split_at_mut(columns / 2);
        for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines)) {
            (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
        }
    }
}

impl Kernels {
    /// Turns in place `heads` heads of `head_dim` columns in every row of `x`, from column `offset` on; rows are `stride` apart. Rows are
    /// tokens; sequence s is the rows `cu_seqlens[s]..cu_seqlens[s + 1]`, and positions count from its first row's, which is `starts[s]`, or
    /// 0 where `starts` is empty. The same bits on every instruction set.
    ///
    /// # Errors
    /// A matrix that is not so large, heads with fewer columns than turn, `cu_seqlens` that does not rise from 0, another number of starts
    /// than sequences, or a sequence longer than there are positions.
    #[allow(clippy::too_many_arguments, reason = "a matrix, its heads and its sequences")]
    pub fn rotate(
        &self,
        x: &mut [f32],
        stride: usize,
        offset: usize,
        heads: usize,
        head_dim: usize,
        cu_seqlens: &[u32],
        starts: &[u32],
        table: &RotaryTable,
    ) -> Result<(), ShapeError> {
        let malformed = |what, rule| Err(ShapeError::Malformed { what, rule });
        if cu_seqlens.first() != Some(&0) || cu_seqlens.windows(2).any(|pair| pair[0] >= pair[1]) {
            return malformed("cu_seqlens", "must begin with 0 and rise");
        }
        if !starts.is_empty() && starts.len() + 1 != cu_seqlens.len() {
            return malformed("starts", "must be one for each sequence, or none");
        }
        let start_of = |sequence: usize| starts.get(sequence).map_or(0, |&start| start as usize);
        let end_of = |(sequence, pair): (usize, &[u32])| start_of(sequence) + (pair[1] - pair[0]) as usize;
        if cu_seqlens.windows(2).enumerate().map(end_of).any(|end| end > table.rotary.positions) {
            return malformed("cu_seqlens", "must not have a sequence longer than the rotary positions");
        }
        let columns = ShapeError::product("heads · head_dim", heads, head_dim)?;
        if table.rotary.columns > head_dim || offset.checked_add(columns).is_none_or(|end| end > stride) {
            return malformed("heads", "must lie in a row, and be as wide as what turns");
        }
        let tokens = cu_seqlens.last().map_or(0, |&end| end as usize);
        ShapeError::check_length("x [tokens, stride]", x, ShapeError::product("tokens · stride", tokens, stride)?)?;
        let tasks = tokens.div_ceil(ROWS_PER_TASK);
        let parts = Parts::new(x);
        self.pool().run(tasks, &|task| {
            let rows = share(tokens, tasks, task);
            // SAFETY: the tasks' shares of the rows do not overlap.
            let x = unsafe { parts.part(rows.start * stride, rows.len() * stride) };
            for (token, row) in rows.zip(x.chunks_exact_mut(stride)) {
                let sequence = cu_seqlens.partition_point(|&start| start as usize <= token) - 1;
                let position = start_of(sequence) + token - cu_seqlens[sequence] as usize;
                for head in row[offset..offset + columns].chunks_exact_mut(head_dim) {
                    table.turn(position, head);
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

    /// The rounding of two products and their sum, of numbers below 1.
    const TOLERANCE: f32 = 3e-7;
    /// Pairs and their frequencies.
    #[allow(clippy::excessive_precision, reason = "as PyTorch prints them")]
    const LLAMA3: [(usize, f32); 9] = [
        (0, 1.000000000e+00),
        (5, 1.286873734e-01),
        (14, 3.211445995e-03),
        (15, 1.371893568e-03),
        (16, 5.248461610e-04),
        (17, 1.785078128e-04),
        (18, 7.784655274e-05),
        (20, 3.428102196e-05),
        (31, 3.767322690e-07),
    ];

    fn check(rotary: Rotary, lengths: &[u32], heads: usize, head_dim: usize) {
        let mut cu_seqlens = vec![0];
        lengths.iter().for_each(|length| cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + length));
        let tokens: u32 = lengths.iter().sum();
        let (offset, stride) = (3, heads * head_dim + 5);
        let x: Vec<f32> = (0..tokens as usize * stride).map(|i| ((i * 37 % 101) as f32 - 50.0) / 51.0).collect();
        let expected = reference::rotate(&x, stride, offset, heads, head_dim, &cu_seqlens, &rotary);
        let table = rotary.table().unwrap();
        let mut bits = None;
        for isa in Isa::available() {
            for threads in [1, 3] {
                let mut out = x.clone();
                let kernels = Kernels::with_isa(isa, threads);
                kernels.rotate(&mut out, stride, offset, heads, head_dim, &cu_seqlens, &[], &table).unwrap();
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
        let rotary = Rotary::plain(10_000.0, 8, 200);
        check(rotary, &[1], 1, 8);
        check(rotary, &[5, 1, 200], 3, 8);
        check(rotary, &[70, 3], 2, 11);
        check(Rotary::plain(160_000.0, 64, 64), &[64, 2], 2, 64);
        check(Rotary::plain(3.0, 2, 9), &[9], 1, 4);
        check(Rotary { scaling: RotaryScaling::Linear { factor: 8.0 }, ..rotary }, &[200], 1, 8);
    }

    /// A sequence in two calls turns as in one.
    #[test]
    fn begins_where_it_is_told() {
        let table = Rotary::plain(10_000.0, 4, 30).table().unwrap();
        let x: Vec<f32> = (0..30 * 4).map(|i| (i % 7) as f32 - 3.0).collect();
        let (mut whole, mut parts) = (x.clone(), x);
        let kernels = Kernels::new(1);
        kernels.rotate(&mut whole, 4, 0, 1, 4, &[0, 30], &[], &table).unwrap();
        kernels.rotate(&mut parts[..44], 4, 0, 1, 4, &[0, 11], &[0], &table).unwrap();
        kernels.rotate(&mut parts[44..], 4, 0, 1, 4, &[0, 19], &[11], &table).unwrap();
        assert_eq!(whole, parts);
        assert!(kernels.rotate(&mut parts[44..], 4, 0, 1, 4, &[0, 19], &[12], &table).is_err());
        assert!(kernels.rotate(&mut parts[44..], 4, 0, 1, 4, &[0, 19], &[1, 2], &table).is_err());
    }

    /// transformers' `llama3` frequencies for base 500,000, heads of 64 columns, factor 8, 1 to 4 turns and 8,192 positions.
    #[test]
    fn scales_frequencies_as_transformers_does() {
        let scaling = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, positions: 8192.0 };
        let rotary = Rotary { scaling, ..Rotary::plain(500_000.0, 64, 10) };
        for (pair, expected) in LLAMA3 {
            let got = rotary.angle(1, pair);
            assert!((got - expected).abs() <= 1e-6 * expected, "{pair}: {got}, not {expected}");
        }
    }

    /// A quarter turn takes (1, 0) to (0, 1).
    #[test]
    fn turns_the_usual_way() {
        let rotary = Rotary::plain(10_000.0, 2, 2);
        let mut x = [5.0, 6.0, 1.0, 0.0];
        Kernels::new(1).rotate(&mut x, 2, 0, 1, 2, &[0, 2], &[], &rotary.table().unwrap()).unwrap();
        assert_eq!(x[..2], [5.0, 6.0], "position 0 does not turn");
        assert_eq!(x[2..], [1f64.cos() as f32, 1f64.sin() as f32]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let rotary = Rotary::plain(10_000.0, 4, 3);
        for wrong in [
            Rotary { columns: 3, ..rotary },
            Rotary { columns: 0, ..rotary },
            Rotary { positions: 0, ..rotary },
            Rotary { base: 0.0, ..rotary },
            Rotary { base: f32::NAN, ..rotary },
            Rotary { positions: usize::MAX, ..rotary },
        ] {
            assert!(wrong.table().is_err(), "{wrong:?}");
        }
        let table = rotary.table().unwrap();
        let rotate = |len: usize, stride, offset, heads, head_dim, cu: &[u32]| {
            Kernels::new(1).rotate(&mut vec![0.0; len], stride, offset, heads, head_dim, cu, &[], &table).is_ok()
        };
        assert!(rotate(20, 10, 2, 2, 4, &[0, 2]) && rotate(0, 10, 2, 2, 4, &[0]));
        assert!(!rotate(20, 10, 3, 2, 4, &[0, 2]) && !rotate(19, 10, 2, 2, 4, &[0, 2]));
        assert!(!rotate(20, 10, 0, 2, 3, &[0, 2]) && !rotate(40, 10, 0, 2, 4, &[0, 4]));
        assert!(!rotate(20, 10, 0, 2, 4, &[0, 2, 2]) && !rotate(0, 10, 0, 2, 4, &[]));
        assert!(!rotate(20, 10, usize::MAX, 2, 4, &[0, 2]) && !rotate(20, 10, 0, usize::MAX, 4, &[0, 2]));
    }
}
