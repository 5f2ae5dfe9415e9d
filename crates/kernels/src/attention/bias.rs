//! A number added to each score, by head and by distance.

use crate::ShapeError;
use crate::aligned::Aligned;
use crate::vector::{LANES_MAX, Simd};

/// A number added to each score, by head and distance: T5's and MPNet's relative attention bias, expanded by distance. The score of a query
/// and a key is `scale · q·k + bias`; the scale does not touch the bias.
#[derive(Clone)]
pub struct ScoreBias {
    heads: usize,
    reach: usize,
    /// `[heads, line]`: the values of a head, and [`LANES_MAX`] times those of the ends to either side, so that a vector may begin anywhere.
    lines: Aligned<f32>,
}

impl PartialEq for ScoreBias {
    fn eq(&self, other: &ScoreBias) -> bool {
        (self.heads, self.reach) == (other.heads, other.reach) && self.lines[..] == other.lines[..]
    }
}

/// A head's numbers for one query.
#[derive(Clone, Copy)]
pub(super) struct BiasLine<'a> {
    line: &'a [f32],
    reach: i64,
    /// The distance of the key at place 0 from the query, key minus query.
    first: i64,
}

impl ScoreBias {
    /// `values` `[heads, 2·reach + 1]`: for each head the numbers for the distances from `-reach` to `reach`, key minus query. Distances
    /// beyond have those of the ends.
    ///
    /// # Errors
    /// `values` of another length, or a reach beyond all memory.
    pub fn new(heads: usize, reach: usize, values: &[f32]) -> Result<Self, ShapeError> {
        let line = line_of(reach).unwrap_or(usize::MAX);
        let total = ShapeError::product("heads · (2·reach + 1)", heads, line)?;
        let distances = 2 * reach + 1;
        ShapeError::check_length("a bias of scores [heads, 2·reach + 1]", values, heads * distances)?;
        let mut lines = Aligned::zeros(total);
        for (line, values) in lines.chunks_exact_mut(line).zip(values.chunks_exact(distances)) {
            line[..LANES_MAX].fill(values[0]);
            line[LANES_MAX..][..distances].copy_from_slice(values);
            line[LANES_MAX + distances..].fill(values[distances - 1]);
        }
        Ok(Self { heads, reach, lines })
    }

    /// How many heads it has numbers for.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The number for a head, below [`Self::heads`], and a distance, key minus query.
    pub fn at(&self, head: usize, distance: i64) -> f32 {
        let reach = self.reach as i64;
        self.line(head)[LANES_MAX + (distance.clamp(-reach, reach) + reach) as usize]
    }

    /// Says whether it has the heads of an attention.
    pub(super) fn check(&self, heads: usize) -> Result<(), ShapeError> {
        if self.heads == heads {
            return Ok(());
        }
        Err(ShapeError::Mismatch {
            what: "heads of a bias of scores",
            against: "heads",
            expected: heads,
            got: self.heads,
        })
    }

    /// The numbers of a head for the query at `query`, where place 0 is the key at `first_key`.
    pub(super) fn of(&self, head: usize, query: usize, first_key: usize) -> BiasLine<'_> {
        BiasLine { line: self.line(head), reach: self.reach as i64, first: first_key as i64 - query as i64 }
    }

    fn line(&self, head: usize) -> &[f32] {
        let length = 2 * self.reach + 1 + 2 * LANES_MAX;
        &self.lines[head * length..][..length]
    }
}

impl BiasLine<'_> {
    /// The numbers of the places from `at` on, times log₂ e.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, s: S, at: usize) -> S::V {
        // From a whole vector before the first distance on, and past the last one, all lanes are the same.
        let distance = (self.first + at as i64).clamp(-self.reach - LANES_MAX as i64, self.reach);
        let place = (distance + self.reach + LANES_MAX as i64) as usize;
        debug_assert!(place + LANES_MAX <= self.line.len());
        // SAFETY: `place` is at most 2·reach + LANES_MAX, and the line goes on for LANES_MAX + 1 more.
        let numbers = unsafe { s.load(self.line.as_ptr().add(place)) };
        s.mul(numbers, s.splat(std::f32::consts::LOG2_E))
    }
}

impl std::fmt::Debug for ScoreBias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScoreBias").field("heads", &self.heads).field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// Numbers of a line.
fn line_of(reach: usize) -> Option<usize> {
    reach.checked_mul(2)?.checked_add(1 + 2 * LANES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_beyond_the_reach_have_the_ends() {
        let bias = ScoreBias::new(2, 1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let of = |head| [-9, -2, -1, 0, 1, 2, 9].map(|distance| bias.at(head, distance));
        assert_eq!(of(0), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(of(1), [4.0, 4.0, 4.0, 5.0, 6.0, 6.0, 6.0]);
        assert_eq!((bias.at(0, i64::MIN), bias.at(0, i64::MAX)), (1.0, 3.0));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(ScoreBias::new(2, 1, &[0.0; 5]).is_err());
        assert!(ScoreBias::new(1, usize::MAX, &[]).is_err());
        assert!(ScoreBias::new(usize::MAX, 1, &[]).is_err());
        assert!(ScoreBias::new(0, 3, &[]).is_ok());
    }
}
